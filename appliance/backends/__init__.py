"""How numbers are computed: one module per runtime, each imported lazily and alone."""
