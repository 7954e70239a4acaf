"""What a client does with a model's answer, by task: Hugging Face's own rules in a sentence and in numbers."""

from collections.abc import Mapping
from types import MappingProxyType

from appliance.convert.task import Task

_CLASSES = {"outputs": "logits [N, classes]", "rule": "softmax over the last axis; labels.txt names the classes"}

_RULES: Mapping[Task, Mapping[str, str]] = MappingProxyType(
    {
        Task.IMAGE_CLASSIFICATION: _CLASSES,
        Task.AUDIO_CLASSIFICATION: _CLASSES,
        Task.TEXT_CLASSIFICATION: _CLASSES,
        Task.TOKEN_CLASSIFICATION: {
            "outputs": "logits [N, tokens, classes]",
            "rule": "argmax over the last axis where attention_mask is 1; labels.txt names the classes",
        },
        Task.OBJECT_DETECTION: {
            "outputs": "logits [N, queries, classes], pred_boxes [N, queries, 4]",
            "rule": "boxes are centre x, centre y, width, height, each 0 to 1 of the padded picture. DETR and YOLOS: "
            "softmax over the last axis, whose last class means 'nothing'. RT-DETR, D-FINE: sigmoid for each class",
        },
        Task.SEMANTIC_SEGMENTATION: {
            "outputs": "logits [N, classes, height, width]",
            "rule": "resize to the picture (bilinear), then argmax over the classes; labels.txt names them",
        },
        Task.DEPTH_ESTIMATION: {
            "outputs": "predicted_depth [N, height, width]",
            "rule": "resize to the picture (bicubic); values are relative unless the model's makers say metres",
        },
        Task.SPEECH_RECOGNITION: {
            "outputs": "logits [N, steps, tokens]",
            "rule": "CTC: argmax for each step, repeated tokens once, then without the blank token. Encoder and "
            "decoder: feed the decoder's own tokens back, from decoder_start_token_id until eos_token_id",
        },
        Task.FEATURE_EXTRACTION: {
            "outputs": "last_hidden_state [N, tokens, size]; sentence_embedding [N, size] where the source pools",
            "rule": "sentence_embedding is ready for comparison by dot product when the source normalises it",
        },
        Task.ZERO_SHOT_IMAGE_CLASSIFICATION: {
            "outputs": "logits_per_image [pictures, texts]",
            "rule": "softmax over the texts of one request; one request holds the pictures and the texts it compares",
        },
    }
)


def postprocessing(task: Task) -> Mapping[str, str]:
    """What to do with the outputs; empty where the numbers speak for themselves."""
    return _RULES.get(task, {})
