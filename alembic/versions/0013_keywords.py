"""Keywords: what LIST showed a subscriber last.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mailbox_listing",
        sa.Column("subscriber", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ids", sa.Text(), nullable=False),
        sa.Column("listed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subscriber", name=op.f("pk_mailbox_listing")),
    )


def downgrade() -> None:
    op.drop_table("mailbox_listing")
