"""The webapi of a whole server."""
