"""A models directory with everything that the wire tests talk to.

    identity_<datatype>  ONNX, [N, 4], at most 8 rows         flat_<datatype>  ONNX, [free], no batch dimension
    add_sub              ONNX, INT32 [N, 16] twice            keeps_<datatype> reference identity, [N, 4]

and reference models, each with one trait: see `TRAITS`.
"""

from pathlib import Path

from tests.support.onnx_models import ELEMENT_TYPES, Dims, write_add_sub, write_identity

DATATYPES = tuple(ELEMENT_TYPES)
MAX_BATCH_SIZE = 8

_BATCHING = f"max_batch_size = {MAX_BATCH_SIZE}\n[dynamic_batching]\n"
TRAITS = {
    "slow": ("FP32", 'max_batch_size = 8\nparameters.delay_ms = "40"\n[dynamic_batching]\n'),
    "alone": ("FP32", 'max_batch_size = 8\nparameters.delay_ms = "150"\n'),
    "labels": ("FP32", _BATCHING),
    "small_queue": (
        "FP32",
        (
            'max_batch_size = 1\nparameters.delay_ms = "150"\n'
            "[dynamic_batching.default_queue_policy]\nmax_queue_size = 2\n"
        ),
    ),
    "impatient": (
        "FP32",
        (
            'max_batch_size = 1\nparameters.delay_ms = "150"\n'
            "[dynamic_batching.default_queue_policy]\nallow_timeout_override = true\n"
        ),
    ),
    "priorities": (
        "FP32",
        (
            'max_batch_size = 1\nparameters.delay_ms = "120"\n'
            "[dynamic_batching]\npriority_levels = 2\ndefault_priority_level = 2\n"
        ),
    ),
}
LABELS = ("ape", "bee", "cat", "dog")


def write_models(directory: Path) -> Path:
    """Write all of them; return the directory."""
    for datatype in DATATYPES:
        write_onnx_identity(directory, f"identity_{datatype.lower()}", datatype)
        write_flat(directory, f"flat_{datatype.lower()}", datatype, ["M"])
        write_reference(directory, f"keeps_{datatype.lower()}", datatype, _BATCHING)
    write_simple(directory)
    write_flat(directory, "wide", "FP32", ["M", "K"])
    for name, (datatype, settings) in TRAITS.items():
        write_reference(directory, name, datatype, settings)
    (directory / "labels" / "labels.txt").write_text("\n".join(LABELS) + "\n")
    config = directory / "labels" / "model.toml"
    config.write_text(config.read_text().replace('"OUTPUT0"', '"OUTPUT0", label_filename = "labels.txt"'))
    write_optional(directory)
    # A size that is left open keeps the model from being warmed up, which would fail.
    write_reference(directory, "fails", "FP32", f'parameters.function = "fail"\n{_BATCHING}', size=-1)
    write_two_versions(directory)
    return directory


def write_simple(directory: Path) -> None:
    write_add_sub(directory / "add_sub" / "1" / "model.onnx")
    (directory / "add_sub" / "model.toml").write_text(_BATCHING)


def write_onnx_identity(directory: Path, name: str, datatype: str) -> None:
    write_identity(directory / name / "1" / "model.onnx", datatype, [4])
    (directory / name / "model.toml").write_text(_BATCHING)


def write_flat(directory: Path, name: str, datatype: str, dims: Dims) -> None:
    write_identity(directory / name / "1" / "model.onnx", datatype, dims, batch=False)
    (directory / name / "model.toml").write_text("max_batch_size = 0\n")


def write_reference(
    directory: Path, name: str, datatype: str, settings: str, version: int = 1, size: int = 4
) -> None:
    """OUTPUT0 = INPUT0, both [size] after the batch dimension; `settings` may end in a TOML table."""
    tensors = "".join(
        f'{kind} = [{{ name = "{tensor}", data_type = "TYPE_{_config_word(datatype)}", dims = [{size}] }}]\n'
        for kind, tensor in (("input", "INPUT0"), ("output", "OUTPUT0"))
    )
    _write_config(directory / name, tensors + settings, version)


def write_optional(directory: Path) -> None:
    """INPUT1 may be left out."""
    fields = 'data_type = "TYPE_FP32", dims = [4]'
    inputs = f'{{ name = "INPUT0", {fields} }}, {{ name = "INPUT1", {fields}, optional = true }}'
    text = f'input = [{inputs}]\noutput = [{{ name = "OUTPUT0", {fields} }}]\n{_BATCHING}'
    _write_config(directory / "optional", text, 1)


def write_two_versions(directory: Path) -> None:
    """Version 2 is served, version 1 is there."""
    for version in (1, 2):
        write_reference(directory, "two", "FP32", _BATCHING, version)


def write_broken(directory: Path, name: str = "broken") -> None:
    """An ONNX file that is none."""
    path = directory / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x08\x0anot a model")


def _write_config(package: Path, text: str, version: int) -> None:
    (package / str(version)).mkdir(parents=True)
    (package / str(version) / "model.reference").touch()
    (package / "model.toml").write_text(f'backend = "reference"\ndefault_model_filename = "model.reference"\n{text}')


def _config_word(datatype: str) -> str:
    return "STRING" if datatype == "BYTES" else datatype
