"""Templates of messages: what they are, and messages written with them."""
