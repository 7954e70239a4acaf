"""What the numbers of an output mean where their names and shapes do not say it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """Facts from the model's configuration."""

    label_count: int = 0  # 0: unknown. Detectors with one class more than labels call that last class 'nothing'
    blank_token: int = 0  # CTC: Hugging Face's pad_token_id
