"""What a conversion found out, as one page for people and as JSON."""
