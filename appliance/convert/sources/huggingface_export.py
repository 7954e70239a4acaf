"""A Hugging Face model through Optimum's exporter: FP32 graphs, with the PyTorch model as their reference.

Optimum's own validation only warns, so it is left out: ours decides.
"""

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from optimum.exporters.onnx import onnx_export_from_model

from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.foreign_errors import quiet, refusing
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.sources.graph_file import GraphSignature, clean, read_signature
from appliance.convert.sources.huggingface_model import load_model
from appliance.convert.sources.huggingface_processors import Processors, load_processors
from appliance.convert.sources.huggingface_samples import InputSource, longest_text
from appliance.convert.sources.huggingface_source import HuggingFaceSource
from appliance.convert.sources.postprocessing import postprocessing
from appliance.convert.sources.row_independence import answers_rows_alone
from appliance.convert.sources.sentence_pooling import SentencePooling, append_pooling, read_sentence_pooling
from appliance.convert.sources.shapes import ShapeRules, find_shapes
from appliance.convert.sources.speech_pair import speech_graphs
from appliance.convert.sources.torch_reference import model_reference
from appliance.convert.task import Task

OPSET = 18
_FILE = "model.onnx"
_CLASSIFIES = (
    Task.IMAGE_CLASSIFICATION,
    Task.AUDIO_CLASSIFICATION,
    Task.TEXT_CLASSIFICATION,
    Task.TOKEN_CLASSIFICATION,
)
_NAMES_CLASSES = (*_CLASSIFIES, Task.OBJECT_DETECTION, Task.SEMANTIC_SEGMENTATION)
_TOOLS = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "numpy")

Tell = Callable[[str], None]


def export_huggingface(
    source: HuggingFaceSource, folder: Path, request: ConversionRequest, tell: Tell
) -> ExportedModel:
    """Export to `folder`. Raises ConversionRefused."""
    tell("loading the PyTorch model")
    model = load_model(source)
    processors = load_processors(source.directory)
    pooling = read_sentence_pooling(source.directory) if source.task is Task.FEATURE_EXTRACTION else None
    max_length = longest_text(model.config, processors.tokenizer, request.max_length)
    inputs = InputSource(model.config, processors, request.samples, max_length)
    calibration = InputSource(model.config, processors, request.calibration, max_length)
    tell("exporting to ONNX")
    _run_exporter(model, source, folder)
    if (folder / _FILE).exists():
        graphs = [_single_graph(model, folder / _FILE, source.task, (inputs, calibration), pooling, request)]
    else:
        graphs = speech_graphs(model, folder, inputs, calibration, request)
    labels = _labels(model.config, source.task)
    return ExportedModel(
        task=source.task,
        architecture=source.architecture,
        graphs=graphs,
        labels=labels,
        label_output="logits" if labels and source.task in _CLASSIFIES else "",
        samples_are_real=request.samples is not None,
        preprocessing=_processing(processors, source.task),
        processor_files=processors.files,
        tool_versions={name: metadata.version(name) for name in _TOOLS},
        blank_token=_pad_token(model.config),
        source_card=source.card,
    )


def _run_exporter(model: Any, source: HuggingFaceSource, folder: Path) -> None:
    def refusal(said: str) -> ConversionRefused:
        return ConversionRefused(
            Reason.EXPORT_FAILED,
            f"Optimum could not export {source.architecture} for {source.task.value}: {said}",
            hint="see what converts: the table 'Models that convert' in README.md",
        )

    with quiet(), refusing(refusal):
        onnx_export_from_model(model, folder, task=source.task.value, opset=OPSET, do_validation=False, device="cpu")


def _single_graph(
    model: Any,
    file: Path,
    task: Task,
    inputs_and_calibration: tuple[InputSource, InputSource],
    pooling: SentencePooling | None,
    request: ConversionRequest,
) -> Graph:
    inputs, calibration = inputs_and_calibration
    if pooling is not None:
        append_pooling(file, pooling)
    signature = read_signature(file)
    reference = model_reference(model, list(signature.outputs), pooling)
    samples = inputs.samples(signature.inputs)
    rules = ShapeRules(
        request.max_batch_size,
        inputs.max_length,
        _pad_token(model.config),
        batched=_batched(signature),
        one_picture_size=inputs.has_one_picture_size(),
    )
    shapes = find_shapes(file, signature, samples, reference, rules)
    clean(file, shapes.fixed)
    more = calibration.samples(signature.inputs) if calibration.folder else []
    batched = rules.batched and answers_rows_alone(task, reference, shapes.batches)
    return Graph(
        "model", file, reference, samples, shapes.batches, shapes.profiles, batched=batched, calibration=more
    )


def _batched(signature: GraphSignature) -> bool:
    """Whether all inputs and outputs share one batch axis. CLIP has one for pictures and one for texts."""
    firsts = {dims[0] for dims in (*signature.inputs.values(), *signature.outputs.values()) if dims}
    return len(firsts) == 1


def _pad_token(config: Any) -> int:
    return int(getattr(getattr(config, "text_config", config), "pad_token_id", None) or 0)


def _labels(config: Any, task: Task) -> list[str]:
    labels: Mapping[int, str] = getattr(config, "id2label", None) or {}
    ordered = [str(labels[number]) for number in sorted(labels)]
    # Without names of its own, a model has LABEL_0, LABEL_1 ...
    named = any(label != f"LABEL_{number}" for number, label in enumerate(ordered))
    return ordered if task in _NAMES_CLASSES and named else []


def _processing(processors: Processors, task: Task) -> Mapping[str, object]:
    return {**processors.description(), "output": dict(postprocessing(task))}
