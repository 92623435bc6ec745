"""An HSS as a register, over Diameter S6c.

In charge of: asking by SRR and reading who serves the subscriber. Not in charge of: connections
(`diameter/node.py`), or the octets of messages (`diameter/short_messages.py`).

The look-up sets Single-Attempt-Delivery: an absent subscriber must not make the HSS put us on its list of those who
wait to be alerted, because nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable

from .causes import ExperimentalResult, ResultCode
from .diameter.connection import Identity, Unavailable
from .diameter.dictionary import Application, Command
from .diameter.node import Node
from .diameter.short_messages import ServingNode, read_routing, routing_request
from .digits import BadDigits
from .registers import (
    AddressType,
    Affiliation,
    RegisterUnavailable,
    ServedBy,
    Status,
    SwitchAddress,
    Who,
    address,
)

__all__ = ["S6cRegister"]

_UNAVAILABLE = {"disconnected": "down", "no-route": "down", "busy": "busy", "timeout": "timeout"}
_NODES = {
    "MME": ServedBy.MME,
    "SGSN": ServedBy.SGSN,
    "MSC": ServedBy.MSC,
    "IP-SM-GW": ServedBy.IP_SM_GW,
    "SMSF": ServedBy.SMSF,
}
_STATUS_BY_RESULT = {
    ExperimentalResult.USER_UNKNOWN: Status.UNKNOWN,
    ExperimentalResult.ABSENT_USER: Status.ABSENT,
}


class S6cRegister:
    """One HSS, or all of a realm behind a relay."""

    def __init__(
        self,
        node: Node,
        *,
        center: str,
        realm: str,
        session: Callable[[], str],
        now_ms: Callable[[], int],
        host: str = "",
        name: str = "hss",
        learn: Callable[[str, str], None] = lambda host, realm: None,
    ) -> None:
        """`center`: our E.164 digits. `host`: of the HSS; "" leaves it to the realm. `session`: makes Session-Ids.

        `learn(host, realm)`: what the HSS said of a node.
        """
        self.name = name
        self._node = node
        self._identity: Identity = node.identity
        self._center = center
        self._realm = realm
        self._host = host
        self._session = session
        self._now_ms = now_ms
        self._learn = learn

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        """See `AffiliationProvider.lookup`."""
        asked_number = "" if who.imsi else who.msisdn
        try:
            avps = routing_request(
                self._identity,
                self._session(),
                imsi=who.imsi,
                msisdn=asked_number,
                center=self._center,
                realm=self._realm,
                host=self._host,
            )
        except BadDigits as problem:
            raise RegisterUnavailable("refused", str(problem)) from problem
        try:
            answer = await self._node.request(
                Application.S6C, Command.SEND_ROUTING_INFO_FOR_SM, avps, timeout_s, to_host=self._host
            )
        except Unavailable as unavailable:
            raise RegisterUnavailable(_UNAVAILABLE[unavailable.reason]) from unavailable
        now = self._now_ms()
        code, experimental = answer.result
        if answer.succeeded:
            found = read_routing(answer)
            for node in found.nodes:
                self._learn(node.name, node.realm)
            addresses = tuple(each for node in found.nodes for each in _addresses(node))
            status = Status.ATTACHED if addresses else Status.ABSENT
            return Affiliation(status, addresses, self.name, now, found.imsi or who.imsi, asked_number)
        status = _STATUS_BY_RESULT.get(ExperimentalResult(code)) if experimental and _known(code) else None
        if status is not None:
            return Affiliation(status, (), self.name, now, who.imsi, asked_number)
        busy = code == ResultCode.TOO_BUSY and not experimental
        raise RegisterUnavailable("busy" if busy else "refused", f"result {code}")


def _known(code: int) -> bool:
    return code in ExperimentalResult._value2member_map_


def _addresses(node: ServingNode) -> list[SwitchAddress]:
    """One node may have a name and a number; what cannot be an address is left out."""
    kind = _NODES[node.kind]
    found: list[SwitchAddress] = []
    for type_, value in ((AddressType.DIAMETER_HOST, node.name), (AddressType.E164_GT, node.number)):
        if value:
            try:
                found.append(address(type_, value, kind))
            except ValueError:
                continue
    return found
