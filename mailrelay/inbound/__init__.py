"""SMTP in: protocol, authentication, factory."""
