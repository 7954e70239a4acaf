"""`appliance infer`: run a served model once on files that a person has."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import print_json, print_table, print_text, say
from appliance.errors import InvalidInput

if TYPE_CHECKING:
    from appliance.cli.asking import Answer, RankedClass, ServedSignature
    from appliance.cli.client import InferenceClient
    from appliance.cli.tensor_files import Array, WantedTensor

AddressOption = Annotated[
    str | None,
    typer.Option(metavar="ADDR", help="host:port or unix:/path. Default: the local daemon's socket, else port 8001."),
]
TimeoutOption = Annotated[float, typer.Option(metavar="SECONDS", min=0.001, help="Longest wait for an answer.")]


def infer(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, or NAME@ALIAS.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="[NAME=]FILE",
            help="One input: .npy, .json (nested lists), .png or .jpg. NAME= may be left out if there is only one.",
        ),
    ] = None,
    version: Annotated[str, typer.Option(metavar="N", help="Version. Default: the one being served.")] = "",
    outputs: Annotated[
        list[str] | None, typer.Option("--output", metavar="NAME", help="Only this output; may be repeated.")
    ] = None,
    top: Annotated[int, typer.Option(metavar="K", min=0, help="Best classes of outputs with labels; 0: values.")] = 3,
    address: AddressOption = None,
    timeout: TimeoutOption = 60,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    cast: Annotated[bool, typer.Option("--cast", help="Convert .npy data to the model's datatype.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a served model once.

    Pictures are resized to what the model takes; FP32 models get values from 0 to 1, UINT8 models the bytes. With
    --json everything is printed, and a model with labels runs twice: once for all values, once for the best classes.
    """
    from appliance.cli.asking import ask, served_signature  # noqa: PLC0415  (heavy: not for --help)
    from appliance.cli.client import connect_inference  # noqa: PLC0415

    settings = read_settings(config, state)
    with connect_inference(address, settings.layout) as client:
        signature = served_signature(client, model, version)
        arrays = _read_inputs(inputs or [], signature, cast=cast)
        chosen = [name for name in signature.labelled if top and (not outputs or name in outputs)]
        classes = dict.fromkeys(chosen, top)
        answer = ask(client, signature, arrays, outputs=outputs or (), top=classes, timeout_s=timeout)
        if as_json:
            values = ask(client, signature, arrays, outputs=outputs or (), timeout_s=timeout) if classes else answer
            print_json(_document(signature, client, values, _ranked(answer, chosen)))
            return
    say(f"{model} version {answer.version} at {client.address}")
    _show(answer, _ranked(answer, chosen))


def _read_inputs(arguments: list[str], model: "ServedSignature", *, cast: bool) -> "dict[str, Array]":
    from appliance.cli.tensor_files import read_tensor  # noqa: PLC0415

    if not arguments:
        raise InvalidInput(
            f"'{model.name}' was given no input, it takes: {_described(model)}",
            hint=f"appliance infer {model.name} --input {next(iter(model.inputs), 'NAME')}=FILE",
        )
    arrays: dict[str, Array] = {}
    for argument in arguments:
        wanted, file = _split(argument, model)
        if wanted.name in arrays:
            raise InvalidInput(f"input '{wanted.name}' is given twice")
        arrays[wanted.name] = read_tensor(Path(file), wanted, say, cast=cast)
    return arrays


def _split(argument: str, model: "ServedSignature") -> "tuple[WantedTensor, str]":
    """Take `NAME=FILE` apart; without NAME= it is the only input."""
    for name, wanted in model.inputs.items():
        if argument.startswith(f"{name}="):
            return wanted, argument.removeprefix(f"{name}=")
    name, equals, _ = argument.partition("=")
    if len(model.inputs) == 1 and (not equals or Path(argument).exists()):
        return next(iter(model.inputs.values())), argument
    found = f"has no input '{name}'" if equals else f"has several inputs, but '{argument}' names none"
    raise InvalidInput(f"'{model.name}' {found}, it takes: {_described(model)}", hint="use --input NAME=FILE")


def _described(model: "ServedSignature") -> str:
    return ", ".join(wanted.described for wanted in model.inputs.values())


def _ranked(answer: "Answer", names: list[str]) -> "dict[str, list[list[RankedClass]]]":
    from appliance.cli.asking import ranked_classes  # noqa: PLC0415

    return {name: ranked_classes(answer.arrays[name]) for name in names}


def _show(answer: "Answer", ranked: "dict[str, list[list[RankedClass]]]") -> None:
    from appliance.cli.answer_documents import shortened  # noqa: PLC0415
    from appliance.model.tensor import format_shape  # noqa: PLC0415

    classes = [
        (name, row, best.label or best.index, f"{best.value:.6g}")
        for name, rows in ranked.items()
        for row, entries in enumerate(rows)
        for best in entries
    ]
    values = [
        (name, answer.datatypes[name].wire_name, format_shape(array.shape), shortened(array, answer.datatypes[name]))
        for name, array in answer.arrays.items()
        if name not in ranked
    ]
    if classes:
        print_table(("OUTPUT", "ROW", "LABEL", "VALUE"), classes, right=("ROW", "VALUE"))
    if classes and values:
        print_text("")
    if values:
        print_table(("OUTPUT", "TYPE", "SHAPE", "VALUES"), values)


def _document(
    model: "ServedSignature",
    client: "InferenceClient",
    answer: "Answer",
    ranked: "dict[str, list[list[RankedClass]]]",
) -> dict[str, Any]:
    from appliance.cli.answer_documents import class_document, values_document  # noqa: PLC0415

    outputs = [
        {
            "name": name,
            "datatype": answer.datatypes[name].wire_name,
            "shape": list(array.shape),
            "values": values_document(array, answer.datatypes[name]),
            "classes": [[class_document(best) for best in row] for row in ranked.get(name, [])],
        }
        for name, array in answer.arrays.items()
    ]
    return {"model": model.name, "version": answer.version, "address": client.address, "outputs": outputs}
