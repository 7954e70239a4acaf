"""How new things get into the box: a medium is read, verified, staged, activated, and taken back if it fails."""
