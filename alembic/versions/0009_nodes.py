"""Several nodes: what each one reaches, seats of binds, and what an operator asks of a node.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "presence",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("outlet", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("handset", sa.SmallInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "outlet", name=op.f("pk_presence")),
    )
    op.create_table(
        "seat",
        sa.Column("account", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "number", name=op.f("pk_seat")),
    )
    op.add_column("node", sa.Column("wanted", sa.Text(), server_default="", nullable=False))
    op.add_column("node", sa.Column("version", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("node", "version")
    op.drop_column("node", "wanted")
    op.drop_table("seat")
    op.drop_table("presence")
