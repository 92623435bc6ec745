"""The center in front of an OsmoHLR: switches connect here as to their register.

In charge of: who may connect under which name, from where; which links there are; learning from the register's answers
who serves a subscriber; one message under way per subscriber towards a switch. Not in charge of: relaying
(`gsup_link.py`), what the messages are about (`smsc/`).

A name belongs to source addresses and to one connection at a time. Whoever claims one that is connected is refused and
counted, and the alarm is told: it is a misconfiguration or somebody who pretends. If the claim comes from where the
name belongs, the present connection is asked whether it is still there, because a switch that lost power comes back
before its old connection is known to be dead.

Why one message per subscriber: a switch answers MT-forwardSM with a reference of its own, so that an answer can be told
from another only by the IMSI. After a deadline the subscriber therefore stays engaged for a while: an answer that comes
late must not be taken for the answer to the next message.

Source: the GSUP chapter of the OsmoHLR manual; 3GPP TS 29.002 §12.9 (MT-forwardSM), §12.4 (readyForSM).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from ..message import Address
from ..metrics import counter, gauge
from . import gsup
from .affiliations import Affiliations
from .gsup import Domain, Gsup, MessageType, SmAddress
from .gsup_link import Hooks, Limits, Link, Located, Purged
from .reconnect import Backoff
from .registers import AddressType, Affiliation, ServedBy, Status, SwitchAddress, Who, address

__all__ = ["Front", "FrontHooks", "MtResult", "NamedSwitch"]

log = structlog.get_logger(__name__)

_connected = gauge("gsup", "switches", "Switches that are connected")
_turned_away = counter("gsup", "switches_refused", "Connections of switches refused", ("reason",))
_learned = counter("gsup", "learned", "What relayed answers of the register told", ("what",))

MOST_FORWARDS = 50_000  #: messages under way, and subscribers of whom a late answer may come
SOURCE = "gsup"  #: the source of affiliations that were learned here
_NODES = {Domain.CS: ServedBy.MSC, Domain.PS: ServedBy.SGSN}


@dataclass(frozen=True, slots=True)
class NamedSwitch:
    """A switch that may connect."""

    name: str  #: as it calls itself
    networks: tuple[str, ...]  #: CIDRs that it may connect from; none: from nowhere


@dataclass(frozen=True, slots=True)
class MtResult:
    """What became of a message for a handset."""

    answer: Gsup | None = None  #: result or error of the switch
    lost: str = ""  #: why there is none: "timeout", "link-lost", "engaged"


@dataclass(frozen=True, slots=True)
class FrontHooks:
    """Whom the front tells; each returns at once."""

    mo_forward: Callable[[Link, Gsup], None]  #: a request to answer
    ready: Callable[[Link, Gsup], None]  #: a handset can be tried again; a request to answer
    seen: Callable[[Affiliation], None]  #: a switch took over a subscriber, or keeps it
    changed: Callable[[Link, bool], None]  #: a switch came (True) or went


@dataclass(slots=True, eq=False)
class _Forward:
    """One MT-forwardSM of ours."""

    link: Link
    mr: int
    done: Callable[[MtResult], None] | None  #: None: it was given up, and its answer would come late
    timer: asyncio.TimerHandle | None = None


class Front:
    """All switches of one node. Lives on the event loop."""

    def __init__(
        self,
        switches: Sequence[NamedSwitch],
        register: tuple[str, int],
        hooks: FrontHooks,
        affiliations: Affiliations,
        *,
        now_ms: Callable[[], int],
        limits: Limits | None = None,
        most_links: int = 200,
        late_s: float = 120.0,
        backoff: Callable[[], Backoff] = Backoff,
        alarm: Callable[[str, str], None] = lambda name, address: None,
    ) -> None:
        """`register`: host and GSUP port of the real one. `late_s`: how long after a deadline an answer may come.

        `alarm(name, address)`: somebody there claimed a name that is connected or belongs elsewhere.
        """
        self._switches = {
            each.name: tuple(ipaddress.ip_network(network) for network in each.networks) for each in switches
        }
        self._register = register
        self._hooks = hooks
        self._affiliations = affiliations
        self._now_ms = now_ms
        self._limits = limits or Limits()
        self._most_links = most_links
        self._late_s = late_s
        self._backoff = backoff
        self._alarm = alarm
        self._servers: list[asyncio.Server] = []
        self._all: set[Link] = set()
        self._by_name: dict[str, Link] = {}
        self._forwards: dict[str, _Forward] = {}  # by IMSI
        self._last_number = 0
        self._last_mr = 0
        self._link_hooks = Hooks(
            self._admit, self._opened, self._closed, self._message, self._located, self._purged
        )

    # ------------------------------------------------------------------------------------------- opening and closing

    async def listen(self, host: str, port: int) -> int:
        """Let switches connect; answers the port."""
        server = await asyncio.get_running_loop().create_server(self._accept, host, port)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and let go of every switch: it will look for another way."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for link in list(self._all):
            link.close()
        while self._all:
            await asyncio.sleep(0)

    def _accept(self) -> Link:
        self._last_number += 1
        link = Link(self._last_number, self._register, self._link_hooks, self._limits, self._backoff())
        self._all.add(link)
        if len(self._all) > self._most_links:
            _turned_away.labels("too-many").inc()
            asyncio.get_running_loop().call_soon(link.close)
        return link

    def __iter__(self) -> Iterator[Link]:
        """Switches that are connected, in the order in which they came."""
        return iter(sorted(self._by_name.values(), key=lambda link: link.number))

    def __len__(self) -> int:
        """How many."""
        return len(self._by_name)

    def link(self, name: str) -> Link | None:
        """The connection of a switch."""
        return self._by_name.get(name)

    def disconnect(self, number: int) -> bool:
        """End a switch's connection; it may come back."""
        for link in self._by_name.values():
            if link.number == number:
                link.close()
                return True
        return False

    # ------------------------------------------------------------------------------------------------------- links

    def _admit(self, link: Link, name: str) -> bool:
        networks = self._switches.get(name)
        present = self._by_name.get(name)
        if networks is None:
            self._turn_away("unknown-name", link, name)
            return False
        if not _within(link.address, networks):
            self._turn_away("wrong-address", link, name)
            self._alarm(name, link.address)
            return False
        if present is not None:
            self._turn_away("name-in-use", link, name)
            self._alarm(name, link.address)
            present.prove_alive()
            return False
        return True

    def _turn_away(self, reason: str, link: Link, name: str) -> None:
        _turned_away.labels(reason).inc()
        log.warning("switch-refused", reason=reason, claims=name[:64], peer=link.peer)

    def _opened(self, link: Link) -> None:
        self._by_name[link.name] = link
        _connected.set(len(self._by_name))
        log.info("switch-connected", switch=link.name, peer=link.peer)
        self._hooks.changed(link, True)

    def _closed(self, link: Link) -> None:
        self._all.discard(link)
        if self._by_name.get(link.name) is not link:
            return
        del self._by_name[link.name]
        _connected.set(len(self._by_name))
        log.warning("switch-disconnected", switch=link.name, peer=link.peer)
        for imsi, forward in list(self._forwards.items()):
            if forward.link is link:
                self._end(imsi, forward, MtResult(lost="link-lost"))
        self._hooks.changed(link, False)

    # ---------------------------------------------------------------------------------------------------- learning

    def _located(self, link: Link, located: Located) -> None:
        node = _NODES[located.domain]
        _learned.labels("location").inc()
        found = Affiliation(
            Status.ATTACHED, (_address_of(link, node),), SOURCE, self._now_ms(), located.imsi, located.msisdn
        )
        self._hooks.seen(self._affiliations.learn(found, about={node}))

    def _purged(self, link: Link, purged: Purged) -> None:
        node = _NODES[purged.domain]
        known = self._affiliations.current(Who(imsi=purged.imsi))
        # The register lets any switch purge; only the one that serves the subscriber can lose it.
        if known is not None and _address_of(link, node) in known.addresses:
            _learned.labels("purge").inc()
            found = Affiliation(Status.PURGED, (), SOURCE, self._now_ms(), purged.imsi)
            self._affiliations.learn(found, about={node})

    # ---------------------------------------------------------------------------------------------- short messages

    def _message(self, link: Link, message: Gsup) -> None:
        if message.type == MessageType.MO_FORWARD_SM:
            link.messages["mo"] += 1
            self._hooks.mo_forward(link, message)
        elif message.type == MessageType.READY_FOR_SM:
            self._hooks.ready(link, message)
        else:
            forward = self._forwards.get(message.imsi)
            if forward is not None and forward.link is link:
                self._end(message.imsi, forward, MtResult(message))

    def engaged(self, imsi: str) -> bool:
        """Whether a message for a subscriber is under way, or the answer to one may still come."""
        return imsi in self._forwards

    def forward(
        self,
        link: Link,
        imsi: str,
        center: Address,
        tpdu: bytes,
        done: Callable[[MtResult], None],
        *,
        more: bool = False,
        timeout_s: float,
    ) -> None:
        """Hand a TPDU for a handset to the switch that serves it. `done` is called once, also before this returns."""
        under_way = self._forwards.get(imsi)
        if under_way is not None and under_way.done is None and under_way.link is not link:
            self._end(imsi, under_way, MtResult())  # a late answer would come by another link
        if imsi in self._forwards or len(self._forwards) >= MOST_FORWARDS:
            done(MtResult(lost="engaged"))
            return
        self._last_mr = (self._last_mr + 1) & 0xFF
        oa = SmAddress(number=center, center=True)
        message = gsup.mt_forward_sm(imsi, self._last_mr, oa, tpdu, more=more)
        if not link.send(message):
            done(MtResult(lost="link-lost"))
            return
        link.messages["mt"] += 1
        forward = self._forwards[imsi] = _Forward(link, self._last_mr, done)
        loop = asyncio.get_running_loop()
        forward.timer = loop.call_later(timeout_s, self._late, imsi, forward)

    def _late(self, imsi: str, forward: _Forward) -> None:
        """No answer in time: say so, and stay engaged until one can hardly come any more."""
        done, forward.done = forward.done, None
        loop = asyncio.get_running_loop()
        forward.timer = loop.call_later(self._late_s, self._forget, imsi, forward)
        if done is not None:
            done(MtResult(lost="timeout"))

    def _forget(self, imsi: str, forward: _Forward) -> None:
        if self._forwards.get(imsi) is forward:
            del self._forwards[imsi]

    def _end(self, imsi: str, forward: _Forward, result: MtResult) -> None:
        self._forget(imsi, forward)
        if forward.timer is not None:
            forward.timer.cancel()
        if forward.done is not None:
            forward.done(result)


def _address_of(link: Link, node: ServedBy) -> SwitchAddress:
    return address(AddressType.IPA_NAME, link.name, node)


def _within(text: str, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in network for network in networks)
