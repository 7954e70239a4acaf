"""What a Hugging Face directory is for: told by its architecture, or by the person."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.convert.refusal import Reason
from appliance.convert.task import Task
from tests.convert.source_reading import read, refusal
from tests.support.huggingface_files import write_directory


@pytest.mark.parametrize(
    ("architecture", "model_type", "expected"),
    [
        ("ViTForImageClassification", "vit", Task.IMAGE_CLASSIFICATION),
        ("DeiTForImageClassificationWithTeacher", "deit", Task.IMAGE_CLASSIFICATION),
        ("YolosForObjectDetection", "yolos", Task.OBJECT_DETECTION),
        ("SegformerForSemanticSegmentation", "segformer", Task.SEMANTIC_SEGMENTATION),
        ("MaskFormerForInstanceSegmentation", "maskformer", Task.SEMANTIC_SEGMENTATION),
        ("Mask2FormerForUniversalSegmentation", "mask2former", Task.SEMANTIC_SEGMENTATION),
        ("DPTForDepthEstimation", "dpt", Task.DEPTH_ESTIMATION),
        ("ASTForAudioClassification", "audio-spectrogram-transformer", Task.AUDIO_CLASSIFICATION),
        ("Wav2Vec2ForSequenceClassification", "wav2vec2", Task.AUDIO_CLASSIFICATION),
        ("Wav2Vec2ForCTC", "wav2vec2", Task.SPEECH_RECOGNITION),
        ("WhisperForConditionalGeneration", "whisper", Task.SPEECH_RECOGNITION),
        ("BertForSequenceClassification", "bert", Task.TEXT_CLASSIFICATION),
        ("BertForTokenClassification", "bert", Task.TOKEN_CLASSIFICATION),
        ("BertModel", "bert", Task.FEATURE_EXTRACTION),
        ("CLIPModel", "clip", Task.ZERO_SHOT_IMAGE_CLASSIFICATION),
        ("SiglipModel", "siglip", Task.ZERO_SHOT_IMAGE_CLASSIFICATION),
    ],
)
def test_the_architecture_tells_the_task(tmp_path: Path, architecture: str, model_type: str, expected: Task) -> None:
    write_directory(tmp_path, architectures=[architecture], model_type=model_type)

    assert read(tmp_path).task is expected
    assert read(tmp_path, expected).task is expected


def test_the_body_of_a_classifier_may_be_asked_for(tmp_path: Path) -> None:
    assert read(write_directory(tmp_path), Task.FEATURE_EXTRACTION).task is Task.FEATURE_EXTRACTION


def test_a_task_that_the_head_was_not_trained_for_is_refused_with_those_that_fit(tmp_path: Path) -> None:
    refused = refusal(write_directory(tmp_path), Task.TOKEN_CLASSIFICATION)

    assert refused.reason is Reason.UNSUPPORTED_TASK
    assert "cannot do token-classification: it can do text-classification or feature-extraction" in refused.message
    assert refused.hint == "convert it with: --task text-classification"


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "GPT2LMHeadModel", "Qwen3ForCausalLM"])
def test_a_language_model_gives_its_body_only_to_those_who_ask_for_it(tmp_path: Path, architecture: str) -> None:
    write_directory(tmp_path, architectures=[architecture])

    refused = refusal(tmp_path)

    assert refused.reason is Reason.UNSUPPORTED_TASK
    assert "--task feature-extraction" in refused.hint
    assert read(tmp_path, Task.FEATURE_EXTRACTION).task is Task.FEATURE_EXTRACTION


@pytest.mark.parametrize(
    ("architecture", "model_type"),
    [("T5ForConditionalGeneration", "t5"), ("BertForMultipleChoice", "bert"), ("OwnNetwork", "own")],
)
def test_an_unknown_architecture_is_refused_with_those_that_are_known(
    tmp_path: Path, architecture: str, model_type: str
) -> None:
    refused = refusal(write_directory(tmp_path, architectures=[architecture], model_type=model_type))

    assert refused.reason is Reason.UNSUPPORTED_ARCHITECTURE
    assert f"{architecture} cannot be converted" in refused.message
    assert "...ForImageClassification" in refused.message


def test_looking_imports_no_heavy_library() -> None:
    looking = (
        "import sys, appliance.convert.sources.huggingface_source\n"
        "import appliance.convert.sources.weights, appliance.convert.licence\n"
        "heavy = {'torch', 'transformers', 'optimum', 'onnx', 'onnxruntime', 'safetensors', 'sklearn'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )

    found = subprocess.run([sys.executable, "-c", looking], capture_output=True, text=True, timeout=60, check=False)

    assert (found.returncode, found.stderr) == (0, "")
