"""Anti-spoofing: evidence, reviews, and addresses of switches that nobody registered.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spoof_verdict",
        sa.Column("node", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("trusted", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("enforced", sa.SmallInteger(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", "day", "sequence", name=op.f("pk_spoof_verdict")),
    )
    op.create_index("ix_spoof_verdict_at", "spoof_verdict", ["at"], unique=False)
    op.create_index("ix_spoof_verdict_sender", "spoof_verdict", ["sender", "at"], unique=False)
    op.create_index("ix_spoof_verdict_message", "spoof_verdict", ["message"], unique=False)
    op.create_table(
        "spoof_review",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("node", sa.SmallInteger(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spoof_review")),
    )
    op.create_index("ix_spoof_review_of", "spoof_review", ["node", "day", "sequence"], unique=False)
    op.create_table(
        "spoof_unknown",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("type", "value", name=op.f("pk_spoof_unknown")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_spoof_unknown_last_at", "spoof_unknown", ["last_at"], unique=False)


def downgrade() -> None:
    for table in ("spoof_unknown", "spoof_review", "spoof_verdict"):
        op.drop_table(table)
