"""Reading work back from the queue: claims, orphans, and messages with their text.

In charge of: the statements by which a node takes over queue rows and loads messages, and building a `Message` from
its row. Not in charge of: running them (`engine.py`) or when to claim (`smsc/pump.py`).

A claim takes rows that nobody owns. Rows of an epoch that is over are first given back (`orphans_statement`), a chunk
at a time, so that they are then claimed in due order like all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    and_,
    any_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)

from ..message import Address, Message
from .statement import Query, Sql, among
from .store import QueueReason
from .tables import body, message, node, queue

__all__ = [
    "BODIES",
    "GIVE_BACK",
    "MESSAGES",
    "NEXT_DUE",
    "RESTORED",
    "RESTORED_ROWS",
    "claim_statement",
    "message_of",
    "orphans_statement",
]

#: Rows that may be tried before their time when their recipient is seen again.
_EARLY = (QueueReason.NEW, QueueReason.RETRY, QueueReason.REDELIVERY)

#: Owns queue rows that came from a backup and wait for an operator's word; no epoch is below 1.
RESTORED = -1

RESTORED_ROWS = Query(
    "work: how much waits for an operator after a restore",
    select(func.count().label("rows")).where(queue.c.owner != 0, queue.c.owner == RESTORED),
)
NEXT_DUE = Query(
    "work: the earliest due time", select(func.min(queue.c.due_at).label("due_at")).where(queue.c.owner == 0)
)
MESSAGES = Query(
    "work: messages by id",
    select(message).where(
        among(message.c.id, "ids"), message.c.id >= bindparam("low"), message.c.id <= bindparam("high")
    ),
)
BODIES = Query(
    "work: their texts, the newest version last",
    select(body)
    .where(
        among(body.c.message, "ids"), body.c.message >= bindparam("low"), body.c.message <= bindparam("high")
    )
    .order_by(body.c.message, body.c.version),
)


def orphans_statement(skip_locked: bool) -> Sql:
    """Give back what a life owned that is over. It was about to try that, whatever the due time says: perhaps its
    recipient had just been seen. `skip_locked`: rows that its last transaction still holds are for the next time."""
    alive = select(node.c.epoch).where(node.c.released == 0)
    found = (
        select(queue.c.id)
        # Not 0 leads SQLite to the index; above 0 leaves out what was restored and is not released.
        .where(queue.c.owner != 0, queue.c.owner > 0, queue.c.owner.not_in(alive))
        .limit(bindparam("limit", type_=Integer))
    )
    now = bindparam("now", type_=BigInteger)
    early = and_(queue.c.reason.in_(_EARLY), queue.c.due_at > now)
    return Sql(
        "work: give back the rows of lives that are over",
        update(queue)
        .where(_chosen(found, skip_locked))
        .values(owner=0, due_at=case((early, now), else_=queue.c.due_at)),
    )


def _chosen(found: Select[Any], skip_locked: bool) -> ColumnElement[bool]:
    if not skip_locked:
        return queue.c.id.in_(found)
    # An array is filled once; an IN could be asked again by the planner, and lock more rows than it takes.
    return queue.c.id == any_(
        func.array(found.with_for_update(skip_locked=True).scalar_subquery(), type_=BigInteger)
    )


#: A life that ends in order gives back what it worked on: as due now, so that everybody's next claim finds it.
GIVE_BACK = Sql(
    "work: give back what a life that ends has not done",
    update(queue)
    .where(
        queue.c.id.in_(
            select(queue.c.id)
            .where(queue.c.owner == bindparam("epoch", type_=BigInteger))
            .limit(bindparam("limit", type_=Integer))
        )
    )
    .values(
        owner=0,
        due_at=case(
            (
                or_(queue.c.reason.in_(_EARLY), queue.c.due_at < bindparam("now", type_=BigInteger)),
                bindparam("now", type_=BigInteger),
            ),
            else_=queue.c.due_at,
        ),
    ),
)


def claim_statement(recipient: bool, skip_locked: bool) -> Sql:
    """The claim by due time, or for one recipient; `skip_locked` where several nodes claim at once (PostgreSQL)."""
    due = and_(
        queue.c.owner == 0,
        queue.c.due_at <= bindparam("due_before"),
        # What waits for a time or for a person is not early because its recipient was seen.
        or_(queue.c.due_at <= bindparam("now"), queue.c.reason.in_(_EARLY)),
    )
    chosen = select(queue.c.id).where(due).limit(bindparam("limit", type_=Integer))
    if recipient:
        chosen = chosen.where(queue.c.recipient == bindparam("recipient"))
        chosen = chosen.order_by(queue.c.priority.desc(), queue.c.id)
    else:
        chosen = chosen.where(queue.c.due_at >= bindparam("floor")).order_by(queue.c.due_at, queue.c.id)
    taken = (
        update(queue)
        .where(_chosen(chosen, skip_locked))
        .values(owner=bindparam("epoch"))
        .returning(queue.c.id, queue.c.due_at, queue.c.attempts, queue.c.reason, queue.c.priority)
    )
    name = "work: claim what waits for a recipient" if recipient else "work: claim what is due"
    return Sql(name, taken)


def message_of(row: Mapping[str, Any], payload: bytes, owner: int = 0) -> Message:
    """Build a message from its row and its text."""
    return Message(
        source=Address(row["source_addr_ton"], row["source_addr_npi"], row["source_addr"]),
        destination=Address(row["dest_addr_ton"], row["dest_addr_npi"], row["destination_addr"]),
        body=payload,
        id=row["id"],
        kind=row["kind"],
        account=row["account"],
        ingress=row["ingress"],
        sender=row["sender"],
        recipient=row["recipient"],
        service_type=row["service_type"],
        esm_class=row["esm_class"],
        protocol_id=row["protocol_id"],
        priority_flag=row["priority_flag"],
        registered_delivery=row["registered_delivery"],
        data_coding=row["data_coding"],
        sm_default_msg_id=row["sm_default_msg_id"],
        tlvs=row["tlvs"],
        submitted_at=row["submitted_at"],
        schedule_at=row["schedule_at"],
        expires_at=row["expires_at"],
        parent=row["parent"],
        reference=row["reference"],
        part_reference=row["part_reference"],
        part_total=row["part_total"],
        part_number=row["part_number"],
        segments=row["segments"],
        owner=owner,
    )
