"""Addresses of messages are indexed by slot of time.

Revision ID: 0011
Revises: 0010

Databases of released programs have no slot. Those made by some unreleased ones have it from their first day, because
0001 was edited for a while; there is nothing to do then.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    if "slot" in {column["name"] for column in sa.inspect(connection).get_columns("message")}:
        return
    op.drop_index("ix_message_recipient_id", "message")
    op.drop_index("ix_message_sender_id", "message")
    op.add_column("message", sa.Column("slot", sa.Integer(), server_default="0", nullable=False))
    if connection.dialect.name == "postgresql":
        # One pass that writes each row once; an UPDATE would leave the old rows behind as dead ones.
        op.execute("ALTER TABLE message ALTER COLUMN slot TYPE integer USING CAST(id >> 38 AS integer)")
    else:
        op.execute("UPDATE message SET slot = id >> 38")
    op.create_index("ix_message_slot_recipient", "message", ["slot", "recipient"], unique=False)
    op.create_index("ix_message_slot_sender", "message", ["slot", "sender"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_message_slot_sender", "message")
    op.drop_index("ix_message_slot_recipient", "message")
    op.drop_column("message", "slot")
    op.create_index("ix_message_sender_id", "message", ["sender", "id"], unique=False)
    op.create_index("ix_message_recipient_id", "message", ["recipient", "id"], unique=False)
