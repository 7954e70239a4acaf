"""What a signed bundle is: names, documents and refusals that the signing station and the box share. Pure."""
