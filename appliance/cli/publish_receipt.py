"""`appliance publish receipt read`: what a box says became of a ticket."""

from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.options import JsonOption
from appliance.cli.output import print_facts, print_json
from appliance.errors import InvalidInput

app = typer.Typer(help="Read what boxes answered.", no_args_is_help=True, rich_markup_mode=None)

LARGEST_DOCUMENT_BYTES = 4 * 1024 * 1024


@app.command()
def read(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From RECEIPTS on the stick.")],
    key: Annotated[
        str, typer.Option(metavar="HEX", help="The box's receipt key, as `appliance provision` showed it.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Check that a box signed a receipt, and show it."""
    from appliance.bundle.receipt import SignedReceipt  # noqa: PLC0415  (heavy: not for --help)

    receipt = SignedReceipt.parse(read_file(file)).verify(key)
    document = receipt.model_dump(mode="json", by_alias=True)
    if as_json:
        print_json(document)
        return
    print_facts(
        [
            ("box", f"{receipt.serial}, {receipt.hardware}, at {receipt.site}"),
            ("ticket", f"{receipt.ticket_id} ({receipt.ticket_seq})" if receipt.ticket_id else "none"),
            ("result", f"{receipt.result} ({receipt.code})"),
            ("said", receipt.message),
            *(("serves", f"{served.name} version {served.version}") for served in receipt.serving),
            ("time", f"{receipt.time}, clock {receipt.clock}"),
            ("software", receipt.software),
            ("audit", f"entry {receipt.audit_seq}, head {receipt.audit_head}"),
        ]
    )


def read_file(path: Path) -> bytes:
    """Return a small file that a person named. Raises InvalidInput."""
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", hint="name another file") from error
    if len(data) > LARGEST_DOCUMENT_BYTES:
        raise InvalidInput(f"{path} has more than {LARGEST_DOCUMENT_BYTES} bytes", hint="name another file")
    return data
