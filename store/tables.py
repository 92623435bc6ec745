"""Tables of the message path, and the metadata that every room's tables join.

In charge of: columns, keys and indexes. Not in charge of: SQL (`statement.py` and the engines), migrations
(`alembic/`). Shape: an append-only message table by time, a narrow queue, event rows, node rows.

Only plain types cross the drivers: integers, text, octets. Times are UTC epoch milliseconds. JSON is text. On
PostgreSQL `message`, `body` and `event` are partitioned by day of the message id, so that retention drops partitions.

Traps these definitions avoid: on SQLite only a key declared INTEGER is the row's own number, a BIGINT key costs a
second tree (hence `BigId`), and a table whose key has two columns is one tree only WITHOUT ROWID. An index that begins
with a recipient takes every new row at another place of a tree that grows for ever: at 1.5 million messages an accept
cost 1.6 times what it cost at 0.1 million. So these indexes begin with a slot of time, and only the newest part of
them is written; a search goes through the slots (`history.py`).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

__all__ = ["SLOT_SHIFT", "BigId", "body", "event", "idempotency", "message", "metadata", "node", "queue"]

#: 63 bit on both databases, and SQLite's own row number where it is the primary key.
BigId = BigInteger().with_variant(Integer(), "sqlite")

#: A message's slot is its id without this many bits: 262 seconds.
SLOT_SHIFT = 38

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: What was accepted; one row per destination; updated by nothing but replace_sm. The row is also the message's
#: "accepted" event.
message = Table(
    "message",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),  # message.Kind
    Column("account", Integer, nullable=False),
    Column("ingress", Text, nullable=False),  # Ingress.encoded
    Column("sender", Text, nullable=False),  # normal form
    Column("recipient", Text, nullable=False),  # normal form
    Column("source_addr_ton", SmallInteger, nullable=False),
    Column("source_addr_npi", SmallInteger, nullable=False),
    Column("source_addr", Text, nullable=False),
    Column("dest_addr_ton", SmallInteger, nullable=False),
    Column("dest_addr_npi", SmallInteger, nullable=False),
    Column("destination_addr", Text, nullable=False),
    Column("service_type", Text, nullable=False),
    Column("esm_class", SmallInteger, nullable=False),
    Column("protocol_id", SmallInteger, nullable=False),
    Column("priority_flag", SmallInteger, nullable=False),
    Column("registered_delivery", SmallInteger, nullable=False),
    Column("data_coding", SmallInteger, nullable=False),
    Column("sm_default_msg_id", SmallInteger, nullable=False),
    Column("tlvs", LargeBinary, nullable=False),
    Column("submitted_at", BigInteger, nullable=False),
    Column("schedule_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("parent", BigInteger, nullable=False),
    Column("reference", Integer, nullable=False),
    Column("part_reference", Integer, nullable=False),
    Column("part_total", SmallInteger, nullable=False),
    Column("part_number", SmallInteger, nullable=False),
    Column("segments", SmallInteger, nullable=False),
    Column("slot", Integer, nullable=False, server_default="0"),  # id >> SLOT_SHIFT; every insert gives it
    # "Which messages did this account / number send or get?" Newest first by id.
    Index("ix_message_account_id", "account", "id"),
    Index("ix_message_slot_recipient", "slot", "recipient"),
    Index("ix_message_slot_sender", "slot", "sender"),
    Index(
        "ix_message_parent", "parent", sqlite_where=text("parent <> 0"), postgresql_where=text("parent <> 0")
    ),
    postgresql_partition_by="RANGE (id)",
)

#: The text, apart from its message because it has a retention of its own. Version 0 is what was submitted.
body = Table(
    "body",
    metadata,
    Column("message", BigInteger, primary_key=True, autoincrement=False),
    Column("version", SmallInteger, primary_key=True, autoincrement=False),
    Column("payload", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (message)",
)

#: Live work only: a message leaves it with the transaction that records its outcome.
queue = Table(
    "queue",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("recipient", Text, nullable=False),  # normal form
    Column("due_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("owner", BigInteger, nullable=False),  # node epoch; 0: nobody
    Column("priority", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False),  # store.QueueReason
    Index("ix_queue_due_at", "due_at", sqlite_where=text("owner = 0"), postgresql_where=text("owner = 0")),
    Index("ix_queue_owner", "owner", sqlite_where=text("owner <> 0"), postgresql_where=text("owner <> 0")),
    Index("ix_queue_recipient_id", "recipient", "id"),
)

#: Append-only: attempts, evidence, deposits and the one ending of each message.
event = Table(
    "event",
    metadata,
    Column("message", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # message.EventKind
    Column("state", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("account", Integer, nullable=False),
    Column("segments", SmallInteger, nullable=False),
    Column("route", Text, nullable=False),
    Column("node", SmallInteger, nullable=False),
    Column("detail", Text, nullable=False),
    Column("sequence", Integer, nullable=False),  # order within a millisecond; counts up during a node's life
    Index("ix_event_message_at", "message", "at"),
    postgresql_partition_by="RANGE (message)",
)

#: Who is alive. `number` is leased by compare-and-set; `epoch` fences every later write of an earlier life.
node = Table(
    "node",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("heartbeat_at", BigInteger, nullable=False),  # by the database's clock
    Column("started_at", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("high_water", BigInteger, nullable=False),  # no id of this number at or above it is in use
    Column("released", SmallInteger, nullable=False),  # 1: closed properly
    Column(
        "mark", BigInteger, nullable=False
    ),  # last batch that carried no row of its own to recognise it by
    Column(
        "wanted", Text, nullable=False, server_default=""
    ),  # what an operator asks of it: "drain" or nothing
    Column("version", Text, nullable=False, server_default=""),  # of the program
)

#: Answers already given, for peers that ask twice (Idempotency-Key, duplicate_window).
idempotency = Table(
    "idempotency",
    metadata,
    Column("account", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),  # of the request body
    Column("answer", Text, nullable=False),  # JSON
    Column("expires_at", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)
