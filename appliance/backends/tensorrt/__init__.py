"""The TensorRT family: engines built on this box for exactly this box, and run."""
