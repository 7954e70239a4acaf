"""Training on the CPU, the same weights each time: one thread, fixed seeds, deterministic algorithms."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, ResNetConfig, ResNetForImageClassification

from appliance.errors import InvalidInput
from finetune.data import SIZE, Labelled

LARGEST_BATCH, SMALLEST_BATCH = 64, 8
BATCHES = 16  # for each pass, with few pictures: fewer steps would leave the statistics of the layers untaught
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 5e-2
MARGIN = 4  # pixels of 32 by which pictures are moved: one of 8
_SEED = 7


def start(classes: int, base: Path | None) -> ResNetForImageClassification:
    """Make a network, or take the weights of `base`; its head is made anew where the classes differ in number."""
    torch.manual_seed(_SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    if base is None:
        # 3-fold cross-validation on the digits to learn from: 99.4 %; two thirds as wide 99.3 %, half as deep 99.1 %.
        config = ResNetConfig(
            num_channels=1, embedding_size=24, hidden_sizes=[24, 48], depths=[2, 2], layer_type="basic",
            num_labels=classes,
        )  # fmt: skip
        return ResNetForImageClassification(config)
    _require_residual(base)
    try:
        return ResNetForImageClassification.from_pretrained(
            base, local_files_only=True, use_safetensors=True, num_labels=classes, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _no_base(base, str(error)) from error


def _require_residual(base: Path) -> None:
    """Only warned of otherwise, and the weights made anew."""
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise _no_base(base, str(error)) from error
    if (config.model_type, getattr(config, "num_channels", None)) != ("resnet", 1):
        channels = getattr(config, "num_channels", "no")
        raise _no_base(
            base, f"found {config.model_type} of {channels} channels, expected resnet of 1, for grey pictures"
        )


def _no_base(base: Path, reason: str) -> InvalidInput:
    return InvalidInput(
        f"{base} cannot be the base: {(reason.splitlines() or ['it cannot be read'])[0]}",
        hint="name a directory that scripts/finetune-digits wrote",
    )


def train(model: ResNetForImageClassification, examples: Labelled, epochs: int, tell: Callable[[str], None]) -> None:
    """Adam with a falling learning rate; each pass sees the pictures moved a little, in another order."""
    images, classes = (torch.from_numpy(array) for array in examples.arrays())
    random = np.random.default_rng(_SEED)
    # Fused: the other forms take square roots of MKL's vector library, whose last bits differ between processors.
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    batches = -(-len(images) // min(LARGEST_BATCH, max(SMALLEST_BATCH, len(images) // BATCHES)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE * 2, total_steps=epochs * batches)
    model.train()
    for epoch in range(epochs):
        losses = []
        for rows in np.array_split(random.permutation(len(images)), batches):
            loss = torch.nn.functional.cross_entropy(
                model(_moved(images[rows], random)).logits, classes[rows], label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        tell(f"pass {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}")
    model.eval()


def describe(epochs: int) -> str:
    """One sentence for the card."""
    return (
        f"{epochs} passes of AdamW, learning rate up to {2 * LEARNING_RATE:g}; each time the pictures were moved by "
        f"up to {MARGIN} of their {SIZE} pixels."
    )


def accuracy(model: ResNetForImageClassification, examples: Labelled) -> float:
    """Share of right answers."""
    images, classes = examples.arrays()
    with torch.inference_mode():
        found = model(torch.from_numpy(images)).logits.argmax(dim=1).numpy()
    return float(np.mean(found == classes))


def _moved(images: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Move all pictures of a batch by up to MARGIN pixels; what comes in is paper."""
    down, right = (int(step) for step in random.integers(-MARGIN, MARGIN + 1, 2))
    padded = torch.nn.functional.pad(images, (MARGIN,) * 4)
    height, width = images.shape[2:]
    return padded[:, :, MARGIN + down : MARGIN + down + height, MARGIN + right : MARGIN + right + width]
