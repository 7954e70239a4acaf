"""Which models are on this box, as content-addressed blobs and one SQLite database."""
