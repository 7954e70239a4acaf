"""The PyTorch model of a Hugging Face directory: every weight found, no foreign code run."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import torch
import transformers

from appliance.convert.foreign_errors import refusing
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.huggingface_source import HuggingFaceSource
from appliance.convert.sources.weights import refuse_unusable
from appliance.convert.task import Task

_CLASSES = MappingProxyType(
    {
        Task.IMAGE_CLASSIFICATION: ("AutoModelForImageClassification",),
        Task.OBJECT_DETECTION: ("AutoModelForObjectDetection",),
        Task.SEMANTIC_SEGMENTATION: (
            "AutoModelForSemanticSegmentation",
            "AutoModelForUniversalSegmentation",
        ),
        Task.DEPTH_ESTIMATION: ("AutoModelForDepthEstimation",),
        Task.AUDIO_CLASSIFICATION: ("AutoModelForAudioClassification",),
        Task.SPEECH_RECOGNITION: ("AutoModelForSpeechSeq2Seq", "AutoModelForCTC"),
        Task.TEXT_CLASSIFICATION: ("AutoModelForSequenceClassification",),
        Task.TOKEN_CLASSIFICATION: ("AutoModelForTokenClassification",),
        Task.FEATURE_EXTRACTION: ("AutoModel",),
        Task.ZERO_SHOT_IMAGE_CLASSIFICATION: ("AutoModelForZeroShotImageClassification",),
    }
)
_POOLER = "pooler."  # the dense layer on the first token, which BERT and its kin may have or not
_SHOWN = 5  # names of weights in a sentence


def load_model(source: HuggingFaceSource) -> Any:
    """Load the model on the CPU in FP32, ready for inference. Raises ConversionRefused."""
    loader = _class_for(source)
    model, found = _loaded(loader, source)
    if found["missing_keys"] and all(key.startswith(_POOLER) for key in found["missing_keys"]):
        # Language models are trained and saved without one; its output is not asked for.
        model, found = _loaded(loader, source, add_pooling_layer=False)
    # A head that the file lacks would be filled with random numbers, and the model would answer all the same.
    _refuse_keys(source, "lacks", found["missing_keys"])
    _refuse_keys(source, "has other shapes for", [str(key) for key in found["mismatched_keys"]])
    if source.pickled:
        _refuse_unusable_weights(model)
    return model.eval()


def _loaded(loader: Any, source: HuggingFaceSource, **options: Any) -> tuple[Any, dict[str, Any]]:
    with refusing(lambda said: _not_loaded(source, said)):
        model, found = loader.from_pretrained(
            source.directory,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not source.pickled,
            weights_only=True,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
            **options,
        )
    return model, found


def _refuse_unusable_weights(model: Any) -> None:
    """What `weights.check_weights` does for safetensors before anything is loaded."""
    floats = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    counts = {name: int((~torch.isfinite(tensor)).sum()) for name, tensor in floats.items()}
    refuse_unusable(
        {name: count for name, count in counts.items() if count},
        tensors=len(floats),
        has_values=any(bool(tensor.any()) for tensor in floats.values()),
    )


def _class_for(source: HuggingFaceSource) -> Any:
    config = transformers.AutoConfig.from_pretrained(source.directory, local_files_only=True, trust_remote_code=False)
    for name in _CLASSES[source.task]:
        loader = getattr(transformers, name)
        if type(config) in loader._model_mapping:  # noqa: SLF001  (the only table of what a loader takes)
            return loader
    raise ConversionRefused(
        Reason.UNSUPPORTED_TASK,
        f"{source.architecture} cannot be loaded for {source.task.value}",
        hint="leave --task out: it is taken from config.json",
    )


def _refuse_keys(source: HuggingFaceSource, what: str, keys: Sequence[str]) -> None:
    if keys:
        names = ", ".join(sorted(keys)[:_SHOWN]) + (" ..." if len(keys) > _SHOWN else "")
        raise ConversionRefused(
            Reason.WEIGHTS_MISMATCH,
            f"the weights do not belong to config.json: {source.architecture} needs {len(keys)} tensors that the "
            f"file {what}: {names}",
            hint="bring config.json and weights from one place, or name the task they were trained for with --task",
        )


def _not_loaded(source: HuggingFaceSource, said: str) -> ConversionRefused:
    if "size mismatch" in said or "mismatched" in said:
        reason, what = Reason.WEIGHTS_MISMATCH, "the weights do not belong to config.json"
    else:
        reason, what = Reason.UNSUPPORTED_ARCHITECTURE, f"transformers cannot load {source.architecture}"
    return ConversionRefused(
        reason, f"{what}: {said}", hint="compare the files with where they came from, then convert again"
    )
