"""alembic's scripts; the environment is made in storage/database.py."""
