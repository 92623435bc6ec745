"""One attempt and its outcome: what stands around the engine.

In charge of: that each attempt ends once, whatever an outlet does, and the engine's own two statements. Not in charge
of: the engine (`delivery.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import bindparam, select, update

from ..outlet import Outcome
from ..store import tables
from ..store.statement import Query, Sql

__all__ = ["BLANK", "OUR_LIFE", "Attempt"]

_log = structlog.get_logger(__name__)

#: The text of a one-time code is blanked with the transaction that ends it.
BLANK = Sql(
    "delivery: blank the text of a one-time code",
    update(tables.body).where(tables.body.c.message == bindparam("id")).values(payload=bindparam("nothing")),
)

#: A fenced outcome is one lost row, or the first sign that another life of this node has begun.
OUR_LIFE = Query(
    "delivery: does our life still count?",
    select(tables.node.c.number).where(
        tables.node.c.number == bindparam("row_number"), tables.node.c.epoch == bindparam("row_epoch")
    ),
)


@dataclass(slots=True, eq=False)
class Attempt:
    """What an outlet calls with its outcome: the first call counts."""

    end: Callable[[Outcome], None]
    over: bool = False

    def __call__(self, outcome: Outcome) -> None:
        if self.over:
            _log.error("outcome-twice", reason=outcome.reason)
            return
        self.over = True
        self.end(outcome)
