"""Manners over real TCP: whatever a peer does, it gets an answer or a close, and nobody else notices.

Long because every case wants the same center, one that loses patience soon, and it takes seconds to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_book import read
from raw_peer import Peer, peer
from running_center import RunningCenter, running_center
from waiting import eventually

from restante.simulator.link import Connection, Credentials, accept_everything
from restante.smsc.smpp import pdu
from restante.smsc.smpp.codec import Pdu
from restante.smsc.smpp.command_id import CommandId
from restante.smsc.smpp.command_status import CommandStatus as Status
from restante.smsc.smpp.tlv import Tag

pytestmark = pytest.mark.xdist_group("politeness")

Cap = Callable[[int, int], int]
PASSWORD = "lavender"
MANY = 200  #: binds of the storm: 4 accounts with 50 each


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCenter]:
    """A center that loses patience soon."""
    settings: dict[str, object] = {"smpp.slow_reader_s": 1, "smpp.session_init_timer_s": 5}
    with running_center(tmp_path_factory.mktemp("polite") / "center", settings) as made:
        made.add_account("app", PASSWORD, sources=["*"])
        made.add_account("two", PASSWORD, max_binds=2)
        made.add_account("narrow", PASSWORD, sources=["*"], window=5)
        made.add_account("slow", PASSWORD, sources=["*"], throughput=0.1, burst=5)
        made.add_account("guessed", PASSWORD)
        made.add_account("shop", PASSWORD, numbers=["12345"])
        for number in range(4):
            made.add_account(f"many{number}", PASSWORD, sources=["*"], max_binds=50)
        yield made


def submit_sm(sequence_number: int = 1, text: bytes = b"x") -> pdu.SubmitSm:
    """A message to the number that shop owns."""
    return pdu.SubmitSm(
        source_addr=b"777",
        destination_addr=b"12345",
        short_message=text,
        sequence_number=sequence_number,
    )


def still_serves(center: RunningCenter, address: str = "127.0.0.3") -> None:
    """A well-behaved ESME binds, submits and leaves."""
    with peer(center.smpp_port, "app", PASSWORD, address=address) as good:
        answer = good.ask(submit_sm(7))
        assert isinstance(answer, pdu.SubmitSmResp)
        assert (answer.command_status, answer.sequence_number) == (0, 7)
        assert isinstance(good.ask(pdu.Unbind(sequence_number=8)), pdu.UnbindResp)
        assert good.read() is None


def header(length: int, command_id: int, sequence_number: int = 9) -> bytes:
    return struct.pack(">IIII", length, command_id, 0, sequence_number)


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize(
    "command_id", [0x99, 0x0000_0111, 0x0000_0112, 0x0000_0113, 0x1234_5678, 0x0001_0200, 0x0000_0100]
)
def test_an_unknown_command_is_refused_and_the_link_lives(
    center: RunningCenter, command_id: int, bound: bool
) -> None:
    """broadcast_sm, query_broadcast_sm and cancel_broadcast_sm are 0x111 to 0x113."""
    with peer(center.smpp_port, *(("app", PASSWORD) if bound else ())) as stranger:
        answer = stranger.ask(header(20, command_id, 4711) + b"body")
        assert isinstance(answer, pdu.GenericNack)
        assert (answer.command_status, answer.sequence_number) == (Status.ESME_RINVCMDID, 4711)
        assert isinstance(stranger.ask(pdu.EnquireLink(sequence_number=5)), pdu.EnquireLinkResp)


@pytest.mark.parametrize("length", [0, 3, 15, 0xFFFF_FFFF, 100_000, 0x8000_0000])
def test_an_impossible_command_length_ends_the_connection(center: RunningCenter, length: int) -> None:
    with peer(center.smpp_port, "app", PASSWORD) as stranger:
        stranger.send(header(length, CommandId.submit_sm, 4711))
        answer, *more = stranger.rest()
        assert not more
        assert isinstance(answer, pdu.GenericNack)
        assert (answer.command_status, answer.sequence_number) == (Status.ESME_RINVCMDLEN, 4711)


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"POST /sms HTTP/1.0\r\n\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), "TLS"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "SSH"),
        (b"\xff" * 64, "command_length"),
    ],
)
def test_other_protocols_are_named_in_the_log(center: RunningCenter, octets: bytes, name: str) -> None:
    with peer(center.smpp_port) as stranger:
        port = stranger.socket.getsockname()[1]
        stranger.send(octets)
        answers = stranger.rest()
        assert [answer.command_status for answer in answers] == [Status.ESME_RINVCMDLEN]
    eventually(
        lambda: any(f":{port}" in line and name in line for line in list(center.lines)), f"{name} in the log"
    )


def test_silence_before_bind_ends_and_disturbs_nobody(center: RunningCenter) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(peer(center.smpp_port)) for _ in range(100)]
        still_serves(center)
        for one in idle:
            assert one.read() is None


def test_a_slow_reader_is_cut_off_and_disturbs_nobody(center: RunningCenter) -> None:
    with peer(center.smpp_port, "app", PASSWORD, receive_buffer=4096) as slow:
        question = pdu.EnquireLink(sequence_number=3).encode() * 4096
        ended = threading.Event()

        def flood() -> None:
            with contextlib.suppress(OSError):
                while not ended.is_set():
                    slow.socket.sendall(question)
            ended.set()

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        served = 0
        while not ended.wait(0.2):
            still_serves(center)
            served += 1
            assert served < 500, "the slow reader is still there"
        thread.join(10)
    eventually(lambda: any("slow-reader" in line for line in list(center.lines)), "a line in the log")


def test_no_more_binds_than_an_account_may_have(center: RunningCenter) -> None:
    with (
        peer(center.smpp_port, "two", PASSWORD) as first,
        peer(center.smpp_port, "two", PASSWORD),
        peer(center.smpp_port) as third,
    ):
        assert third.bind("two", PASSWORD) == Status.ESME_RBINDFAIL
        assert isinstance(first.ask(pdu.Unbind(sequence_number=2)), pdu.UnbindResp)
        assert first.read() is None
        eventually(lambda: third.bind("two", PASSWORD) == 0, "room for the third")


def test_a_full_window_is_throttled(center: RunningCenter) -> None:
    """60 requests in one write where 5 may be unanswered: each is answered once, and the first ones are taken."""
    with peer(center.smpp_port, "narrow", PASSWORD) as esme:
        esme.send(*(submit_sm(number) for number in range(100, 160)))
        answers = [esme.read() for _ in range(60)]
        assert isinstance(esme.ask(pdu.EnquireLink(sequence_number=3)), pdu.EnquireLinkResp)
    found = [(one.sequence_number, one.command_status) for one in answers if one is not None]
    assert sorted(number for number, _ in found) == list(range(100, 160))
    assert {status for _, status in found} == {0, Status.ESME_RTHROTTLED}
    assert {number for number, status in found if not status} >= set(range(100, 105))


def test_too_many_messages_are_throttled(center: RunningCenter) -> None:
    with peer(center.smpp_port, "slow", PASSWORD) as esme:
        statuses = Counter[int]()
        for number in range(20):
            answer = esme.ask(submit_sm(number + 1))
            assert answer is not None
            statuses[answer.command_status] += 1
    assert statuses.keys() == {0, Status.ESME_RTHROTTLED}
    assert 5 <= statuses[0] < 15  # the burst, and what ten seconds each bring on a loaded machine


def test_guessing_slows_only_the_guesser(center: RunningCenter) -> None:
    """One address guesses one account's password; the account itself, from another address, binds at once."""
    tried: list[tuple[float, int]] = []
    stop = threading.Event()

    def guess() -> None:
        while not stop.is_set():
            began = time.monotonic()
            with contextlib.suppress(AssertionError, OSError), peer(center.smpp_port) as guesser:
                tried.append((0.0, guesser.bind("guessed", f"try {len(tried)}")))
                tried[-1] = (time.monotonic() - began, tried[-1][1])

    guessers = [threading.Thread(target=guess, daemon=True) for _ in range(5)]
    for thread in guessers:
        thread.start()
    eventually(lambda: any(took > 2 for took, _ in tried), "guessing to become slow", seconds=120)
    for _ in range(5):
        began = time.monotonic()
        with peer(center.smpp_port, "guessed", PASSWORD, address="127.0.0.2"):
            took = time.monotonic() - began
        assert took < max(one for one, _ in tried), "the good one waited as long as the guesser"
    still_serves(center)
    stop.set()
    assert {status for _, status in tried} == {Status.ESME_RBINDFAIL}


