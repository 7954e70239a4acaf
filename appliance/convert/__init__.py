"""Room of the workstation: a local model becomes a validated ONNX package. Never on a box."""
