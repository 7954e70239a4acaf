"""The training of the shipped models: one module per model, what they share in classifier and package."""
