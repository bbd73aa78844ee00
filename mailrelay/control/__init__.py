"""What may be asked of the server, with audit: page, API and CLI call it."""
