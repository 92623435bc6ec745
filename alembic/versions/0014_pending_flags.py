"""Delivery pending flags: who is told when a handset comes back.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pending_flag",
        sa.Column("account", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("esme_addr", sa.Text(), nullable=False),
        sa.Column("esme_addr_ton", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("esme_addr_npi", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("source_addr", sa.Text(), nullable=False),
        sa.Column("source_addr_ton", sa.SmallInteger(), nullable=False),
        sa.Column("source_addr_npi", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "account",
            "recipient",
            "esme_addr",
            "esme_addr_ton",
            "esme_addr_npi",
            name=op.f("pk_pending_flag"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_pending_flag_recipient", "pending_flag", ["recipient"], unique=False)
    op.create_index("ix_pending_flag_expires_at", "pending_flag", ["expires_at"], unique=False)
    op.create_index(
        "ix_pending_flag_due",
        "pending_flag",
        ["account", "due_at"],
        unique=False,
        sqlite_where=sa.text("due_at > 0"),
        postgresql_where=sa.text("due_at > 0"),
    )


def downgrade() -> None:
    op.drop_table("pending_flag")
