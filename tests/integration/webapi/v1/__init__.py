"""Our own API, of a whole server."""
