"""Other forms of a graph (FP16, INT8), what they cost, and which one is served."""
