"""Aliases, their members, and what came by them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add a column and two tables."""
    op.add_column("entry", sa.Column("alias", sa.Text()))
    op.create_table(
        "alias",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("localpart", sa.String(255), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("post_public", sa.Boolean(), nullable=False),
        sa.Column("list_members", sa.Boolean(), nullable=False),
        sa.Column("allow_from", sa.Boolean(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("on_disabled", sa.String(10), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("posters", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("localpart", "domain"),
    )
    op.create_table(
        "alias_member",
        sa.Column("alias_id", ID, autoincrement=False, nullable=False),
        sa.Column("address", sa.String(400), nullable=False),
        sa.PrimaryKeyConstraint("alias_id", "address"),
    )
