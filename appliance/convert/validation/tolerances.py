"""How far each form of a model may be from its source, and why just so far. Pure."""

import math
from types import MappingProxyType

from appliance.convert.comparison import Tolerance
from appliance.convert.precision import Form
from appliance.convert.task import Task

# Both sides compute in FP32 and differ in the order of additions: 1e-5 of the largest value was the worst seen.
# A hundred times that still catches any wrong weight. Decisions differ on ties only, which count as agreement.
_FP32 = Tolerance(relative_error=1e-3, cosine=0.9999, agreement=0.999)

# FP16 rounds to 1 part in 2048, and the roundings of some tens of layers add up.
_FP16 = Tolerance(relative_error=2e-2, cosine=0.999, agreement=0.99)

# INT8 spends 256 steps on the range of a whole tensor: single values are off by per cents in models that answer as
# well as before, so the largest relative error says nothing. Direction and decisions do.
_ANY_ERROR = math.inf
_INT8 = MappingProxyType(
    {
        # ResNet-50 keeps 0.9986 in u8s8; a transformer that falls apart keeps 0.7 to 0.9 of its decisions.
        Task.IMAGE_CLASSIFICATION: Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.97),
        Task.AUDIO_CLASSIFICATION: Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.97),
        Task.TEXT_CLASSIFICATION: Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.97),
        Task.TOKEN_CLASSIFICATION: Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.97),
        # A box of IoU 0.9 is 3 % off at each side, and detectors return many boxes at the edge of their confidence.
        Task.OBJECT_DETECTION: Tolerance(_ANY_ERROR, cosine=0.97, agreement=0.9),
        # Mean IoU weighs a rare class of a few pixels as much as the background.
        Task.SEMANTIC_SEGMENTATION: Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.9),
        Task.DEPTH_ESTIMATION: Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.97),
        # One wrong token in twenty is what a listener starts to notice.
        Task.SPEECH_RECOGNITION: Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.95),
        # The agreement is a cosine itself: nearest neighbours of sentences begin to change below.
        Task.FEATURE_EXTRACTION: Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.98),
        Task.ZERO_SHOT_IMAGE_CLASSIFICATION: Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.97),
    }
)


def tolerance(task: Task, form: Form) -> Tolerance:
    """Return the bounds for one form of a model."""
    if form is Form.FP32:
        return _FP32
    if task is Task.TENSORS:
        return _tensors(form)
    return _FP16 if form is Form.FP16 else _INT8[task]


def _tensors(form: Form) -> Tolerance:
    # The agreement of plain tensors counts elements within 1e-3, finer than these forms can be. Integers and text
    # stay bounded all the same: their share of equal elements is part of the cosine.
    if form is Form.FP16:
        return Tolerance(_FP16.relative_error, _FP16.cosine, agreement=0.0)
    return Tolerance(_ANY_ERROR, cosine=0.98, agreement=0.0)
