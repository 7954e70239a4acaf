"""Where models come from: each kind of source becomes FP32 graphs with the source itself as their reference."""
