"""What a model is for: the tasks that can be converted, in Hugging Face's words."""

from enum import Enum


class Task(Enum):
    """The value is what people type after --task."""

    IMAGE_CLASSIFICATION = "image-classification"
    OBJECT_DETECTION = "object-detection"
    SEMANTIC_SEGMENTATION = "semantic-segmentation"
    DEPTH_ESTIMATION = "depth-estimation"
    AUDIO_CLASSIFICATION = "audio-classification"
    SPEECH_RECOGNITION = "automatic-speech-recognition"
    TEXT_CLASSIFICATION = "text-classification"
    TOKEN_CLASSIFICATION = "token-classification"  # noqa: S105  (a task, not a password)
    FEATURE_EXTRACTION = "feature-extraction"
    ZERO_SHOT_IMAGE_CLASSIFICATION = "zero-shot-image-classification"
    TENSORS = "tensors"  # plain ONNX, torch.export programs, scikit-learn: arrays in, arrays out
