"""Unused by us (storage/database.py runs the migrations); alembic wants the file to exist."""
