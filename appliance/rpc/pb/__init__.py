"""Modules made from protos/ by scripts/gen-protos; nothing here is edited by hand."""