async def bind_all(port: int, window: int = 10) -> list[Connection]:
    """All binds of the storm at once. Raises BindRefused."""
    names = [f"many{number % 4}" for number in range(MANY)]
    return list(
        await asyncio.gather(
            *(
                Connection.connect(
                    "127.0.0.1",
                    port,
                    Credentials(name, PASSWORD),
                    window=window,
                    on_message=accept_everything,
                )
                for name in names
            )
        )
    )


def test_everybody_comes_back_at_once_after_a_restart(center: RunningCenter) -> None:
    assert center.stop() == 0
    center.start()
    began = time.monotonic()

    async def storm() -> None:
        for connection in await bind_all(center.smpp_port):
            connection.abort()

    asyncio.run(storm())
    took = time.monotonic() - began
    sys.stdout.write(f"{MANY} binds in {took:.1f} s\n")
    assert took < 50  # 10 s for 1000 binds, on a machine five times slower
    still_serves(center)


def test_a_storm_of_strangers_does_not_stop_who_is_bound(center: RunningCenter, cap: Cap) -> None:
    """Each bind costs argon2id, which takes every core there is; submits go on meanwhile."""
    many = cap(200, 1000)
    answered: list[int] = []

    async def stranger(number: int) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", center.smpp_port, local_addr=(f"127.1.0.{1 + number % 50}", 0)
        )
        request = pdu.BindTransceiver(
            system_id=b"s%d" % number, password=PASSWORD.encode(), sequence_number=1
        )
        writer.write(request.encode())
        answered.append(int.from_bytes((await reader.readexactly(16))[8:12], "big"))
        writer.close()

    with peer(center.smpp_port, "app", PASSWORD) as bound:
        ask = itertools.count(1)

        def worst_of(moments: float, going: Callable[[], bool]) -> tuple[int, float]:
            """Submits one after the other: how many, and how long the slowest took."""
            began, asked, worst = time.monotonic(), 0, 0.0
            while going() or time.monotonic() - began < moments:
                before = time.monotonic()
                assert isinstance(bound.ask(submit_sm(next(ask))), pdu.SubmitSmResp)
                worst, asked = max(worst, time.monotonic() - before), asked + 1
            return int(asked / (time.monotonic() - began)), worst

        calm, calm_worst = worst_of(1.0, lambda: False)

        async def all_of_them() -> None:
            await asyncio.gather(*map(stranger, range(many)))

        storm = threading.Thread(target=lambda: asyncio.run(all_of_them()), daemon=True)
        began = time.monotonic()
        storm.start()
        rate, worst = worst_of(0.0, storm.is_alive)
        took = time.monotonic() - began
    sys.stdout.write(
        f"{many} cold binds in {took:.1f} s; one bound client: {calm}/s, slowest {calm_worst * 1000:.0f} ms in calm, "
        f"{rate}/s, slowest {worst * 1000:.0f} ms in the storm\n"
    )
    assert set(answered) == {Status.ESME_RBINDFAIL}
    assert len(answered) == many
    assert rate * 10 > calm
    assert worst < 5  # a bind that waits its turn takes longer than that


