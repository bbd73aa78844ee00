"""Mail to and from an application's HTTPS endpoint."""
