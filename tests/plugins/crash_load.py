"""Load on a center that dies and comes back, and a record of everything that was said on the wire.

In charge of: ESMEs that submit as fast as their windows allow and take their receipts, the handsets and the ESME that
receive, all of whom bind again whenever the center is there; and what each of them saw. Not in charge of: killing
the center, or whether what was seen is right (`crash_book.py`).

Where a center has several nodes, handsets stand behind all of them, and each ESME has one where it likes to be: it goes
to the next one when that does not answer, and stays there until it is cut or sent home.

Everything runs on one event loop in a thread of its own. The test's thread reads; lists and dicts only grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

from running_center import RunningCenter
from waiting import eventually

from restante.simulator.link import Answer, Connection, Credentials, Done
from restante.smsc.smpp import pdu, tlv
from restante.smsc.smpp.codec import Pdu
from restante.smsc.smpp.command_status import CommandStatus

PASSWORD = "crash"
SUBMITTERS = tuple(f"app{number}" for number in range(4))
WINDOW = 20
BIND_S = 5.0  #: a node that is stopped takes connections and says nothing
RECEIPT = 0x04  #: esm_class: the message is a receipt (SMPP 3.4 §5.2.12)
ABSENT = tlv.one(tlv.Tag.network_error_code, b"\x03\x00\x1b")
ON, OFF, AWAY, OWNED = "447700900", "447700901", "449000000", "12345"


@dataclass(frozen=True, slots=True)
class Kind:
    """What kind of recipient a message has."""

    number: str  #: its first digits
    width: int  #: how many digits follow
    share: int
    validity: bytes = b""


KINDS = (
    Kind(ON, 2, 11),  # handsets that take everything
    Kind(OFF, 2, 3),  # handsets that are off: mailbox
    Kind(OWNED, 0, 4),  # an ESME's own number
    Kind(AWAY, 2, 1),  # behind a switch that is never bound: stays in the queue
    Kind(AWAY, 2, 1, b"000000000003000R"),  # the same, and ends in three seconds
)


def furnish(center: RunningCenter) -> None:
    """The accounts, routes and ranges that the load needs."""
    for name in SUBMITTERS:
        center.add_account(name, PASSWORD, sources=["*"])
    center.add_account("owner", PASSWORD, numbers=[OWNED])
    center.add_account("msc", PASSWORD, role="switch")
    center.add_account("away", PASSWORD, role="switch")
    center.add_range("+4477")
    center.add_route("handsets", prefix="+4477", target="account", account="msc")
    center.add_route("away", prefix="+4490", target="account", account="away")


class Traffic:
    """Everybody who talks to the center."""

    def __init__(self, ports: Sequence[int], seed: int, kinds: Sequence[Kind] = KINDS) -> None:
        """`ports`: one for each node."""
        self.burst = (
            WINDOW  #: requests that a submitter begins every 20 ms; below the window nothing else begins any
        )
        self._ports = ports
        self._kinds = kinds
        self.round = 0  #: counts the lives of the center
        self.last_rounds: dict[int, int] = {}  #: of nodes that have ended or sleep for good, by port
        self.acked: dict[int, str] = {}  #: message id -> token
        self.refused: Counter[int] = Counter()  #: by command_status
        self.seen: dict[str, list[int]] = defaultdict(list)  #: token -> the round of each delivery
        self.receipts: dict[int, list[tuple[int, str]]] = defaultdict(list)  #: message id -> (round, stat)
        self.bound: dict[str, int] = {}  #: who is bound, and at which port
        self.handed: list[tuple[int, int, str]] = []  #: (round, port, token) of each delivery
        self.faults: list[str] = []  #: what nobody should ever say
        self._random = random.Random(seed)
        self._made = 0
        self._going = False
        self._stop = threading.Event()
        self._connections: dict[str, Connection] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._everybody = {"owner", *SUBMITTERS, *(f"msc@{port}" for port in ports)}

    # ------------------------------------------------------------------------------------- the test's thread

    def start(self) -> None:
        """Begin to bind."""
        self._thread.start()

    def stop(self) -> None:
        """Drop everything."""
        self._stop.set()
        self._thread.join(30)

    def wait_bound(self) -> None:
        """Until everybody is bound."""
        eventually(lambda: self._everybody <= self.bound.keys(), "everybody to bind", seconds=120)

    def wait_cut(self) -> None:
        """Until everybody has noticed that the center is gone; what comes later belongs to its next life."""
        eventually(lambda: not self.bound, "everybody to notice the end")
        self.round += 1

    def wait_gone_from(self, port: int) -> None:
        """Until nobody is bound at one node."""
        eventually(lambda: port not in list(self.bound.values()), "everybody to leave a node", seconds=60)

    def next_round(self, gone: int) -> None:
        """Begin the next life of a center whose node at this port is gone; what that had put on its way and comes
        late still belongs to the life before."""
        self.last_rounds[gone] = self.round
        self.round += 1

    def round_at(self, port: int) -> int:
        """The life to which something belongs that comes from a node now."""
        return self.last_rounds.get(port, self.round)

    def settle(self) -> None:
        """Until everything was read that lies ready to be read."""

        async def turns() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(turns(), self._loop).result(30)

    def send_home(self) -> None:
        """Cut those who are not bound where they like to be."""
        assert self._loop is not None
        for name, connection in list(self._connections.items()):
            if self.bound.get(name) != self._home(name):
                self._loop.call_soon_threadsafe(connection.abort)

    def come(self, name: str) -> None:
        """Let somebody be there too who was away: a switch that takes everything."""
        assert self._loop is not None
        self._everybody.add(name)
        asyncio.run_coroutine_threadsafe(self._stay(name, self._received, False), self._loop)

    def go(self) -> None:
        """Submit, now and after each new bind."""
        self._going = True

    def more(self, messages: int) -> None:
        """Until so many more were acknowledged."""
        wanted = len(self.acked) + messages
        eventually(lambda: len(self.acked) >= wanted, f"{messages} more acknowledged messages", seconds=120)

    def rest(self) -> None:
        """Submit no more; what is unanswered may still be answered."""
        self._going = False

    # --------------------------------------------------------------------------------------------- the loop

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        peers = [self._stay(name, self._receipt_came, True) for name in SUBMITTERS]
        peers += [self._stay("owner", self._owner_received, False)]
        peers += [self._stay(f"msc@{port}", self._phone_received, False) for port in self._ports]
        await asyncio.gather(*peers)

    def _home(self, name: str) -> int:
        """The port of the node where somebody likes to be."""
        _, _, port = name.partition("@")
        if port:
            return int(port)
        return self._ports[SUBMITTERS.index(name) % len(self._ports) if name in SUBMITTERS else 0]

    def _ways(self, name: str) -> list[int]:
        """Ports that somebody tries, in order; a handset stays behind its switch's node."""
        home = self._ports.index(self._home(name))
        return [self._home(name)] if "@" in name else [*self._ports[home:], *self._ports[:home]]

    async def _stay(
        self, name: str, on_message: Callable[[int, pdu.DeliverSm, Answer], None], submits: bool
    ) -> None:
        """Be bound whenever the center is there."""
        while not self._stop.is_set():
            connection, port = await self._bind(name, on_message)
            if connection is None:
                await asyncio.sleep(0.05)
                continue
            self._connections[name], self.bound[name] = connection, port
            while not (self._stop.is_set() or connection.ended.done()):
                if submits and self._going:
                    for _ in range(min(connection.room, self.burst)):
                        self._submit(connection)
                await asyncio.wait([connection.ended], timeout=0.02)
            connection.abort()
            await connection.ended
            del self.bound[name]

    async def _bind(
        self, name: str, on_message: Callable[[int, pdu.DeliverSm, Answer], None]
    ) -> tuple[Connection | None, int]:
        """Bind at the first node that takes it."""
        # A 5.0 center's errors may carry TLVs.
        credentials = Credentials(name.partition("@")[0], PASSWORD, interface_version=0x50)
        for port in self._ways(name):
            with contextlib.suppress(OSError, TimeoutError):
                work = Connection.connect(
                    "127.0.0.1", port, credentials, window=WINDOW, on_message=partial(on_message, port)
                )
                return await asyncio.wait_for(work, BIND_S), port
        return None, 0

    def _submit(self, connection: Connection) -> None:
        (kind,) = self._random.choices(self._kinds, [kind.share for kind in self._kinds])
        digits = f"{self._random.randrange(10**kind.width):0{kind.width}d}" if kind.width else ""
        self._made += 1
        token = f"t{self._made}"
        request = pdu.SubmitSm(
            source_addr_ton=5,
            source_addr=b"Shop",
            dest_addr_ton=1 if kind.width else 0,
            dest_addr_npi=1,
            destination_addr=(kind.number + digits).encode(),
            validity_period=kind.validity,
            registered_delivery=1,
            short_message=token.encode(),
        )
        connection.send(request, self._answered(connection, token))

    def _answered(self, connection: Connection, token: str) -> Done:
        def done(response: Pdu | None) -> None:
            if response is None:  # the center is gone: nobody knows
                return
            if response.command_status:
                self.refused[response.command_status] += 1
            elif isinstance(response, pdu.SubmitSmResp):
                id = int(response.message_id)
                if id in self.acked:
                    self.faults.append(f"id {id} was given to {self.acked[id]} and to {token}")
                self.acked[id] = token
            if self._going and self.burst >= WINDOW and not response.command_status:
                self._submit(connection)

        return done

    def _phone_received(self, port: int, message: pdu.DeliverSm, answer: Answer) -> None:
        if message.destination_addr.startswith(OFF.encode()):
            answer(CommandStatus.ESME_RX_T_APPN, ABSENT)
            return
        self._received(port, message, answer)

    def _owner_received(self, port: int, message: pdu.DeliverSm, answer: Answer) -> None:
        if message.destination_addr != OWNED.encode():
            self.faults.append(f"the owner of {OWNED} was handed {message}")
        self._received(port, message, answer)

    def _received(self, port: int, message: pdu.DeliverSm, answer: Answer) -> None:
        token = message.short_message.decode()
        self.seen[token].append(self.round_at(port))
        self.handed.append((self.round, port, token))
        answer(CommandStatus.ESME_ROK, b"")

    def _receipt_came(self, port: int, message: pdu.DeliverSm, answer: Answer) -> None:
        if not message.esm_class & RECEIPT:
            self.faults.append(f"a submitter was handed {message}")
        said: dict[str, str] = {}
        for part in message.short_message.decode().split(" "):
            name, _, value = part.partition(":")
            said[name] = value
        self.receipts[int(said["id"])].append((self.round_at(port), said["stat"]))
        answer(CommandStatus.ESME_ROK, b"")


@contextlib.contextmanager
def traffic(
    port: int, seed: int, kinds: Sequence[Kind] = KINDS, others: Sequence[int] = ()
) -> Generator[Traffic]:
    """Everybody, from start to end; `others`: ports of further nodes."""
    everybody = Traffic([port, *others], seed, kinds)
    everybody.start()
    try:
        yield everybody
    finally:
        everybody.stop()
