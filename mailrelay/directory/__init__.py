"""Whom we serve: domains, accounts, addresses as an immutable snapshot; credentials; login."""
