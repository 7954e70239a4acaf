"""The least that proves that something computes: an ONNX model of two nodes, y = -(x + x) for two FP32 numbers."""

from types import MappingProxyType

INPUT, OUTPUT = "x", "y"
GIVEN = (1.5, -2.0)
EXPECTED = (-3.0, 4.0)
# IR version 8, opset 13: old enough for every runtime in use.
MODEL = bytes.fromhex(
    "08083a420a0e0a01780a017812017322034164640a0b0a017312017922034e65671201675a0f0a0178120a0a08080112040a020802620f0a"
    "0179120a0a08080112040a02080242040a00100d"
)
# What a compute capability is called on the box: for sentences only, decided is by trying.
KNOWN_GPUS = MappingProxyType(
    {"8.7": "Jetson Orin", "9.0": "H100, H200, GH200", "10.0": "B200", "11.0": "Jetson Thor"}
)
