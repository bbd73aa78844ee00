"""What was judged of mail, policies and reports about TLS and DMARC, and who is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and tables."""
    op.add_column("message", sa.Column("verdict", sa.Text()))
    op.add_column(
        "alias",
        sa.Column("requires_dkim", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    late = sa.Column("late_failures", sa.Integer(), nullable=False, server_default="0")
    op.add_column("alias_member", late)
    op.add_column("alias_member", sa.Column("late_failed_at", sa.Double()))
    op.add_column(
        "domain", sa.Column("mta_sts", sa.String(10), nullable=False, server_default="none")
    )
    op.add_column("domain", sa.Column("mta_sts_changed_at", sa.Double()))
    op.add_column(
        "domain", sa.Column("dmarc", sa.String(10), nullable=False, server_default="none")
    )
    op.create_table(
        "mta_sts_policy",
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("policy_id", sa.String(32), nullable=False),
        sa.Column("mode", sa.String(10), nullable=False),
        sa.Column("hosts", sa.Text(), nullable=False),
        sa.Column("fetched_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("domain"),
    )
    op.create_table(
        "tls_result",
        sa.Column("day", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("sessions", ID, nullable=False),
        sa.PrimaryKeyConstraint("day", "domain", "key_hash"),
    )
    op.create_table(
        "dmarc_result",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("dmarc_result_of", "dmarc_result", ["domain", "at"])
    op.create_table(
        "report_made",
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("message_id", ID),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "domain", "began_at"),
    )
    op.create_table(
        "report",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("organization", sa.String(255), nullable=False),
        sa.Column("report_id", sa.String(255), nullable=False),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("message_id", ID),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("is_verified", sa.Boolean(), nullable=False),
        sa.Column("succeeded", ID, nullable=False),
        sa.Column("failed", ID, nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "source", "report_id", "domain"),
        sqlite_autoincrement=True,
    )
    op.create_index("report_received", "report", ["received_at"])
    op.create_table(
        "greylisted",
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("passed_at", sa.Double()),
        sa.PrimaryKeyConstraint("key_hash"),
    )
    op.create_index("greylisted_last", "greylisted", ["last_at"])
    op.create_table(
        "known_sender",
        sa.Column("account_id", ID, nullable=False, autoincrement=False),
        sa.Column("sender", sa.String(400), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "sender"),
    )
    op.create_table(
        "listing",
        sa.Column("zone", sa.String(255), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("listed_since", sa.Double()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("zone", "address"),
    )
    op.create_table(
        "session",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("credential_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("ip", sa.String(45), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("session_of", "session", ["account_id"])
    op.create_index("session_seen", "session", ["seen_at"])
