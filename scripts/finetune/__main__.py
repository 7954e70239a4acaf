"""The command: scripts/finetune-digits --out DIR [--data DIR] [--base DIR] [--epochs N]."""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.convert.offline import go_offline
from appliance.errors import ApplianceError, InvalidInput
from finetune.pinned import PINNED

EPOCHS = 30
OWN_LICENCE = "LicenseRef-Own"  # how SPDX writes what is not in its list


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/finetune-digits",
        description="Train a small residual network on pictures; write a Hugging Face directory.",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the directory to write; sample pictures in OUT/samples"
    )
    parser.add_argument("--data", type=Path, help="your own pictures, one folder for each class (default: digits)")
    parser.add_argument(
        "--base", type=Path, help="go on from the weights of such a directory (default: from nothing)"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"passes over the pictures ({EPOCHS})")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error("--epochs: expected 1 or more")
    return arguments


def finetune(arguments: argparse.Namespace) -> None:
    if arguments.out.exists():
        raise InvalidInput(f"{arguments.out} is there already", hint="name another directory with --out")
    require_writable(arguments.out.parent)
    os.environ.update(PINNED)
    go_offline()
    from finetune import data, directory, training  # noqa: PLC0415  (torch, once there is no network)

    pictures = data.read_folders(arguments.data) if arguments.data else data.digits()
    print(f"{len(pictures.train)} pictures to learn from, {len(pictures.test)} to measure with", file=sys.stderr)
    model = training.start(len(pictures.classes), arguments.base)
    training.train(
        model, pictures.train, arguments.epochs, tell=lambda text: print(text, file=sys.stderr, flush=True)
    )
    accuracy = training.accuracy(model, pictures.test)
    directory.write(arguments.out, model, pictures, training.describe(arguments.epochs), accuracy)
    print(f"accuracy on the {len(pictures.test)} test pictures: {accuracy:.2%}")
    print(f"next: {_next_command(arguments.out, pictures.licence or OWN_LICENCE)}", file=sys.stderr)


def require_writable(folder: Path) -> None:
    """Find out now and not after the training. Folders that are missing are made when there is something for them."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written to: {error.strerror}", hint="name another --out") from error


def _next_command(out: Path, licence: str) -> str:
    package = Path("build/packages") / out.name
    program = os.path.relpath(Path(sys.executable).with_name("appliance"))
    return f"{program} convert {out} --samples {out}/samples --licence {licence} --out {package}"


def main() -> int:
    try:
        finetune(parse_arguments())
    except ApplianceError as error:
        print(f"error: {error.message}", file=sys.stderr)
        print(f"next: {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
