"""Generated from protos/model_config.proto; never edited by hand."""
