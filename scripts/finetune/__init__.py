"""Training a small image classifier on one's own pictures."""
