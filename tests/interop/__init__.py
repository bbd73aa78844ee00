"""Other people's mail programs, in both directions."""
