"""The API's own: tags, signed endpoints, templates, statistics, suppression's causes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and tables."""
    op.add_column("message", sa.Column("tags", sa.Text()))
    op.create_table(
        "message_tag",
        sa.Column("account_id", ID, autoincrement=False, nullable=False),
        sa.Column("tag", sa.String(100), nullable=False),
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "tag", "message_id"),
    )
    op.create_index("message_tag_of", "message_tag", ["message_id"])
    op.create_index(
        "entry_urgent",
        "entry",
        ["next_attempt_at", "lane"],
        sqlite_where=sa.text("state = 0 AND node_id = 0 AND lane >= 4294967296"),
        postgresql_where=sa.text("state = 0 AND node_id = 0 AND lane >= 4294967296"),
    )
    _endpoints()
    _suppressions()
    _templates()
    op.create_index("mailbox_message_of_account", "mailbox_message", ["account_id", "id"])
    op.create_table(
        "statistic",
        sa.Column("account_id", ID, autoincrement=False, nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tag", sa.String(100), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("count", ID, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "hour", "tag", "domain", "kind"),
    )
    op.create_index("statistic_hour", "statistic", ["hour"])


def _endpoints() -> None:
    for name, type_, default in (
        ("name", sa.String(100), ""),
        ("tags", sa.Text(), "[]"),
        ("secrets", sa.Text(), "[]"),
        ("disabled_because", sa.Text(), ""),
    ):
        column = sa.Column(name, type_, nullable=False, server_default=default)
        op.add_column("webhook_endpoint", column)
    op.add_column("webhook_endpoint", sa.Column("most_at_once", sa.Integer()))
    op.add_column("webhook_endpoint", sa.Column("most_together", sa.Integer()))
    op.add_column("webhook_endpoint", sa.Column("created_at", sa.Double()))
    op.add_column("webhook_endpoint", sa.Column("disabled_at", sa.Double()))
    every: sa.Column[bool] = sa.Column(
        "has_every_event", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("webhook_endpoint", every)
    op.add_column("call", sa.Column("endpoint_id", ID))
    op.add_column("call", sa.Column("replay_of", ID))
    op.create_index("call_of_account", "call", ["account_id", "id"])
    # One of all of an entry's calls does what that of the living did, and is changed less often.
    op.drop_index("call_living_of", "call")
    op.create_index(
        "call_of_entry",
        "call",
        ["entry_id"],
        sqlite_where=sa.text("entry_id IS NOT NULL"),
        postgresql_where=sa.text("entry_id IS NOT NULL"),
    )
    op.create_index(
        "call_of_endpoint",
        "call",
        ["endpoint_id", "id"],
        sqlite_where=sa.text("endpoint_id IS NOT NULL"),
        postgresql_where=sa.text("endpoint_id IS NOT NULL"),
    )


def _suppressions() -> None:
    cause = sa.Column("cause", sa.String(20), nullable=False, server_default="")
    op.add_column("suppression", cause)
    op.add_column(
        "suppression", sa.Column("evidence", sa.Text(), nullable=False, server_default="")
    )
    op.add_column("suppression", sa.Column("entry_id", ID))
    op.add_column("suppression", sa.Column("expires_at", sa.Double()))
    op.create_index(
        "suppression_expires",
        "suppression",
        ["expires_at"],
        sqlite_where=sa.text("expires_at IS NOT NULL"),
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )


def _templates() -> None:
    op.create_table(
        "template",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "template_version",
        sa.Column("template_id", ID, autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("template_id", "version"),
    )
