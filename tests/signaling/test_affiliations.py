"""Memory of affiliations: times, single flight, bounds, failures, what was learned; and a real OsmoHLR behind it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from gsup_switch import GsupSwitch
from hypothesis import given
from hypothesis import strategies as st
from osmo_hlr import OsmoHlr as Daemon
from waiting import soon, soon_true

from restante.signaling.affiliations import Affiliations, AffiliationSettings
from restante.signaling.breaker import Breaker, BreakerState
from restante.signaling.ctrl import Ctrl
from restante.signaling.osmohlr import OsmoHlr
from restante.signaling.reconnect import Backoff
from restante.signaling.registers import (
    AddressType,
    Affiliation,
    RegisterUnavailable,
    ServedBy,
    Status,
    SwitchAddress,
    Who,
    address,
)

MSC_A, MSC_B = (address(AddressType.IPA_NAME, name, ServedBy.MSC) for name in ("MSC-A", "MSC-B"))
MME = address(AddressType.DIAMETER_HOST, "mme.home.net", ServedBy.MME)
WHO = Who("447700900123", "001010000000001")
NUMBER, IMSI = Who("447700900123"), Who(imsi="001010000000001")
LONG = 60.0  #: a deadline that no test reaches


class Clock:
    """Monotonic seconds and epoch milliseconds that move together."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return 1_700_000_000_000 + round(self.seconds * 1000)


class Register:
    """One subscriber; asked questions wait while `gate` is closed."""

    name = "register"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.serving: tuple[SwitchAddress, ...] = (MSC_A,)
        self.status: Status | None = None
        self.failure: BaseException | None = None
        self.asked: list[tuple[Who, bool]] = []
        self.gate: asyncio.Event | None = None

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        self.asked.append((who, fresh))
        serving, failure = self.serving, self.failure
        if self.gate is not None:
            await self.gate.wait()
        if failure is not None:
            raise failure
        status = self.status or (Status.ATTACHED if serving else Status.ABSENT)
        return Affiliation(status, serving, self.name, self.clock.now_ms(), IMSI.imsi, NUMBER.msisdn)


def made(**settings: float) -> tuple[Affiliations, Register, Clock]:
    clock = Clock()
    register = Register(clock)
    chosen = AffiliationSettings(**({"timeout_s": 30, "jitter": 0} | settings))  # pyright: ignore[reportArgumentType]
    return (
        Affiliations(register, chosen, now_ms=clock.now_ms, monotonic=clock.monotonic, rng=random.Random(1)),
        register,
        clock,
    )


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 120))  # pyright: ignore[reportArgumentType]


def test_an_answer_is_good_for_its_time() -> None:
    async def scenario() -> None:
        memory, register, clock = made()
        first = await memory.find(NUMBER)
        assert (first.affiliation.addresses, first.cached, first.age_ms) == ((MSC_A,), False, 0)
        clock.seconds += 299
        again = await memory.find(NUMBER)
        assert (again.cached, again.age_ms, again.stale) == (True, 299_000, False)
        assert memory.peek(IMSI) == again  # the register named the IMSI, so it is known too
        clock.seconds += 1
        assert memory.peek(NUMBER) is None
        await memory.find(NUMBER)
        assert len(register.asked) == 2

    run(scenario)


@pytest.mark.parametrize("status", [Status.ABSENT, Status.PURGED, Status.UNKNOWN])
def test_negative_answers_are_good_for_less(status: Status) -> None:
    async def scenario() -> None:
        memory, register, clock = made()
        register.serving, register.status = (), status
        assert (await memory.find(NUMBER)).affiliation.status is status
        clock.seconds += 19
        assert memory.peek(NUMBER) is not None
        clock.seconds += 1
        assert memory.peek(NUMBER) is None

    run(scenario)


def test_times_differ_by_their_jitter() -> None:
    async def scenario() -> None:
        memory, _, clock = made(jitter=0.1)
        for number in range(200):
            memory.learn(Affiliation(Status.ATTACHED, (MSC_A,), "x", clock.now_ms(), imsi=str(number)))
        clock.seconds += 269
        assert all(memory.peek(Who(imsi=str(number))) for number in range(200))
        clock.seconds += 31
        left = sum(memory.peek(Who(imsi=str(number))) is not None for number in range(200))
        assert 50 < left < 150
        clock.seconds += 31
        assert not any(memory.peek(Who(imsi=str(number))) for number in range(200))

    run(scenario)


