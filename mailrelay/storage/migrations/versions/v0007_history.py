"""Indexes by which an account's messages and events are found among everybody's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

OF_ACCOUNTS = "account_id IS NOT NULL"


def upgrade() -> None:
    """Make the indexes: strangers' mail is in neither."""
    for name, table, column in (
        ("message_of_account", "message", "id"),
        ("event_of_account", "event", "position"),
    ):
        op.create_index(
            name,
            table,
            ["account_id", column],
            unique=False,
            sqlite_where=sa.text(OF_ACCOUNTS),
            postgresql_where=sa.text(OF_ACCOUNTS),
        )