def test_an_orderly_end_under_load_loses_nothing(center: RunningCenter) -> None:
    """SIGTERM with 50 binds and full windows: everybody is told, the process ends, what was acknowledged is there."""
    acked: list[int] = []
    unanswered: list[int] = []

    async def load() -> float:
        credentials = Credentials("many0", PASSWORD)
        binds = [
            await Connection.connect(
                "127.0.0.1", center.smpp_port, credentials, window=10, on_message=accept_everything
            )
            for _ in range(50)
        ]

        def send(bind: Connection) -> None:
            def done(answer: Pdu | None) -> None:
                if isinstance(answer, pdu.SubmitSmResp) and not answer.command_status:
                    acked.append(int(answer.message_id))
                    send(bind)
                else:
                    unanswered.append(0 if answer is None else answer.command_status)

            bind.send(submit_sm(), done)

        for bind in binds:
            for _ in range(10):
                send(bind)
        while len(acked) < 500:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        assert await asyncio.to_thread(center.stop) == 0, list(center.lines)
        took = time.monotonic() - began
        await asyncio.wait_for(asyncio.gather(*(bind.ended for bind in binds)), 30)
        return took

    took = asyncio.run(load())
    sys.stdout.write(f"SIGTERM to exit {took:.1f} s, {len(acked)} acknowledged, {len(unanswered)} not\n")
    assert took < 25  # 5 s, on a machine five times slower
    center.start()
    missing = lost_ids(center, acked)
    assert not missing, f"{len(missing)} of {len(acked)} acknowledged messages are not in the database"


