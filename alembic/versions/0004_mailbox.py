"""Subscribers, their numbers, and their boxes.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    make_subscribers()
    make_boxes()
    make_items()
    index_items()


def make_subscribers() -> None:
    """Who has a box, and by which numbers."""
    op.create_table(
        "subscriber",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("imsi", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("successor", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_subscriber")),
    )
    op.create_index(
        "uq_subscriber_imsi",
        "subscriber",
        ["imsi"],
        unique=True,
        sqlite_where=sa.text("imsi <> '' AND state <> 'closed'"),
        postgresql_where=sa.text("imsi <> '' AND state <> 'closed'"),
    )
    op.create_table(
        "subscriber_number",
        sa.Column("msisdn", sa.Text(), nullable=False),
        sa.Column("subscriber", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("msisdn", name=op.f("pk_subscriber_number")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_subscriber_number_subscriber"), "subscriber_number", ["subscriber"], unique=False
    )


def make_boxes() -> None:
    """Counters of each box, and marks of what was removed."""
    op.create_table(
        "mailbox",
        sa.Column("subscriber", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.Column("unread", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("pruned", sa.BigInteger(), nullable=False),
        sa.Column("deposited_at", sa.BigInteger(), nullable=False),
        sa.Column("notified_at", sa.BigInteger(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("notify", sa.SmallInteger(), nullable=False),
        sa.Column("auto_read", sa.SmallInteger(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("settings_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subscriber", name=op.f("pk_mailbox")),
    )
    op.create_index(
        "ix_mailbox_choosy",
        "mailbox",
        ["subscriber"],
        unique=False,
        sqlite_where=sa.text("retention_days <> 0"),
        postgresql_where=sa.text("retention_days <> 0"),
    )
    op.create_table(
        "mailbox_gone",
        sa.Column("subscriber", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("modseq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("item", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subscriber", "modseq", name=op.f("pk_mailbox_gone")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_mailbox_gone_at", "mailbox_gone", ["at"], unique=False)


def make_items() -> None:
    """What lies in boxes."""
    op.create_table(
        "mailbox_item",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("subscriber", sa.Integer(), nullable=False),
        sa.Column("leader", sa.BigInteger(), nullable=False),
        sa.Column("folder", sa.SmallInteger(), nullable=False),
        sa.Column("home", sa.SmallInteger(), nullable=False),
        sa.Column("is_read", sa.SmallInteger(), nullable=False),
        sa.Column("starred", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account", sa.Integer(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("alphabet", sa.Text(), nullable=False),
        sa.Column("coding", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("segments", sa.SmallInteger(), nullable=False),
        sa.Column("part_reference", sa.Integer(), nullable=False),
        sa.Column("part_total", sa.SmallInteger(), nullable=False),
        sa.Column("part_number", sa.SmallInteger(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("retrieved_at", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger(), nullable=False),
        sa.Column("binned_at", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("modseq", sa.BigInteger(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailbox_item")),
    )


def index_items() -> None:
    """How items are found."""
    # Before the one of leaders: between equals SQLite takes the younger.
    op.create_index("ix_mailbox_item_modseq", "mailbox_item", ["subscriber", "modseq"], unique=False)
    op.create_index(
        "ix_mailbox_item_binned_at",
        "mailbox_item",
        ["binned_at"],
        unique=False,
        sqlite_where=sa.text("binned_at > 0"),
        postgresql_where=sa.text("binned_at > 0"),
    )
    op.create_index(
        "ix_mailbox_item_expires_at",
        "mailbox_item",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("state = 1"),
        postgresql_where=sa.text("state = 1"),
    )
    op.create_index(
        "ix_mailbox_item_folder",
        "mailbox_item",
        ["subscriber", "folder", "id"],
        unique=False,
        sqlite_where=sa.text("leader = id"),
        postgresql_where=sa.text("leader = id"),
    )
    op.create_index(
        "ix_mailbox_item_leader",
        "mailbox_item",
        ["subscriber", "leader"],
        unique=False,
        sqlite_where=sa.text("part_total > 0"),
        postgresql_where=sa.text("part_total > 0"),
    )


def downgrade() -> None:
    for table in ("subscriber_number", "subscriber", "mailbox_item", "mailbox_gone", "mailbox"):
        op.drop_table(table)
