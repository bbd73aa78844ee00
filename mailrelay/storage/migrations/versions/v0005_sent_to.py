"""Whom an account has sent to, where its new recipients of a day are limited."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add a column and a table."""
    op.add_column("account", sa.Column("new_recipients_per_day", sa.Integer()))
    op.create_table(
        "sent_to",
        sa.Column("account_id", ID, autoincrement=False, nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "recipient"),
    )
    op.create_index("sent_to_first", "sent_to", ["account_id", "first_at"])
