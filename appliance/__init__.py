"""An inference appliance that its owner controls completely."""

__version__ = "0.1.0"
