"""What holds for every test."""

import os
import signal

# Before anything imports onnxruntime: later versions of it contact a collector.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# A shell without job control starts what runs in the background with SIGINT ignored, and so would every child be that
# a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