def test_a_thousand_at_once_are_one_question() -> None:
    async def scenario() -> None:
        memory, register, _ = made()
        register.gate = asyncio.Event()
        asked = [asyncio.ensure_future(memory.find(NUMBER, link="a", deadline_s=LONG)) for _ in range(1000)]
        await soon_true(lambda: len(register.asked) == 1)
        register.gate.set()
        answers = await asyncio.gather(*asked)
        assert {found.affiliation.addresses for found in answers} == {(MSC_A,)}
        assert len(register.asked) == 1

    run(scenario)


def test_a_move_costs_one_more_question() -> None:
    """Acceptance row 9: a stale entry, a message from the new switch, one fresh question."""

    async def scenario() -> None:
        memory, register, clock = made()
        await memory.find(NUMBER)
        register.serving = (MSC_B,)
        clock.seconds += 100
        assert (await memory.find(NUMBER)).affiliation.addresses == (MSC_A,)
        fresh = await memory.find(NUMBER, fresh=True)
        assert fresh.affiliation.addresses == (MSC_B,)
        assert (fresh.affiliation.previous, fresh.affiliation.changed_at) == ((MSC_A,), clock.now_ms())
        assert [asked[1] for asked in register.asked] == [False, True]
        clock.seconds += 50
        later = await memory.find(NUMBER, fresh=True)
        assert later.affiliation.previous == (MSC_A,)
        assert later.affiliation.changed_at == clock.now_ms() - 50_000

    run(scenario)


def test_a_fresh_question_does_not_join_an_older_one() -> None:
    async def scenario() -> None:
        memory, register, _ = made()
        register.gate = asyncio.Event()
        old = asyncio.ensure_future(memory.find(NUMBER, deadline_s=LONG))
        await soon_true(lambda: len(register.asked) == 1)
        register.serving = (MSC_B,)
        new = [asyncio.ensure_future(memory.find(NUMBER, fresh=True, deadline_s=LONG)) for _ in range(3)]
        await soon_true(lambda: len(register.asked) == 2)
        register.gate.set()
        assert (await old).affiliation.addresses == (MSC_A,)
        assert {(await each).affiliation.addresses for each in new} == {(MSC_B,)}
        assert len(register.asked) == 2

    run(scenario)


def test_a_deadline_ends_the_waiting_and_not_the_question() -> None:
    async def scenario() -> None:
        memory, register, _ = made()
        register.gate = asyncio.Event()
        with pytest.raises(RegisterUnavailable, match="timeout"):
            await memory.find(NUMBER, deadline_s=0.01)
        register.gate.set()
        await soon_true(lambda: memory.peek(NUMBER) is not None)
        assert len(register.asked) == 1

    run(scenario)


def test_a_register_that_takes_too_long() -> None:
    async def scenario() -> None:
        memory, register, _ = made(timeout_s=0.02)
        register.gate = asyncio.Event()
        with pytest.raises(RegisterUnavailable, match="timeout"):
            await memory.find(NUMBER, deadline_s=LONG)
        with pytest.raises(RegisterUnavailable, match="timeout"):  # remembered: it is not asked at once again
            await memory.find(NUMBER)
        assert len(register.asked) == 1

    run(scenario)


FAILURES = [RegisterUnavailable("down"), ValueError("a bug"), OSError("gone"), TimeoutError(), KeyError("x")]


@pytest.mark.parametrize("failure", FAILURES)
def test_any_failure_is_unavailable_and_then_stale(failure: Exception) -> None:
    async def scenario() -> None:
        memory, register, clock = made()
        register.failure = failure
        with pytest.raises(RegisterUnavailable):
            await memory.find(NUMBER)
        clock.seconds += 2
        register.failure = None
        await memory.find(NUMBER)
        register.failure = failure
        clock.seconds += 400
        stale = await memory.find(NUMBER)
        assert (stale.stale, stale.cached, stale.affiliation.addresses) == (True, True, (MSC_A,))
        assert stale.failure in ("down", "timeout")
        assert stale.age_ms == 400_000
        clock.seconds += 3600
        with pytest.raises(RegisterUnavailable):
            await memory.find(NUMBER)

    run(scenario)


def test_a_failed_fresh_question_is_marked_stale_while_the_entry_is_good() -> None:
    async def scenario() -> None:
        memory, register, _ = made()
        await memory.find(NUMBER)
        register.failure = RegisterUnavailable("down")
        found = await memory.find(NUMBER, fresh=True)
        assert (found.stale, found.failure) == (True, "down")
        assert memory.peek(NUMBER) is not None

    run(scenario)