def lost_ids(center: RunningCenter, acked: list[int]) -> set[int]:
    """Acknowledged messages that are neither queued, nor in a box, nor ended."""
    kept, queued, boxed, ended = read(
        center.site.config.store.url,
        "SELECT id FROM message",
        "SELECT id FROM queue",
        "SELECT id FROM mailbox_item",
        "SELECT message FROM event WHERE kind = 'final'",
    )
    somewhere = {row[0] for rows in (queued, boxed, ended) for row in rows}
    return set(acked) - ({row[0] for row in kept} & somewhere)


# ------------------------------------------------------------------------------------------------------- mutations

SAMPLES: tuple[Pdu, ...] = (
    submit_sm(2).add_tlv(0x1401, b"v"),
    pdu.BindTransceiver(system_id=b"app", password=b"wrong", sequence_number=1),
    pdu.SubmitMulti(sequence_number=3, dest_address=(pdu.SmeAddress(1, 1, b"44"),), short_message=b"m"),
    pdu.DataSm(sequence_number=4, destination_addr=b"12345").add_tlv(0x0424, b"payload"),
    pdu.QuerySm(sequence_number=5, message_id=b"1"),
    pdu.CancelSm(sequence_number=6, message_id=b"1"),
    pdu.ReplaceSm(sequence_number=7, message_id=b"1"),
    pdu.EnquireLink(sequence_number=8),
    pdu.EnquireLinkResp(sequence_number=1),
    pdu.DeliverSm(sequence_number=9),
    pdu.DeliverSmResp(sequence_number=1),
    pdu.SubmitSmResp(sequence_number=1, message_id=b"1"),
    pdu.AlertNotification(sequence_number=10),
    pdu.Outbind(sequence_number=11),
    pdu.GenericNack(sequence_number=1, command_status=3),
    pdu.UnbindResp(sequence_number=3),
    pdu.BindReceiverResp(sequence_number=1),
)


