"""Where to: from a recipient to a destination and the way there."""
