"""Tables of credentials and sealed secrets.

In charge of: columns, keys, indexes and the statements on them. Not in charge of: hashing (`credentials.py`), sealing
(`sealing.py`); sessions, one-time codes and audit have `door_tables.py`.

No secret stands in a row: passwords as argon2id hashes, API keys as SHA-256, what must be read again sealed with a key
outside the database (behaviour.md 11). Times are UTC epoch milliseconds. A credential belongs to an *owner*, the id of
an object ("acc_12", "op_2"); it is no part of the object: rolling an object back never brings an old credential back.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text, bindparam, delete, insert, or_, select
from sqlalchemy import update as update_

from ..store.statement import Query, Sql
from ..store.tables import metadata

__all__ = ["credential", "sealed_secret"]

#: What proves who somebody is. Several may live for one owner and kind: rotation needs two.
credential = Table(
    "credential",
    metadata,
    Column("id", Text, primary_key=True),  # "pwd_…" or "key_…", 10 random characters
    Column("owner", Text, nullable=False),  # "acc_12", "op_2"
    Column("kind", Text, nullable=False),  # credentials.CredentialKind
    Column(
        "hash", Text, nullable=False
    ),  # argon2id in its own notation; SHA-256 in hex of an API key's secret
    Column("label", Text, nullable=False),  # for people
    Column("scopes", Text, nullable=False),  # JSON list; of an API key
    Column("networks", Text, nullable=False),  # JSON list of CIDR; empty: any
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # 0: never
    Column("last_used_at", BigInteger, nullable=False),  # within a minute; 0: never
    Index("ix_credential_owner_kind", "owner", "kind"),
)

#: Secrets that must be readable again: of links, webhooks, second factors.
sealed_secret = Table(
    "sealed_secret",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("sealed", Text, nullable=False),  # sealing.Sealer
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

_owner = bindparam("owner", type_=Text)
_kind = bindparam("kind", type_=Text)
_id = bindparam("of_id", type_=Text)
_now = bindparam("now", type_=BigInteger)
_alive = or_(credential.c.expires_at == 0, credential.c.expires_at > _now)

GET_LIVING = Query(
    "credentials: read what may prove an owner, newest first",
    select(credential)
    .where(credential.c.owner == _owner, credential.c.kind == _kind, _alive)
    .order_by(credential.c.created_at.desc(), credential.c.id),
)

GET_OWNED = Query(
    "credentials: list what an owner has",
    select(credential).where(credential.c.owner == _owner).order_by(credential.c.created_at, credential.c.id),
)

GET_CREDENTIAL = Query("credentials: read one", select(credential).where(credential.c.id == _id))

INSERT_CREDENTIAL = Sql(
    "credentials: add one",
    insert(credential).values(
        {column.name: bindparam(column.name, type_=column.type) for column in credential.c}
    ),
)

DELETE_EXPIRING = Sql(
    "credentials: end what was left from an earlier rotation",
    delete(credential).where(
        credential.c.owner == _owner, credential.c.kind == _kind, credential.c.expires_at != 0
    ),
)

EXPIRE_LIVING = Sql(
    "credentials: let the present one live on for a while",
    update_(credential)
    .where(credential.c.owner == _owner, credential.c.kind == _kind, credential.c.expires_at == 0)
    .values(expires_at=bindparam("until", type_=BigInteger)),
)

DELETE_KIND = Sql(
    "credentials: end every one of a kind",
    delete(credential).where(credential.c.owner == _owner, credential.c.kind == _kind),
)

EXPIRE_CREDENTIAL = Sql(
    "credentials: let one live on for a while",
    update_(credential).where(credential.c.id == _id).values(expires_at=bindparam("until", type_=BigInteger)),
)

DELETE_CREDENTIAL = Sql("credentials: end one", delete(credential).where(credential.c.id == _id))

DELETE_OWNER = Sql("credentials: end all of an owner", delete(credential).where(credential.c.owner == _owner))

TOUCH_CREDENTIAL = Sql(
    "credentials: note that one was used",
    update_(credential)
    .where(credential.c.id == _id, credential.c.last_used_at < bindparam("used_at", type_=BigInteger))
    .values(last_used_at=bindparam("used_at", type_=BigInteger)),
)

REHASH_CREDENTIAL = Sql(
    "credentials: hash a password anew with the present cost",
    update_(credential)
    .where(credential.c.id == _id, credential.c.hash == bindparam("old_hash", type_=Text))
    .values(hash=bindparam("new_hash", type_=Text)),
)

DELETE_EXPIRED = Sql(
    "credentials: remove what has expired",
    delete(credential).where(credential.c.expires_at != 0, credential.c.expires_at <= _now),
)

GET_SECRET = Query(
    "secrets: read one",
    select(sealed_secret.c.sealed).where(sealed_secret.c.owner == _owner, sealed_secret.c.kind == _kind),
)

GET_SECRETS = Query("secrets: read all, to seal them anew", select(sealed_secret))

INSERT_SECRET = Sql(
    "secrets: keep one",
    insert(sealed_secret).values(
        {column.name: bindparam(column.name, type_=column.type) for column in sealed_secret.c}
    ),
)

DELETE_SECRET = Sql(
    "secrets: remove one",
    delete(sealed_secret).where(sealed_secret.c.owner == _owner, sealed_secret.c.kind == _kind),
)

DELETE_SECRETS = Sql(
    "secrets: remove all of an owner", delete(sealed_secret).where(sealed_secret.c.owner == _owner)
)

RESEAL_SECRET = Sql(
    "secrets: seal one with the present key",
    update_(sealed_secret)
    .where(
        sealed_secret.c.owner == _owner,
        sealed_secret.c.kind == _kind,
        sealed_secret.c.sealed == bindparam("old_sealed", type_=Text),
    )
    .values(sealed=bindparam("new_sealed", type_=Text)),
)
