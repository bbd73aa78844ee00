"""Indexes by which a DSN finds the message that it tells of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

SUBMITTED = "account_id IS NOT NULL AND {0} IS NOT NULL"


def upgrade() -> None:
    """Make the indexes: over what accounts sent, strangers' mail costs nothing."""
    for column in ("message_id", "envid"):
        op.create_index(
            f"message_by_{column}",
            "message",
            [column],
            unique=False,
            sqlite_where=sa.text(SUBMITTED.format(column)),
            postgresql_where=sa.text(SUBMITTED.format(column)),
        )
