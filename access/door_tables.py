"""Tables of the doors for people: sessions, one-time codes, audit.

In charge of: columns, keys and indexes of what `sessions.py`, `one_time_codes.py` and `audit.py` write. Not in charge
of: accounts, credentials and subscribers, whose tables stand with their files. Times are UTC epoch milliseconds.
No token and no code stands in a row: a session's tokens carry a MAC under a key outside the database, and of a
one-time code only the HMAC is kept (behaviour.md 11).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, Table, Text

from ..store.tables import metadata

__all__ = ["audit", "one_time_code", "session"]

#: Somebody who is signed in on one device. Its refresh token names `generation`; an older one was stolen or copied.
session = Table(
    "session",
    metadata,
    Column("id", Text, primary_key=True),  # "ses_" and 26 random characters
    Column("owner", Text, nullable=False),  # "sub_7", "op_2"
    Column("client", Text, nullable=False),  # sessions.Client
    Column("authenticated", Text, nullable=False),  # "one-time-code", "password"
    Column("generation", Integer, nullable=False),  # of the refresh token that is good now
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),  # within a minute
    Column("ends_at", BigInteger, nullable=False),  # whatever happens
    Column("revoked_at", BigInteger, nullable=False),  # 0: not revoked
    Column("revoked_because", Text, nullable=False),  # "logout", "reuse", "owner", "operator", ""
    Column("peer", Text, nullable=False),  # address it was made from
    Column("agent", Text, nullable=False),  # User-Agent, cut to 200 characters
    Index("ix_session_owner", "owner"),
    Index("ix_session_revoked_at", "revoked_at"),
    Index("ix_session_ends_at", "ends_at"),
)

#: A one-time code that was asked for, whoever's the number is.
one_time_code = Table(
    "one_time_code",
    metadata,
    Column("id", Text, primary_key=True),  # the challenge, "otc_" and 26 random characters
    Column("number", Text, nullable=False),  # normal form
    Column("prefix", Text, nullable=False),  # its first characters: the unit of a pumping fraud
    Column("network", Text, nullable=False),  # of the asking address: /24 or /48
    Column("subscriber", Integer, nullable=False),  # whose code was sent; 0: none was
    Column("mac", Text, nullable=False),  # HMAC of challenge and code
    Column("tries", SmallInteger, nullable=False),  # used up so far
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),  # 0: not used; also set when a newer one replaces it
    Index("ix_one_time_code_number_created_at", "number", "created_at"),
    Index("ix_one_time_code_prefix_created_at", "prefix", "created_at"),
    Index("ix_one_time_code_network_created_at", "network", "created_at"),
    Index("ix_one_time_code_created_at", "created_at"),
)

#: Who did what to whom, and why; append-only, one chain a node and day (see `audit.py`).
audit = Table(
    "audit",
    metadata,
    Column("node", SmallInteger, primary_key=True, autoincrement=False),
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970-01-01, UTC
    Column("sequence", Integer, primary_key=True, autoincrement=False),  # from 1, without gaps
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),  # "op_2", "key_4", "sub_7", "cli"
    Column("action", Text, nullable=False),  # "account.replace", "content.reveal"
    Column("target", Text, nullable=False),  # "acc_12", a message id, a number
    Column("reason", Text, nullable=False),  # as the actor gave it
    Column("peer", Text, nullable=False),  # address the actor came from
    Column("request", Text, nullable=False),  # X-Request-ID
    Column("detail", Text, nullable=False),  # JSON object; no secret, no message text
    Column("previous", Text, nullable=False),  # mac of the row before, of the day before for a day's first
    Column("mac", Text, nullable=False),
    Index("ix_audit_at", "at"),
    Index("ix_audit_target", "target", "at"),
    Index("ix_audit_actor", "actor", "at"),
)
