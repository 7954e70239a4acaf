"""What holds for every test."""

import os

# Before anything imports onnxruntime: later versions of it contact a collector.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
