"""What a person with a GPU runs to see that everything works on it. Started by scripts/gpu-check."""
