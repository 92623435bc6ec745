"""Tables of the mailbox, on the store's metadata.

In charge of: columns, keys and indexes. Not in charge of: SQL (`statements.py`), or what a change means (`box.py`).

Theory. One row of `mailbox` per subscriber who ever got something; it holds the counters, so that a summary scans
nothing, and `modseq`, a number that grows by one with each thing that happens to an item. Every change first updates
this row: on PostgreSQL its lock makes the changes of one box follow each other, so that numbers become visible in
order; on SQLite there is one writer anyway. An item carries the modseq of its last change, which is all that the
change feed needs (the idea is IMAP's CONDSTORE, RFC 7162); what was removed leaves a row in `mailbox_gone`.

An item is one received message with a copy of its own of everything that is shown or sent again. The parts of a
message that came in several are items that share a `leader`, the id of the part that came first; lists show leaders.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, Table, Text, text

from ..store.tables import metadata

__all__ = ["mailbox", "mailbox_gone", "mailbox_item", "mailbox_listing"]

mailbox = Table(
    "mailbox",
    metadata,
    Column("subscriber", Integer, primary_key=True, autoincrement=False),
    Column("modseq", BigInteger, nullable=False),
    Column("unread", Integer, nullable=False),  # leaders outside the bin that are not read
    Column("total", Integer, nullable=False),  # leaders outside the bin
    Column("bytes", BigInteger, nullable=False),  # of all items, the bin included
    Column("pruned", BigInteger, nullable=False),  # rows of mailbox_gone up to this modseq were deleted
    # UTC epoch milliseconds, as all times: last deposit that no notice told of; 0: none.
    Column("deposited_at", BigInteger, nullable=False),
    Column("notified_at", BigInteger, nullable=False),  # last notice to the handset; 0: none
    # What the subscriber chose.
    Column("retention_days", Integer, nullable=False),  # 0: as the center does
    Column("notify", SmallInteger, nullable=False),  # 1: notices to the handset
    Column("auto_read", SmallInteger, nullable=False),  # 1: opening an item marks it read
    Column("language", Text, nullable=False),  # of notices; empty: the center's
    Column("settings_version", Integer, nullable=False),
    # "Whose retention is of their own choice?"
    Index(
        "ix_mailbox_choosy",
        "subscriber",
        sqlite_where=text("retention_days <> 0"),
        postgresql_where=text("retention_days <> 0"),
    ),
)

mailbox_item = Table(
    "mailbox_item",
    metadata,
    # On SQLite the row's own address, so that the table needs no second tree.
    Column(
        "id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False
    ),  # the message's id; of a copy of a sent message, one of its own
    Column("subscriber", Integer, nullable=False),
    Column("leader", BigInteger, nullable=False),  # id of the item that stands for the whole message
    Column("folder", SmallInteger, nullable=False),  # folders.Folder
    Column("home", SmallInteger, nullable=False),  # where it began: INBOX if received, SENT if sent
    Column("is_read", SmallInteger, nullable=False),  # of the leader
    Column("starred", SmallInteger, nullable=False),  # of the leader
    Column("state", SmallInteger, nullable=False),  # MessageState; ENROUTE: its final state is still owed
    Column("kind", Text, nullable=False),  # content.ItemKind
    Column("account", Integer, nullable=False),  # submitter
    Column("sender", Text, nullable=False),  # normal form
    Column("recipient", Text, nullable=False),  # normal form: the subscriber's number at that time
    Column("peer", Text, nullable=False),  # the other side: sender, or recipient of a sent one
    Column("text", Text, nullable=False),
    Column("alphabet", Text, nullable=False),  # what data_coding 0 meant to the submitter
    Column("coding", Text, nullable=False),  # codings.Coding
    Column("size", Integer, nullable=False),  # octets of the body, plus what a row costs
    Column("segments", SmallInteger, nullable=False),
    Column("part_reference", Integer, nullable=False),
    Column("part_total", SmallInteger, nullable=False),  # 0: not a part
    Column("part_number", SmallInteger, nullable=False),
    Column("because", Text, nullable=False),  # why it is here and not on the handset
    Column("received_at", BigInteger, nullable=False),  # by the center
    Column("stored_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # end of the validity period
    Column("retrieved_at", BigInteger, nullable=False),  # opened first; 0: not yet
    Column("delivered_at", BigInteger, nullable=False),  # 0: not
    Column("binned_at", BigInteger, nullable=False),  # 0: not in the bin
    Column("created", BigInteger, nullable=False),  # modseq
    Column("modseq", BigInteger, nullable=False),  # of the last change; also the item's version
    # Last, because lists do not read them.
    Column("envelope", Text, nullable=False),  # JSON: everything else that the message was
    Column("body", LargeBinary, nullable=False),  # with its UDH
    # A folder's list, newest first.
    Index(
        "ix_mailbox_item_folder",
        "subscriber",
        "folder",
        "id",
        sqlite_where=text("leader = id"),
        postgresql_where=text("leader = id"),
    ),
    # The change feed.
    Index("ix_mailbox_item_modseq", "subscriber", "modseq"),
    # The other parts of a message.
    Index(
        "ix_mailbox_item_leader",
        "subscriber",
        "leader",
        sqlite_where=text("part_total > 0"),
        postgresql_where=text("part_total > 0"),
    ),
    # "Whose validity period is over, and the sender not yet told?"
    Index(
        "ix_mailbox_item_expires_at",
        "expires_at",
        sqlite_where=text("state = 1"),
        postgresql_where=text("state = 1"),
    ),
    # What is in the bin, oldest first.
    Index(
        "ix_mailbox_item_binned_at",
        "binned_at",
        sqlite_where=text("binned_at > 0"),
        postgresql_where=text("binned_at > 0"),
    ),
)

#: What was removed for good, for clients that were not looking.
mailbox_gone = Table(
    "mailbox_gone",
    metadata,
    Column("subscriber", Integer, primary_key=True, autoincrement=False),
    Column("modseq", BigInteger, primary_key=True, autoincrement=False),
    Column("item", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("ix_mailbox_gone_at", "at"),
    sqlite_with_rowid=False,
)

#: What the keyword LIST showed a subscriber last: GET and DEL count in it.
mailbox_listing = Table(
    "mailbox_listing",
    metadata,
    Column("subscriber", Integer, primary_key=True, autoincrement=False),
    Column("ids", Text, nullable=False),  # JSON list of ids as text, in order
    Column("listed_at", BigInteger, nullable=False),
)
