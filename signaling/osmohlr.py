"""OsmoHLR as a register.

In charge of: what its subscriber record says about who serves a subscriber. Not in charge of: the connection
(`ctrl.py`), or learning from GSUP (`smsc/switch.py`), which is faster than asking.

It names switches by the names that they gave themselves (`vlr_number`, `sgsn_number`), keeps the name of one that
purged the subscriber, and does not say when anything changed.
"""

from __future__ import annotations

from collections.abc import Callable

from .ctrl import Ctrl, CtrlRefused, CtrlUnavailable
from .registers import (
    AddressType,
    Affiliation,
    RegisterUnavailable,
    ServedBy,
    Status,
    SwitchAddress,
    Who,
    address,
    unknown,
)

__all__ = ["OsmoHlr", "read_record"]

_NOBODY = "No such subscriber"
_UNAVAILABLE = {"disconnected": "down", "busy": "busy", "timeout": "timeout"}
#: Key of the record, key of its purge mark, what stands behind it.
_SERVED = (("vlr_number", "ms_purged_cs", ServedBy.MSC), ("sgsn_number", "ms_purged_ps", ServedBy.SGSN))


class OsmoHlr:
    """One OsmoHLR; the connection is opened and closed by who made it."""

    def __init__(self, ctrl: Ctrl, *, now_ms: Callable[[], int], name: str = "osmo-hlr") -> None:
        self.name = name
        self._ctrl = ctrl
        self._now_ms = now_ms

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        """See `AffiliationProvider.lookup`."""
        if any(digits and not (digits.isascii() and digits.isdecimal()) for digits in who):
            raise RegisterUnavailable("refused", "not digits")
        selector = f"by-imsi-{who.imsi}" if who.imsi else f"by-msisdn-{who.msisdn}"
        try:
            record = await self._ctrl.get(f"subscriber.{selector}.info", timeout_s)
        except CtrlRefused as refused:
            if str(refused).startswith(_NOBODY):
                return unknown(who, self.name, self._now_ms())
            raise RegisterUnavailable("refused", str(refused)) from refused
        except CtrlUnavailable as unavailable:
            raise RegisterUnavailable(_UNAVAILABLE[unavailable.reason]) from unavailable
        return read_record(record, self.name, self._now_ms())


def read_record(record: str, source: str, observed_at: int) -> Affiliation:
    """An affiliation out of the lines of `info`: keys and values with tabs between. RegisterUnavailable."""
    values = dict(line.split("\t", 1) for line in record.splitlines() if "\t" in line)
    if "imsi" not in values:
        raise RegisterUnavailable("refused", "a record without an IMSI")
    addresses: list[SwitchAddress] = []
    purged = False
    for key, mark, node in _SERVED:
        name = values.get(key, "").strip()
        if not name:
            continue
        if values.get(mark) == "1":
            purged = True
        else:
            addresses.append(address(AddressType.IPA_NAME, name[:255], node))
    status = Status.ATTACHED if addresses else Status.PURGED if purged else Status.ABSENT
    return Affiliation(
        status,
        tuple(addresses),
        source,
        observed_at,
        values["imsi"].strip(),
        values.get("msisdn", "").strip(),
    )
