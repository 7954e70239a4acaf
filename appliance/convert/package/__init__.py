"""What is written: a package that a registry takes, whole or not at all."""
