"""Hugging Face directories with random weights, one for each architecture that README says converts.

Each is as small as its architecture allows, and made by transformers itself from a config: what is tried is the
converter, not the model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf

LABELS = {0: "pump", 1: "valve", 2: "bearing", 3: "motor"}
NAMED = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
TEXT = {
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """One entry of the table. task: as it is typed."""

    name: str
    task: str
    build: Callable[[], Any]
    processor: Callable[[], Any] | None = None
    note: str = ""  # what the table says beside it; empty: converts
    one_size: bool = False  # TensorRT takes it for pictures of one size only


def save(architecture: Architecture, folder: Path) -> Path:
    """Write the directory."""
    torch.manual_seed(20240601)
    model = architecture.build().eval()
    model.save_pretrained(folder, safe_serialization=True)
    if architecture.processor is not None:
        architecture.processor().save_pretrained(folder)
    return folder


def _detr() -> Any:
    backbone = hf.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    return hf.DetrForObjectDetection(
        hf.DetrConfig(
            use_timm_backbone=False, backbone=None, use_pretrained_backbone=False, backbone_config=backbone,
            d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=12, **NAMED,
        )
    )  # fmt: skip


def _rt_detr() -> Any:
    backbone = hf.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    model = hf.RTDetrForObjectDetection(
        hf.RTDetrConfig(
            backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[24, 32, 40], d_model=32,
            encoder_ffn_dim=64, decoder_ffn_dim=64, decoder_layers=2, decoder_attention_heads=2,
            encoder_attention_heads=2, num_queries=20, decoder_in_channels=[32, 32, 32], num_denoising=0,
            use_pretrained_backbone=False, **NAMED,
        )
    )  # fmt: skip
    # As it is made, all places of a picture look alike, and which of them become queries is left to rounding.
    return _lively(model)


def _lively(model: Any) -> Any:
    """As transformers makes them, deep stacks of convolutions answer with all but nothing."""
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            torch.nn.init.kaiming_normal_(module.weight)
    return model


def _yolos() -> Any:
    return hf.YolosForObjectDetection(
        hf.YolosConfig(**{**VISION, "image_size": [64, 96]}, num_detection_tokens=12, **NAMED)
    )


def _segformer() -> Any:
    return hf.SegformerForSemanticSegmentation(
        hf.SegformerConfig(
            hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4],
            decoder_hidden_size=32, **NAMED,
        )
    )  # fmt: skip


def _dpt() -> Any:
    model = hf.DPTForDepthEstimation(
        hf.DPTConfig(
            **{**VISION, "num_hidden_layers": 4}, num_channels=3, backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[16, 16, 16, 16], fusion_hidden_size=16, is_hybrid=False,
        )
    )  # fmt: skip
    return _lively(model)


def _whisper() -> Any:
    return hf.WhisperForConditionalGeneration(
        hf.WhisperConfig(
            d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=200, max_target_positions=64, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None,
            begin_suppress_tokens=None,
        )
    )  # fmt: skip


def _wav2vec2() -> Any:
    return hf.Wav2Vec2ForCTC(
        hf.Wav2Vec2Config(
            vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            conv_dim=(16, 16, 16), conv_stride=(5, 4, 4), conv_kernel=(10, 3, 3), num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        )
    )  # fmt: skip


def _clip() -> Any:
    vision = hf.CLIPVisionConfig(**{**VISION, "image_size": 32, "patch_size": 8}, projection_dim=16)
    text = hf.CLIPTextConfig(**TEXT, projection_dim=16, eos_token_id=1, bos_token_id=0, pad_token_id=1)
    return hf.CLIPModel(hf.CLIPConfig(text.to_dict(), vision.to_dict(), projection_dim=16))


ARCHITECTURES = (
    Architecture(
        "ViT", "image-classification", lambda: hf.ViTForImageClassification(hf.ViTConfig(**VISION, **NAMED)),
        lambda: hf.ViTImageProcessor(size={"height": 64, "width": 64}),
    ),
    Architecture(
        "ResNet", "image-classification",
        lambda: hf.ResNetForImageClassification(
            hf.ResNetConfig(embedding_size=16, hidden_sizes=[16, 24], depths=[1, 1], layer_type="basic", **NAMED)
        ),
        lambda: hf.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875),
    ),
    Architecture(
        "MobileNetV2", "image-classification",
        lambda: _lively(
            hf.MobileNetV2ForImageClassification(
                hf.MobileNetV2Config(image_size=64, depth_multiplier=0.35, **NAMED)
            )
        ),
    ),
    Architecture("YOLOS", "object-detection", _yolos),
    Architecture("DETR", "object-detection", _detr),
    Architecture("RT-DETR", "object-detection", _rt_detr),
    Architecture("SegFormer", "semantic-segmentation", _segformer),
    Architecture("DPT", "depth-estimation", _dpt, one_size=True),
    Architecture(
        "AST", "audio-classification",
        lambda: hf.ASTForAudioClassification(
            hf.ASTConfig(**{**VISION, "max_length": 64, "num_mel_bins": 32}, **NAMED)
        ),
    ),
    Architecture("Wav2Vec2", "automatic-speech-recognition", _wav2vec2),
    Architecture("Whisper", "automatic-speech-recognition", _whisper),
    Architecture(
        "BERT", "text-classification", lambda: hf.BertForSequenceClassification(hf.BertConfig(**TEXT, **NAMED))
    ),
    Architecture(
        "DistilBERT", "token-classification",
        lambda: hf.DistilBertForTokenClassification(
            hf.DistilBertConfig(
                vocab_size=200, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64, **NAMED
            )
        ),
    ),
    Architecture(
        "RoBERTa", "text-classification",
        lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**TEXT, pad_token_id=1, **NAMED)),
    ),
    Architecture("BERT encoder", "feature-extraction", lambda: hf.BertModel(hf.BertConfig(**TEXT))),
    Architecture("CLIP", "zero-shot-image-classification", _clip),
)  # fmt: skip

REFUSED = (
    Architecture(
        "GPT-2", "text-generation",
        lambda: hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=200, n_positions=64, n_embd=32, n_layer=1, n_head=2)),
        note="refused: generation is not a task of this converter",
    ),
    Architecture(
        "Mask2Former", "semantic-segmentation",
        lambda: hf.Mask2FormerForUniversalSegmentation(
            hf.Mask2FormerConfig(
                backbone_config=hf.SwinConfig(
                    image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
                    out_features=["stage1", "stage2", "stage3", "stage4"],
                ),
                hidden_dim=32, feature_size=32, mask_feature_size=32, encoder_layers=1, decoder_layers=2,
                num_attention_heads=2, dim_feedforward=32, encoder_feedforward_dim=32, num_queries=8,
            )
        ),
        note="refused: Optimum cannot export it",
    ),
)  # fmt: skip