def test_a_flood_of_unknown_senders_holds_the_cap_of_its_link() -> None:
    async def scenario() -> None:
        memory, register, clock = made(link_rate=10, link_burst=20)
        reasons: list[str] = []
        for number in range(1000):
            clock.seconds += 0.01
            try:
                await memory.find(Who(str(447700000000 + number)), link="bad")
            except RegisterUnavailable as unavailable:
                reasons.append(unavailable.reason)
        assert len(register.asked) <= 20 + 10 * 10 + 1
        assert reasons == ["budget"] * (1000 - len(register.asked))
        await memory.find(Who("33100000000"), link="good")

    run(scenario)


def test_questions_in_flight_are_bounded() -> None:
    async def scenario() -> None:
        memory, register, _ = made(in_flight=2)
        register.gate = asyncio.Event()
        waiting = [asyncio.ensure_future(memory.find(Who(str(n)), deadline_s=LONG)) for n in range(2)]
        await soon_true(lambda: len(register.asked) == 2)
        with pytest.raises(RegisterUnavailable, match="busy"):
            await memory.find(Who("3"))
        register.gate.set()
        await asyncio.gather(*waiting)
        await memory.find(Who("3"))

    run(scenario)


def test_the_breaker_leaves_a_failing_register_alone() -> None:
    async def scenario() -> None:
        clock = Clock()
        register = Register(clock)
        breaker = Breaker(clock.monotonic, least=10, rest_s=5)
        memory = Affiliations(
            register,
            AffiliationSettings(timeout_s=30),
            now_ms=clock.now_ms,
            monotonic=clock.monotonic,
            breaker=breaker,
        )
        register.failure = OSError("gone")
        reasons: list[str] = []
        for number in range(30):
            try:
                await memory.find(Who(str(number)))
            except RegisterUnavailable as unavailable:
                reasons.append(unavailable.reason)
        assert reasons == ["down"] * 10 + ["breaker"] * 20
        register.failure = None
        clock.seconds += 5
        assert (await memory.find(Who("1234"))).affiliation.addresses == (MSC_A,)
        assert breaker.state is BreakerState.CLOSED

    run(scenario)


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory, _, clock = made(entries=10)
    for number in range(25):
        memory.learn(Affiliation(Status.ATTACHED, (MSC_A,), "x", clock.now_ms(), imsi=f"{number:05}"))
    assert len(memory) == 10
    assert memory.peek(Who(imsi="00024")) is not None
    assert memory.peek(Who(imsi="00014")) is None


# --------------------------------------------------------------------------------------------------- learning


def test_what_a_switch_tells() -> None:
    told: list[Affiliation] = []
    memory, _, clock = made()
    memory.watch(told.append)

    def learn(
        *addresses: SwitchAddress, status: Status = Status.ATTACHED, about: set[ServedBy] | None = None
    ):
        new = Affiliation(status, addresses, "gsup", clock.now_ms(), IMSI.imsi)
        return memory.learn(new) if about is None else memory.learn(new, about)

    memory.learn(Affiliation(Status.ATTACHED, (MSC_A, MME), "hss", clock.now_ms(), IMSI.imsi, NUMBER.msisdn))
    clock.seconds += 10
    moved = learn(MSC_B, about={ServedBy.MSC})
    assert set(moved.addresses) == {MSC_B, MME}
    assert (moved.previous, moved.changed_at, moved.msisdn) == ((MSC_A,), clock.now_ms(), NUMBER.msisdn)
    found = memory.peek(NUMBER)  # the number goes where its IMSI goes
    assert found is not None
    assert found.affiliation == moved
    clock.seconds += 10
    learn(MSC_B, about={ServedBy.MSC})
    gone = learn(status=Status.PURGED, about={ServedBy.MSC})
    assert (gone.status, gone.addresses, gone.previous) == (Status.ATTACHED, (MME,), (MSC_B,))
    nowhere = learn(status=Status.PURGED)
    assert (nowhere.status, nowhere.addresses, nowhere.previous) == (Status.PURGED, (), (MME,))
    assert [each.addresses for each in told] == [(MSC_A, MME), moved.addresses, (MME,), ()]
    assert memory.forget(IMSI)
    assert not memory.forget(IMSI)
    assert memory.peek(NUMBER) is None


