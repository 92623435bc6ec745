"""The marks of what was submitted, in the store's table of answers already given.

In charge of: the statements. Not in charge of: the table (`store/tables.py`), or what a mark is (`repeats.py`,
`duplicates.py`).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, and_, bindparam, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite compiles it too

from ..store.statement import Query, Sql
from ..store.tables import idempotency

__all__ = ["MARK_SUBMIT", "READ_MARK"]


def _mark_submit() -> Sql:
    columns = ("account", "key", "digest", "answer", "expires_at")
    new = upsert(idempotency).values({name: bindparam(name) for name in columns})
    other = and_(idempotency.c.digest != new.excluded.digest, bindparam("replaces", type_=Integer) == 1)
    return Sql(
        "marks: mark a submit, unless it is stored already",
        new.on_conflict_do_update(
            index_elements=[idempotency.c.account, idempotency.c.key],
            set_={name: new.excluded[name] for name in ("digest", "answer", "expires_at")},
            where=or_(idempotency.c.expires_at <= bindparam("now", type_=BigInteger), other),
        ),
    )


#: Touches no row if the same submit is marked and its mark lives.
MARK_SUBMIT = _mark_submit()

READ_MARK = Query(
    "marks: the mark of a submit",
    select(idempotency.c.digest, idempotency.c.answer, idempotency.c.expires_at).where(
        idempotency.c.account == bindparam("of_account"), idempotency.c.key == bindparam("of_key")
    ),
)
