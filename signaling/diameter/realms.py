"""Which realm a host is in.

In charge of: remembering what peers, registers and requests said, and guessing for the rest. Not in charge of: who is
believed; only what was believed is told here.

A request to another network must name the realm, and registers may name a host alone. Hosts of 3GPP networks have a
realm that is known from their name: it begins at "epc".

Source: RFC 6733 §6.1; 3GPP TS 23.003 §19.2 (home realm), §19.4.2.4 (names of MMEs).
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Realms"]


class Realms:
    """Hosts and their realms, in lower case. Lives on the event loop."""

    def __init__(self, own: str, *, entries: int = 10_000) -> None:
        """`own`: our realm, for names that say nothing. `entries`: hosts kept in memory."""
        self._own = own.lower()
        self._entries = entries
        self._known: OrderedDict[str, str] = OrderedDict()

    def learn(self, host: str, realm: str) -> None:
        """A host is in a realm."""
        if not host or not realm:
            return
        self._known[host.lower()] = realm.lower()
        self._known.move_to_end(host.lower())
        if len(self._known) > self._entries:
            self._known.popitem(last=False)

    def of(self, host: str) -> str:
        """What was said last, else what the name says, else our own."""
        host = host.lower()
        known = self._known.get(host)
        if known is not None:
            return known
        if host.endswith(".3gppnetwork.org") and ".epc." in host:
            return host[host.rindex(".epc.") + 1 :]
        return host.partition(".")[2] or self._own
