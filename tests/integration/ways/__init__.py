"""Every way out against one suite: what a next hop does, and what the server makes of it."""
