"""A database of subscribers as a register.

In charge of: what the rows of an operator's SELECT mean. Not in charge of: the database, and that nothing is written to
it: the question is asked by a function that is passed in (`store/lookup.py`, in `antispoof/sources.py`).

Question: a SELECT with the parameters :msisdn and :imsi (digits; NULL where not known). Answer: the columns of a static
table, of which addresses is a must: msisdn, imsi, status (empty: attached if there are addresses, else absent),
addresses ("e164_gt/msc:447700900001 ipa_name:MSC-A"). Several rows are one subscriber with the addresses of all; no row
is a subscriber that does not exist. A row about somebody else than was asked for is no answer: a SELECT that joins
wrongly must not make one subscriber's switch another's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from .registers import Affiliation, RegisterUnavailable, Who, read_row, unknown

__all__ = ["MOST_ROWS", "Ask", "SqlRegister"]

MOST_ROWS = 20  #: of an answer, and of its addresses; more is a SELECT that forgot whom it was asked about

#: Asks for values of the parameters within so many seconds: the rows. RegisterUnavailable if there is no answer.
Ask = Callable[[Mapping[str, str | None], float], Awaitable[Sequence[Mapping[str, Any]]]]


class SqlRegister:
    """One SELECT."""

    def __init__(self, ask: Ask, *, now_ms: Callable[[], int], name: str = "sql") -> None:
        """`ask` may answer one row more than `MOST_ROWS`, which tells that there are too many."""
        self.name = name
        self._ask = ask
        self._now_ms = now_ms

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        """See `AffiliationProvider.lookup`."""
        rows = await self._ask({"msisdn": who.msisdn or None, "imsi": who.imsi or None}, timeout_s)
        if not rows:
            return unknown(who, self.name, self._now_ms())
        try:
            return self._read(rows, who)
        except (KeyError, ValueError) as error:
            raise RegisterUnavailable("refused", f"rows that cannot be read: {error}") from error

    def _read(self, rows: Sequence[Mapping[str, Any]], who: Who) -> Affiliation:
        if len(rows) > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS} rows")
        first = rows[0]
        for other in rows[1:]:
            if any(_text(other, one) != _text(first, one) for one in ("msisdn", "imsi", "status")):
                raise ValueError("rows about several subscribers")
        # A register names a number or card only if it said so itself, or was asked about it.
        msisdn = _text(first, "msisdn").removeprefix("+") or ("" if who.imsi else who.msisdn)
        imsi = _text(first, "imsi") or who.imsi
        if who.imsi and imsi != who.imsi:
            raise ValueError("a row about another card")
        if not who.imsi and msisdn != who.msisdn:
            raise ValueError("a row about another number")
        addresses = " ".join(str(row["addresses"] or "") for row in rows).split()
        if len(addresses) > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS} addresses")
        row = {
            "msisdn": msisdn,
            "imsi": imsi,
            "status": _text(first, "status"),
            "addresses": " ".join(addresses),
        }
        return read_row(row, self.name, self._now_ms())


def _text(row: Mapping[str, Any], column: str) -> str:
    """A column that may be missing, empty or a number."""
    value = row.get(column)
    return "" if value is None else str(value).strip()
