"""Peers, relay rules in the directory, forwarding, and what lists do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and tables."""
    op.add_column("account", sa.Column("forward_to", sa.Text()))
    op.add_column("account", sa.Column("forward_confirmed_at", sa.Double()))
    op.add_column(
        "account",
        sa.Column("forward_keeps_copy", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column(
        "alias", sa.Column("rewrite", sa.String(10), nullable=False, server_default="none")
    )
    op.add_column(
        "alias",
        sa.Column("dmarc_fallback", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column(
        "alias", sa.Column("is_list", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("alias", sa.Column("removes_after", sa.Integer()))
    op.add_column(
        "alias_member", sa.Column("failures", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("alias_member", sa.Column("failed_at", sa.Double()))
    op.add_column("entry", sa.Column("edit", sa.LargeBinary()))
    op.add_column("entry", sa.Column("member_of", ID))
    op.create_table(
        "relay_rule",
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("key", sa.String(400), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key"),
    )
    op.create_table(
        "relay_alarm",
        sa.Column("node_id", ID, autoincrement=False, nullable=False),
        sa.Column("subject", sa.String(1000), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", "subject"),
    )
    op.create_table(
        "peer",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("protocol", sa.String(20), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("callback_url", sa.Text(), nullable=False),
        sa.Column("account_id", ID),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "peer_key",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("peer_id", ID, nullable=False),
        sa.Column("is_ours", sa.Boolean(), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("peer_id", "is_ours", "key_id"),
    )
    op.create_table(
        "peer_state",
        sa.Column("peer_id", ID, autoincrement=False, nullable=False),
        sa.Column("last_contact_at", sa.Double()),
        sa.Column("alarm", sa.Text(), nullable=False, server_default=""),
        sa.Column("alarm_since", sa.Double()),
        sa.Column("their_position", ID, nullable=False, server_default="0"),
        sa.Column("our_position", ID, nullable=False, server_default="0"),
        sa.Column("removed_position", ID, nullable=False, server_default="0"),
        sa.Column("settled_position", ID, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("peer_id"),
    )
    op.create_table(
        "peer_message",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("peer_id", ID, nullable=False),
        sa.Column("msg_id", sa.String(200), nullable=False),
        sa.Column("hops", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("webhook_url", sa.Text()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("message_id"),
    )
    op.create_index("peer_message_of", "peer_message", ["peer_id", "msg_id"])
    op.create_table(
        "peer_request",
        sa.Column("peer_id", ID, autoincrement=False, nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("entries", sa.Text(), nullable=False),
        sa.Column("meta", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("answered_at", sa.Double()),
        sa.Column("relay_id", sa.Text()),
        sa.Column("results", sa.Text()),
        sa.Column("open_until", sa.Double()),
        sa.PrimaryKeyConstraint("peer_id", "key"),
    )
    op.create_index("peer_request_message", "peer_request", ["message_id"])
    op.create_table(
        "dkim_key",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("selector", sa.String(63), nullable=False),
        sa.Column("algorithm", sa.String(20), nullable=False),
        sa.Column("pem", sa.LargeBinary(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("removed_at", sa.Double()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("domain", "selector"),
    )
    op.create_table(
        "peer_suppression",
        sa.Column("peer_id", ID, autoincrement=False, nullable=False),
        sa.Column("address", sa.String(400), nullable=False),
        sa.Column("is_suppressed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("is_told", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("peer_id", "address"),
    )