def mutate(octets: bytes, chance: random.Random) -> bytes:
    """One to three faults; mostly with a true length, so that the body is reached."""
    mutated = bytearray(octets)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(4, len(mutated) + 1)
        match chance.randrange(4):
            case 0 if at < len(mutated):
                mutated[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            case 1:
                del mutated[max(at, 16) :]
            case 2:
                mutated[at:at] = chance.randbytes(chance.randint(1, 20))
            case _:
                mutated[4:8] = chance.choice(list(CommandId)).to_bytes(4, "big")
    if chance.randrange(20):
        mutated[:4] = len(mutated).to_bytes(4, "big")
    return bytes(mutated)


def resident_kib(center: RunningCenter) -> int:
    assert center.process is not None
    status = Path(f"/proc/{center.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def play(one: Peer, stream: bytes) -> bool:
    """Send it, then ask whether the link lives. True if it does, False if it was closed; silence is a TimeoutError.

    Whoever announces more octets than come is waited for: there the stream ends, and the connection must end too.
    """
    last = 0x7ABC_DEF0
    try:
        one.send(stream, pdu.EnquireLink(sequence_number=last))
        if int.from_bytes(stream[:4], "big") != len(stream):
            with contextlib.suppress(OSError):  # it was closed already, which reading tells
                one.socket.shutdown(socket.SHUT_WR)
        while (answer := one.read()) is not None:
            if isinstance(answer, pdu.EnquireLinkResp) and answer.sequence_number == last:
                return True
    except ConnectionError:
        pass
    return False


def test_mutations_get_an_answer_or_a_close(center: RunningCenter, cap: Cap) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    ends = Counter[str]()
    before = 0
    while ends.total() < cap(300, 10_000):
        if not before and ends.total() > 50:  # warm by now
            before = resident_kib(center)
        bound = chance.randrange(5) > 0
        with peer(center.smpp_port, *(("app", PASSWORD) if bound else ())) as one:
            for _ in range(10):
                lives = play(one, mutate(chance.choice(SAMPLES).encode(), chance))
                ends["lived" if lives else "closed"] += 1
                if not lives:
                    break
    grown = resident_kib(center) - before
    sys.stdout.write(f"{dict(ends)}, grown by {grown} KiB\n")
    assert grown < 40_000
    assert ends["lived"] > ends["closed"] > 0
    still_serves(center)
    assert not [line for line in center.lines if "Traceback" in line]


# -------------------------------------------------------------------------------------------------- a bad crowd


def bind_as(one: Peer, system_id: str, version: int) -> None:
    request = pdu.BindTransceiver(
        system_id=system_id.encode(), password=PASSWORD.encode(), interface_version=version, sequence_number=1
    )
    answer = one.ask(request)
    assert answer is not None
    assert answer.command_status == 0


def test_a_5_0_peer_learns_how_near_it_is_to_being_throttled(center: RunningCenter) -> None:
    center.add_account("modern", PASSWORD, sources=["*"], throughput=0.05, burst=4)
    with peer(center.smpp_port) as esme:
        bind_as(esme, "modern", 0x50)
        answers = [esme.ask(submit_sm(number)) for number in range(2, 7)]
    told = [(one.command_status, one.get_tlv_int(Tag.congestion_state)) for one in answers if one is not None]
    assert [status for status, _ in told] == [0, 0, 0, 0, Status.ESME_RTHROTTLED]
    states = [state or 0 for _, state in told]
    assert states == sorted(states)
    assert states[0] >= 20
    assert states[3:] == [99, 100]
    with peer(center.smpp_port, "app", PASSWORD) as older:
        answer = older.ask(submit_sm(2))
        assert answer is not None
        assert answer.get_tlv(Tag.congestion_state) is None


def crowd(center: RunningCenter, stack: contextlib.ExitStack) -> None:
    """A hundred who are silent, slow, or take and never answer."""
    port = center.smpp_port
    for _ in range(25):  # says nothing at all
        stack.enter_context(peer(port, address="127.0.0.4"))
    for _ in range(25):  # stops in the middle of a PDU
        stack.enter_context(peer(port, "idle", PASSWORD, address="127.0.0.5")).send(
            submit_sm(2).encode()[:30]
        )
    for _ in range(25):  # is handed messages and never answers
        stack.enter_context(peer(port, "deaf", PASSWORD, address="127.0.0.6"))
    for _ in range(25):  # asks much, and reads nothing
        greedy = stack.enter_context(peer(port, "greedy", PASSWORD, address="127.0.0.7", receive_buffer=4096))
        greedy.socket.setblocking(False)
        with contextlib.suppress(OSError):
            greedy.socket.send(pdu.EnquireLink(sequence_number=3).encode() * 20_000)


def test_a_hundred_slow_or_silent_clients_change_nothing_for_the_others(center: RunningCenter) -> None:
    for name in ("idle", "greedy"):
        center.add_account(name, PASSWORD, sources=["*"], max_binds=25)
    center.add_account("deaf", PASSWORD, numbers=["99900"], max_binds=25)
    center.add_account("keen", PASSWORD, numbers=["99901"], sources=["*"])
    with peer(center.smpp_port, "keen", PASSWORD) as keen, contextlib.ExitStack() as stack:

        def cycles(number: int) -> tuple[float, float]:
            """Submit, response, delivery to itself, again and again: cycles a second and the slowest one."""
            began, slowest = time.monotonic(), 0.0
            for sequence in range(2, number + 2):
                before = time.monotonic()
                request = submit_sm(sequence)
                request.destination_addr = b"99901"
                keen.send(request)
                wanted = {"SubmitSmResp", "DeliverSm"}
                while wanted:
                    got = keen.read()
                    assert got is not None
                    wanted.discard(type(got).__name__)
                    if isinstance(got, pdu.DeliverSm):
                        keen.send(pdu.DeliverSmResp(sequence_number=got.sequence_number))
                    elif isinstance(got, pdu.EnquireLink):
                        keen.send(pdu.EnquireLinkResp(sequence_number=got.sequence_number))
                slowest = max(slowest, time.monotonic() - before)
            return number / (time.monotonic() - began), slowest

        cycles(20)
        calm, calm_slowest = cycles(150)
        crowd(center, stack)
        for sequence in range(2, 1502):  # fills 25 windows of 50, and a queue behind them
            request = submit_sm(sequence)
            request.destination_addr = b"99900"
            answer = keen.ask(request)
            assert isinstance(answer, pdu.SubmitSmResp), answer
        before = resident_kib(center)
        rate, slowest = cycles(150)
        grown = resident_kib(center) - before
    sys.stdout.write(
        f"{calm:.0f} cycles/s, slowest {calm_slowest * 1000:.0f} ms alone; "
        f"{rate:.0f}/s, slowest {slowest * 1000:.0f} ms "
        f"beside a hundred bad clients; grown by {grown} KiB\n"
    )
    assert rate * 5 > calm
    assert slowest < 5
    assert grown < 20_000
