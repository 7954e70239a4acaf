"""The first software of a box without an owner: from a signed medium, by standard library and OpenSSL only."""
