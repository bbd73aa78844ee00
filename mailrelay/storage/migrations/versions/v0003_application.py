"""The application's side: FromIDs, extra data, suppression, hold rules, webhook calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and tables."""
    op.add_column("account", sa.Column("from_id_logins", sa.Text()))
    op.add_column("account", sa.Column("retired_kept_for", sa.Double()))
    op.add_column("account", sa.Column("calls_kept_for", sa.Double()))
    op.add_column("message", sa.Column("extra", sa.Text()))
    op.add_column("message", sa.Column("remote_ip", sa.String(length=45)))
    op.add_column("mailbox_message", sa.Column("remote_ip", sa.String(length=45)))
    op.add_column("entry", sa.Column("from_id", sa.String(length=64)))
    op.add_column("entry", sa.Column("reverse_path", sa.Text()))
    _partial_index("entry_from_id", "entry", ["from_id"], "from_id IS NOT NULL")
    op.create_table(
        "suppression",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("base_address", sa.Text(), nullable=False),
        sa.Column("original_address", sa.Text(), nullable=False),
        sa.Column("added_at", sa.Double(), nullable=False),
        sa.Column("manual", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account_id", "base_address"),
    )
    op.create_table(
        "failure_streak",
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("recipient"),
    )
    op.create_table(
        "hold_rule",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("account_id", ID),
        sa.Column("sender", sa.Text()),
        sa.Column("recipient", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("authorization", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_endpoint_of", "webhook_endpoint", ["account_id"])
    _calls()


def _calls() -> None:
    op.create_table(
        "call",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("authorization", sa.Text(), nullable=False),
        sa.Column("event", sa.String(length=20), nullable=False),
        sa.Column("entry_id", ID),
        sa.Column("message_id", ID),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("queued_at", sa.Double(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("next_attempt_at", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lane", ID, nullable=False),
        sa.Column("node_id", ID, nullable=False),
        sa.Column("epoch", ID, nullable=False),
        sa.Column("superseded_by", ID),
        sa.Column("is_success", sa.Boolean()),
        sa.Column("keep_until", sa.Double()),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    _partial_index("call_due", "call", ["next_attempt_at", "lane"], "state = 0 AND node_id = 0")
    _partial_index("call_claimed", "call", ["node_id"], "node_id <> 0")
    _partial_index("call_living_of", "call", ["entry_id"], "state = 0 AND entry_id IS NOT NULL")
    _partial_index("call_retired", "call", ["keep_until"], "state = 2")
    op.create_table(
        "call_attempt",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("call_id", ID, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("is_success", sa.Boolean(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("call_attempt_of", "call_attempt", ["call_id"])


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=False,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
