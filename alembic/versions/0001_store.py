"""Message, text, queue, events, nodes and given answers: the tables of the store.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_body()
    create_event()
    create_idempotency()
    create_message()
    create_node()
    create_queue()
    create_recipient()
    if op.get_bind().dialect.name == "postgresql":
        on_postgresql()


def create_body() -> None:
    """See `body` in store/tables.py."""
    op.create_table(
        "body",
        sa.Column("message", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("message", "version", name=op.f("pk_body")),
        postgresql_partition_by="RANGE (message)",
        sqlite_with_rowid=False,
    )


def create_event() -> None:
    """See `event` in store/tables.py."""
    op.create_table(
        "event",
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("account", sa.Integer(), nullable=False),
        sa.Column("segments", sa.SmallInteger(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("node", sa.SmallInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        postgresql_partition_by="RANGE (message)",
    )
    op.create_index("ix_event_message_at", "event", ["message", "at"], unique=False)


def create_idempotency() -> None:
    """See `idempotency` in store/tables.py."""
    op.create_table(
        "idempotency",
        sa.Column("account", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "key", name=op.f("pk_idempotency")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_idempotency_expires_at"), "idempotency", ["expires_at"], unique=False)


def create_message() -> None:
    """See `message` in store/tables.py."""
    op.create_table(
        "message",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("account", sa.Integer(), nullable=False),
        sa.Column("ingress", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("source_addr_ton", sa.SmallInteger(), nullable=False),
        sa.Column("source_addr_npi", sa.SmallInteger(), nullable=False),
        sa.Column("source_addr", sa.Text(), nullable=False),
        sa.Column("dest_addr_ton", sa.SmallInteger(), nullable=False),
        sa.Column("dest_addr_npi", sa.SmallInteger(), nullable=False),
        sa.Column("destination_addr", sa.Text(), nullable=False),
        sa.Column("service_type", sa.Text(), nullable=False),
        sa.Column("esm_class", sa.SmallInteger(), nullable=False),
        sa.Column("protocol_id", sa.SmallInteger(), nullable=False),
        sa.Column("priority_flag", sa.SmallInteger(), nullable=False),
        sa.Column("registered_delivery", sa.SmallInteger(), nullable=False),
        sa.Column("data_coding", sa.SmallInteger(), nullable=False),
        sa.Column("sm_default_msg_id", sa.SmallInteger(), nullable=False),
        sa.Column("tlvs", sa.LargeBinary(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("schedule_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("parent", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.Integer(), nullable=False),
        sa.Column("part_reference", sa.Integer(), nullable=False),
        sa.Column("part_total", sa.SmallInteger(), nullable=False),
        sa.Column("part_number", sa.SmallInteger(), nullable=False),
        sa.Column("segments", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_message_account_id", "message", ["account", "id"], unique=False)
    op.create_index(
        "ix_message_parent",
        "message",
        ["parent"],
        unique=False,
        sqlite_where=sa.text("parent <> 0"),
        postgresql_where=sa.text("parent <> 0"),
    )
    op.create_index("ix_message_recipient_id", "message", ["recipient", "id"], unique=False)
    op.create_index("ix_message_sender_id", "message", ["sender", "id"], unique=False)


def create_node() -> None:
    """See `node` in store/tables.py."""
    op.create_table(
        "node",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("high_water", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.SmallInteger(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_node")),
        sa.UniqueConstraint("epoch", name=op.f("uq_node_epoch")),
    )


def create_queue() -> None:
    """See `queue` in store/tables.py."""
    op.create_table(
        "queue",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("owner", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue")),
    )
    op.create_index(
        "ix_queue_due_at",
        "queue",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("owner = 0"),
        postgresql_where=sa.text("owner = 0"),
    )
    op.create_index(
        "ix_queue_owner",
        "queue",
        ["owner"],
        unique=False,
        sqlite_where=sa.text("owner <> 0"),
        postgresql_where=sa.text("owner <> 0"),
    )
    op.create_index("ix_queue_recipient_id", "queue", ["recipient", "id"], unique=False)


def create_recipient() -> None:
    """See `recipient` in store/tables.py."""
    op.create_table(
        "recipient",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("next_try", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.SmallInteger(), nullable=False),
        sa.Column("outlet", sa.Text(), nullable=False),
        sa.Column("alert_wanted", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_recipient")),
    )
    op.create_index("ix_recipient_outlet", "recipient", ["outlet"], unique=False)


def on_postgresql() -> None:
    """Partitions, and how PostgreSQL keeps the narrow tables small."""
    # A day without a partition of its own is slow, not lost. Housekeeping makes the days (store/sweep.py).
    for table in ("message", "body", "event"):
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    # Rows of the queue live for seconds: dead ones are cleared away at once, whatever share of the table they are.
    op.execute(
        "ALTER TABLE queue SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,"
        " autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05)"
    )
    op.execute("ALTER TABLE node SET (fillfactor = 50)")


def downgrade() -> None:
    for table in ("recipient", "queue", "node", "idempotency", "event", "body", "message"):
        op.drop_table(table)
