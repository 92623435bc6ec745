"""Who waits behind an outlet is read in pages, longest silence first.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_recipient_outlet_since", "recipient", ["outlet", "since", "number"], unique=False)
    op.drop_index("ix_recipient_outlet", "recipient")


def downgrade() -> None:
    op.create_index("ix_recipient_outlet", "recipient", ["outlet"], unique=False)
    op.drop_index("ix_recipient_outlet_since", "recipient")