def test_a_claimed_pair_is_never_remembered() -> None:
    """A register that answers about the IMSI says nothing about the number beside it in the question."""

    async def scenario() -> None:
        memory, register, _ = made()

        async def lookup(who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
            return Affiliation(Status.ATTACHED, (MSC_B,), "hss", 0, who.imsi)

        register.lookup = lookup  # pyright: ignore[reportAttributeAccessIssue]
        await memory.find(Who("447700900456", "001010000000666"))
        assert memory.peek(Who("447700900456")) is None

    run(scenario)


answers = st.one_of(
    st.sampled_from([(), (MSC_A,), (MSC_B,), (MSC_A, MME)]),
    st.sampled_from(FAILURES),
)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 30, 400, 4000]), answers, st.booleans()), max_size=12))
def test_failures_never_invent_a_switch(steps: list[tuple[int, object, bool]]) -> None:
    """Whatever fails and when: an answer that is not stale is one that the register gave, at the time it says."""

    async def scenario() -> None:
        memory, register, clock = made()
        given_out: dict[int, tuple[SwitchAddress, ...]] = {}
        for wait, answer, fresh in steps:
            clock.seconds += wait + 1
            register.failure = answer if isinstance(answer, Exception) else None
            if isinstance(answer, tuple):
                register.serving = answer
            asked = len(register.asked)
            try:
                found = await memory.find(NUMBER, fresh=fresh)
            except RegisterUnavailable:
                assert isinstance(answer, Exception) or len(register.asked) == asked
                continue
            finally:
                if len(register.asked) > asked and register.failure is None:
                    given_out[clock.now_ms()] = register.serving
            assert found.affiliation.addresses == given_out[found.affiliation.observed_at]
            assert found.age_ms == clock.now_ms() - found.affiliation.observed_at
            if fresh and not found.stale:
                assert found.age_ms == 0
            if not found.stale and not found.cached:
                assert found.affiliation.addresses == register.serving

    asyncio.run(scenario())


# ----------------------------------------------------------------------------------------------- a real register


def test_a_real_osmo_hlr(osmo_hlr: Daemon) -> None:
    """Unknown, absent, served, moved, purged, frozen, gone, back: none of it raises anything but unavailable."""

    async def scenario() -> None:
        clock = Clock()
        ctrl = Ctrl(osmo_hlr.address, osmo_hlr.ctrl_port, stall_s=0.2, backoff=Backoff(0.02, 0.05))
        ctrl.open()
        await soon_true(lambda: ctrl.connected)
        memory = Affiliations(
            OsmoHlr(ctrl, now_ms=clock.now_ms),
            AffiliationSettings(timeout_s=10, failure_ttl_s=0),
            now_ms=clock.now_ms,
            monotonic=clock.monotonic,
        )

        async def status(who: Who) -> Status:
            return (await memory.find(who, fresh=True)).affiliation.status

        assert await status(IMSI) is Status.UNKNOWN
        assert await status(NUMBER) is Status.UNKNOWN
        await ctrl.set("subscriber.create", IMSI.imsi, 10)
        await ctrl.set(f"subscriber.by-imsi-{IMSI.imsi}.msisdn", NUMBER.msisdn, 10)
        assert await status(NUMBER) is Status.ABSENT

        for name in ("MSC-A", "MSC-B"):
            switch = await GsupSwitch.connect(name, osmo_hlr.address, osmo_hlr.gsup_port)
            await switch.attach(IMSI.imsi)
            found = await memory.find(NUMBER, fresh=True)
            assert found.affiliation.addresses == (address(AddressType.IPA_NAME, name, ServedBy.MSC),)
            assert found.affiliation.imsi == IMSI.imsi
        assert found.affiliation.previous == (MSC_A,)
        assert found.affiliation.changed_at == clock.now_ms()
        await switch.purge(IMSI.imsi)
        purged = await memory.find(IMSI, fresh=True)
        assert (purged.affiliation.status, purged.affiliation.previous) == (Status.PURGED, (MSC_B,))

        osmo_hlr.freeze()
        late = await memory.find(NUMBER, fresh=True, deadline_s=0.05)
        assert (late.stale, late.failure) == (True, "timeout")
        osmo_hlr.stop()
        await soon_true(lambda: not ctrl.connected)
        gone = await memory.find(NUMBER, fresh=True)
        assert (gone.stale, gone.failure) == (True, "down")
        with pytest.raises(RegisterUnavailable, match="down"):
            await memory.find(Who("447700900999"))
        await asyncio.to_thread(osmo_hlr.start)

        async def back() -> bool:
            return not (await memory.find(NUMBER, fresh=True)).stale

        clock.seconds += 60  # whatever the breaker thought, its rest is over
        await soon(back)
        await ctrl.close()

    run(scenario)


def test_the_replaced_answer_is_another_object() -> None:
    """Answers are values: nobody who holds one sees it change."""
    memory, _, clock = made()
    first = memory.learn(Affiliation(Status.ATTACHED, (MSC_A,), "x", clock.now_ms(), IMSI.imsi))
    memory.learn(replace(first, addresses=(MSC_B,)))
    assert first.addresses == (MSC_A,)
