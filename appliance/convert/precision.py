"""The forms in which one model can be written, and for which hardware each is meant."""

from enum import Enum


class Precision(Enum):
    """What people type after --precision."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Target(Enum):
    """What people type after --target: where the model will run."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


class Form(Enum):
    """One way to write the graph; the value is part of its file's name."""

    FP32 = "fp32"
    FP16 = "fp16"  # inputs and outputs stay FP32
    INT8_DYNAMIC = "int8-dynamic"  # CPU; no calibration data needed
    INT8_CPU = "int8-cpu"  # static: activations u8, weights s8
    INT8_TENSORRT = "int8-tensorrt"  # static: symmetric s8 both, QDQ, biases stay FP32
