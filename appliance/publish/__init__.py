"""The signing station: keys, roles, and the bundles that they sign. Never needs a network."""
