"""Links: ids of other centers, and receipts whose message is not known yet.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "remote_message",
        sa.Column("link", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("message", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("link", "key", "message", name=op.f("pk_remote_message")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_remote_message_expires_at", "remote_message", ["expires_at"], unique=False)
    op.create_index("ix_remote_message_message", "remote_message", ["message"], unique=False)
    op.create_index(
        "ix_remote_message_awaited",
        "remote_message",
        ["link"],
        unique=False,
        sqlite_where=sa.text("settled_at = 0"),
        postgresql_where=sa.text("settled_at = 0"),
    )
    op.create_table(
        "remote_receipt",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("link", sa.Integer(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("key_2", sa.Text(), nullable=False),
        sa.Column("key_3", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("network_error", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remote_receipt")),
    )
    op.create_index("ix_remote_receipt_expires_at", "remote_receipt", ["expires_at"], unique=False)


def downgrade() -> None:
    op.drop_table("remote_receipt")
    op.drop_table("remote_message")
