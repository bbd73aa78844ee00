"""Our own API, without a server."""
