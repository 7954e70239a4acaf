"""What a model and a tensor are: pure values and rules, no I/O, no clock, no threads."""
