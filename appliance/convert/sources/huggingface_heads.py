"""Which task a Hugging Face architecture was trained for, told by the end of its name."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.task import Task


@dataclass(frozen=True, slots=True)
class _Head:
    suffix: str
    tasks: tuple[Task, ...]  # the first is meant if the person names none; others take only the body
    model_types: frozenset[str] = frozenset()  # empty: any
    by_name_only: bool = False  # its own task cannot be converted, so the person must say that the body is wanted


_SPEECH = frozenset(
    {
        "data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert",
        "wav2vec2-conformer", "wavlm", "whisper",
    }
)  # fmt: skip
_SPEECH_TO_TEXT = frozenset({"moonshine", "speech_to_text", "whisper"})
_IMAGES_AND_TEXTS = frozenset({"align", "altclip", "chinese_clip", "clip", "siglip", "siglip2"})
_BODY = Task.FEATURE_EXTRACTION
# The first that fits counts: special model types stand before the rule that holds for the rest.
_HEADS = (
    _Head("ForImageClassification", (Task.IMAGE_CLASSIFICATION, _BODY)),
    _Head("ForImageClassificationWithTeacher", (Task.IMAGE_CLASSIFICATION, _BODY)),
    _Head("ForObjectDetection", (Task.OBJECT_DETECTION,)),
    _Head("ForSemanticSegmentation", (Task.SEMANTIC_SEGMENTATION,)),
    _Head("ForInstanceSegmentation", (Task.SEMANTIC_SEGMENTATION,)),
    _Head("ForUniversalSegmentation", (Task.SEMANTIC_SEGMENTATION,)),
    _Head("ForDepthEstimation", (Task.DEPTH_ESTIMATION,)),
    _Head("ForAudioClassification", (Task.AUDIO_CLASSIFICATION, _BODY)),
    _Head("ForSequenceClassification", (Task.AUDIO_CLASSIFICATION, _BODY), _SPEECH),
    _Head("ForCTC", (Task.SPEECH_RECOGNITION, _BODY)),
    _Head("ForConditionalGeneration", (Task.SPEECH_RECOGNITION,), _SPEECH_TO_TEXT),
    _Head("ForSequenceClassification", (Task.TEXT_CLASSIFICATION, _BODY)),
    _Head("ForTokenClassification", (Task.TOKEN_CLASSIFICATION, _BODY)),
    _Head("ForMaskedLM", (_BODY,), by_name_only=True),
    _Head("ForPreTraining", (_BODY,), by_name_only=True),
    _Head("ForCausalLM", (_BODY,), by_name_only=True),
    _Head("LMHeadModel", (_BODY,), by_name_only=True),
    _Head("Model", (Task.ZERO_SHOT_IMAGE_CLASSIFICATION, _BODY), _IMAGES_AND_TEXTS),
    _Head("Model", (_BODY,)),
)


def task_of(architecture: str, model_type: str, wanted: Task | None) -> Task:
    """Return the wanted task if the architecture can do it, else its own. Raises ConversionRefused."""
    head = next((head for head in _HEADS if _fits(head, architecture, model_type)), None)
    if head is None:
        raise _unsupported(architecture)
    if wanted in head.tasks:
        return wanted
    if wanted is not None:
        raise _misfit(architecture, wanted, head.tasks)
    if head.by_name_only:
        raise _body_must_be_named(architecture)
    return head.tasks[0]


def _fits(head: _Head, architecture: str, model_type: str) -> bool:
    return architecture.endswith(head.suffix) and (not head.model_types or model_type in head.model_types)


def _unsupported(architecture: str) -> ConversionRefused:
    supported = sorted({f"...{head.suffix}" for head in _HEADS if not head.by_name_only})
    return ConversionRefused(
        Reason.UNSUPPORTED_ARCHITECTURE,
        f"{architecture[:100]} cannot be converted: supported are {', '.join(supported)} "
        f"(ConditionalGeneration: {', '.join(sorted(_SPEECH_TO_TEXT))})",
        hint="for another architecture export it to ONNX yourself and run: appliance convert model.onnx",
    )


def _misfit(architecture: str, wanted: Task, tasks: Sequence[Task]) -> ConversionRefused:
    return ConversionRefused(
        Reason.UNSUPPORTED_TASK,
        f"{architecture} cannot do {wanted.value}: it can do {' or '.join(task.value for task in tasks)}",
        hint=f"convert it with: --task {tasks[0].value}",
    )


def _body_must_be_named(architecture: str) -> ConversionRefused:
    return ConversionRefused(
        Reason.UNSUPPORTED_TASK,
        f"{architecture} predicts tokens, which cannot be converted; its body computes features",
        hint=f"if embeddings are what you want: --task {_BODY.value}",
    )
