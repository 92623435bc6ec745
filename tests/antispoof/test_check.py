"""The check: memory, rechecks, deadlines, budgets, policies and the fall-back; and a simulated week of handovers."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoof_center import ANNA, DOWN, A, B, Bench, C, a_message, a_policy, book

from restante.antispoof.policy import Policies
from restante.check import ACCEPT, Action, Stage
from restante.message import Role
from restante.signaling.registers import RegisterUnavailable, Status
from restante.smsc.smpp import tlv
from restante.smsc.smpp.command_status import CommandStatus

DIGITS = ANNA[1:]
ALL = Policies([a_policy(sample=1)])


def on_bench(test: Callable[[Bench], Awaitable[None]], **more: Any) -> None:
    async def main() -> None:
        bench = Bench(policies=more.pop("policies", ALL), **more)
        bench.register.serving[DIGITS] = A
        await test(bench)

    asyncio.run(main())


def test_the_usual_message_is_let_pass_at_once() -> None:
    async def main(bench: Bench) -> None:
        bench.policies = Policies([a_policy()])
        assert await bench.verdict() is ACCEPT
        for _ in range(100):
            assert bench.at_once() is ACCEPT
        assert len(bench.register.asked) == 1

    on_bench(main)


def test_a_stale_memory_is_asked_about_once_and_clears_the_sender() -> None:
    async def main(bench: Bench) -> None:
        assert await bench.conclusion(A) == ("genuine", "exact")
        bench.register.serving[DIGITS] = B
        assert await bench.conclusion(B) == ("genuine", "exact")
        assert [fresh for _, fresh in bench.register.asked] == [False, True]
        assert bench.records[-1]["rechecked"] is True
        assert await bench.conclusion(A) == ("genuine", "grace")
        bench.clock.seconds += 91
        assert await bench.conclusion(A) == ("spoofed", "switch_mismatch")
        assert len(bench.register.asked) == 3

    on_bench(main)


def test_the_refused_message_leaves_all_facts() -> None:
    async def main(bench: Bench) -> None:
        bench.said = book({"one": [A], "two": [B]})
        bench.register.imsis[DIGITS] = "001010000000001"
        verdict = await bench.verdict(B, imsi="001010000000001")
        assert (verdict.action, verdict.status) == (Action.REJECT, CommandStatus.ESME_RINVSRCADR)
        (facts,) = bench.records
        expected = {
            "sender": ANNA,
            "trusted": B,
            "trusted_switch": "two",
            "register": "register",
            "register_status": "attached",
            "imsi": "001010000000001",
            "imsi_of_register": "001010000000001",
            "policy": "spo_1",
            "policy_version": 1,
            "enforced": True,
            "action": "reject",
            "status": CommandStatus.ESME_RINVSRCADR,
            "fresh": True,
            "cached": False,
            "stale": False,
        }
        assert {name: facts[name] for name in expected} == expected
        assert [(one["address"], one["switch"]) for one in facts["affiliated"]] == [(A, "one")]
        assert {"latency_us", "register_age_ms", "rechecked", "peer", "sender_raw"} <= facts.keys()

    on_bench(main)


@pytest.mark.parametrize(
    "failure", [DOWN, RegisterUnavailable("refused"), ValueError("a bug"), TimeoutError()]
)
def test_a_register_that_fails_accuses_nobody(failure: Exception) -> None:
    async def main(bench: Bench) -> None:
        bench.register.failure = failure
        assert (await bench.conclusion(B))[0] == "unverifiable"
        bench.register.failure = None
        bench.clock.seconds += 5
        assert (await bench.conclusion(B)) == ("spoofed", "switch_mismatch")

    on_bench(main)


def test_a_register_that_fails_at_the_recheck() -> None:
    async def main(bench: Bench) -> None:
        assert await bench.conclusion(A) == ("genuine", "exact")
        bench.register.failure = DOWN
        assert await bench.conclusion(B) == ("unverifiable", "register_down")
        bench.clock.seconds += 400  # what memory had is stale now: it may acquit
        assert await bench.conclusion(A) == ("genuine", "exact")
        assert (await bench.conclusion(B))[0] == "unverifiable"

    on_bench(main)


def test_a_register_that_does_not_answer_in_time() -> None:
    async def main() -> None:
        bench = Bench(policies=ALL, settings={"deadline_ms": 10})
        bench.check._monotonic_ns = time.monotonic_ns
        bench.register.gate = asyncio.Event()
        assert await bench.conclusion() == ("unverifiable", "timeout")

    asyncio.run(main())


def test_a_thousand_at_once_ask_once() -> None:
    async def main(bench: Bench) -> None:
        bench.register.gate = asyncio.Event()
        waiting = [asyncio.ensure_future(bench.at_once()) for _ in range(1000)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        bench.register.gate.set()
        await asyncio.gather(*waiting)
        assert len(bench.register.asked) == 1

    on_bench(main)


def test_a_flood_of_unknown_senders_holds_the_cap() -> None:
    async def main(bench: Bench) -> None:
        reasons: Counter[str] = Counter()
        for number in range(2000):
            bench.clock.seconds += 0.001
            reasons[(await bench.conclusion(sender=f"+44770{number:07}"))[1]] += 1
        assert len(bench.register.asked) <= 50 + 10 * 2 + 1
        assert reasons["budget"] >= 1900
        assert (await bench.conclusion(C, account=2))[0] == "spoofed"  # another link is not affected

    on_bench(main, affiliation_settings={"link_rate": 10, "link_burst": 50})


def test_memory_ends_with_what_it_rests_on() -> None:
    async def main(bench: Bench) -> None:
        await bench.verdict(A)
        assert bench.at_once(A) is not None
        bench.said = book(ported=[{"number": ANNA}])
        bench.check.forget()
        assert await bench.conclusion(A) == ("unverifiable", "off_net")
        bench.said = book()
        bench.check.forget()
        assert await bench.conclusion(A) == ("genuine", "exact")
        bench.register.serving[DIGITS] = B
        bench.clock.seconds += 301  # the time to live: the register is asked again
        assert await bench.conclusion(A) == ("genuine", "grace")

    on_bench(main)


def test_one_verdict_for_all_parts() -> None:
    async def main(bench: Bench) -> None:
        whole: dict[str, Any] = {"part_total": 3, "part_reference": 9}
        assert await bench.conclusion(B, part_number=1, **whole) == ("spoofed", "switch_mismatch")
        bench.register.serving[DIGITS] = B
        assert await bench.conclusion(B, part_number=2, **whole) == ("spoofed", "switch_mismatch")
        bench.clock.seconds += 61
        assert await bench.conclusion(B, part_number=3, **whole) == ("genuine", "exact")

    on_bench(main)


@pytest.mark.parametrize(
    ("action", "expected", "status"),
    [
        ("accept", Action.ACCEPT, 0),
        ("flag", Action.FLAG, 0),
        ("quarantine", Action.QUARANTINE, 0),
        ("reject", Action.REJECT, 0x0A),
        ("drop", Action.DROP, 0),
    ],
)
def test_what_a_policy_does(action: str, expected: Action, status: int) -> None:
    rules = [{"verdict": "spoofed", "reason": "switch_mismatch", "action": action}]

    async def main(bench: Bench) -> None:
        verdict = await bench.verdict(B)
        assert (verdict.action, verdict.status, verdict.enforced) == (expected, status, True)
        if expected is Action.FLAG:
            assert tlv.parse(verdict.tlvs) == [(0x1552, b"spoofed/switch_mismatch\0")]
        if expected is Action.QUARANTINE:
            assert verdict.until == bench.clock.now_ms() + 3_600_000
        bench.policies = Policies([a_policy(rules=rules, mode="monitor")])
        verdict = await bench.verdict(C)
        assert (verdict.action, verdict.enforced, verdict.counts) == (expected, False, False)

    on_bench(main, policies=Policies([a_policy(rules=rules, quarantine_s=3600)]))


def test_a_throttle_lets_some_pass_flagged() -> None:
    rules = [{"verdict": "spoofed", "action": "throttle"}]

    async def main(bench: Bench) -> None:
        actions = [(await bench.verdict(B)).action for _ in range(5)]
        assert actions == [Action.FLAG] * 2 + [Action.THROTTLE] * 3
        bench.clock.seconds += 30
        assert (await bench.verdict(B)).action is Action.FLAG

    on_bench(main, policies=Policies([a_policy(rules=rules, throttle_per_minute=2)]))


def test_the_built_in_policy_watches() -> None:
    async def main(bench: Bench) -> None:
        verdict = await bench.verdict(B)
        assert (verdict.action, verdict.enforced) == (Action.REJECT, False)
        outside = await bench.verdict("", role=Role.INTERCONNECT)
        assert (outside.action, outside.enforced) == (Action.QUARANTINE, False)

    on_bench(main, policies=Policies())


def test_a_share_that_jumps_falls_back_and_comes_back() -> None:
    async def main(bench: Bench) -> None:
        for _ in range(9):
            assert (await bench.verdict(B)).enforced
        fallen = await bench.verdict(B)
        assert not fallen.enforced
        assert bench.check.fall_back.listed(bench.clock.now_ms()).keys() == {"acc1"}
        other = await bench.verdict(B, account=2)
        assert other.enforced  # another link has a share of its own
        bench.clock.seconds += 901
        assert (await bench.verdict(C)).enforced
        bench.policies = Policies([a_policy(fall_back_share=0, sample=1)])
        bench.check.fall_back.reset("acc1")
        for _ in range(200):
            assert (await bench.verdict(B)).enforced

    on_bench(main, policies=Policies([a_policy(fall_back_least=10, fall_back_s=900)]))


def test_honest_traffic_keeps_a_policy_acting() -> None:
    """What memory lets pass counts too."""

    async def main(bench: Bench) -> None:
        for _ in range(300):
            await bench.verdict(A)
        for _ in range(100):
            assert (await bench.verdict(B)).enforced

    on_bench(main, policies=Policies([a_policy(fall_back_least=10)]))


def test_one_in_so_many_genuine_messages_leaves_evidence() -> None:
    async def main(bench: Bench) -> None:
        for _ in range(1000):
            await bench.verdict(A)
        assert len(bench.records) == 10
        assert {one["verdict"] for one in bench.records} == {"genuine"}

    on_bench(main, policies=Policies([a_policy(sample=100)]))


def test_unknown_switches_are_noticed() -> None:
    async def main(bench: Bench) -> None:
        await bench.verdict("ipa_name:MSC-X")
        assert ("ipa_name:MSC-X", "trusted") in bench.inbox.seen
        assert (A, "affiliated") in bench.inbox.seen

    on_bench(main)


def test_what_was_judged_already_is_not_judged_again() -> None:
    async def main(bench: Bench) -> None:
        again = bench.check.examine(a_message(id=7), bench.ingress(B), Stage.SUBMIT)
        assert again is ACCEPT
        own = bench.check.examine(a_message(), bench.ingress("", Role.SYSTEM), Stage.SUBMIT)
        assert own is ACCEPT

    on_bench(main)


FAILURES = ("down", "busy", "refused", "no-register", "bug", "absent", "unknown", "foreign", "")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([A, B]), st.sampled_from(FAILURES), st.floats(0, 400)),
        min_size=1,
        max_size=12,
    )
)
def test_no_failure_of_a_register_makes_a_spoofer(steps: list[tuple[str, str, float]]) -> None:
    """Whatever fails in whatever order: without an answer that names another switch now, nobody is accused."""

    async def main() -> None:
        bench = Bench(policies=Policies([a_policy(fall_back_share=0, sample=1)]))
        bench.register.serving[DIGITS] = A
        for trusted, failure, pause in steps:
            bench.clock.seconds += pause
            bench.register.failure = None
            bench.register.authoritative = failure != "foreign"
            bench.register.serving[DIGITS] = A
            if failure == "bug":
                bench.register.failure = ZeroDivisionError()
            elif failure in ("absent", "unknown"):
                bench.register.serving[DIGITS] = Status(failure)
            elif failure not in ("", "foreign"):
                bench.register.failure = RegisterUnavailable(failure)
            before = len(bench.register.asked)
            verdict, _ = await bench.conclusion(trusted)
            if verdict == "spoofed":
                assert trusted == B
                assert failure == ""
                assert len(bench.register.asked) > before

    asyncio.run(main())


def simulated(*, moves_a_day: int, messages: int, seed: int, **policy: Any) -> Counter[tuple[str, str]]:
    """Honest subscribers who move and send (notes/antispoof.md 4): Poisson moves, a register that learns of a move
    after 0.2 to 1.5 s, 0.05 to 0.8 s on the way, 1 % of messages retransmitted after 5 to 60 s."""

    async def main() -> Counter[tuple[str, str]]:
        draw = random.Random(seed)
        given = {"sample": 1, "fall_back_share": 0, **policy}
        bench = Bench(policies=Policies([a_policy(**given)]), affiliation_settings={"entries": 100_000})
        seen: Counter[tuple[str, str]] = Counter()
        rate = moves_a_day / 86_400
        for number in range(messages // 400):
            digits = f"4477009{number:05}"
            now = bench.clock.seconds
            switch, moved_at = "ipa_name:S0", now - 1000.0
            committed = switch
            bench.register.serving[digits] = switch
            next_move = now + draw.expovariate(rate)
            for _ in range(400):
                now += draw.expovariate(1 / 180)
                while next_move <= now:
                    committed = switch
                    switch = f"ipa_name:S{draw.randrange(1, 50)}"
                    moved_at = next_move + draw.uniform(
                        0.2, 1.5
                    )  # until then the register has the one before
                    next_move += draw.expovariate(rate)
                # A handset can send when its location update is done.
                sent_from = switch if now >= moved_at else committed
                arrives = now + draw.uniform(0.05, 0.8)
                if draw.random() < 0.01:
                    arrives += draw.uniform(5, 60)
                if next_move <= arrives:  # it moves while the message is on its way
                    bench.register.serving[digits] = switch
                    after = f"ipa_name:S{draw.randrange(1, 50)}"
                    if next_move + 0.2 <= arrives:
                        committed, switch, moved_at = switch, after, next_move
                        bench.register.serving[digits] = after
                        next_move = arrives + draw.expovariate(rate)
                else:
                    bench.register.serving[digits] = switch if arrives >= moved_at else committed
                bench.clock.seconds = max(bench.clock.seconds, arrives)
                seen[await bench.conclusion(sent_from, f"+{digits}")] += 1
            bench.clock.seconds = now
        return seen

    return asyncio.run(main())


@pytest.mark.parametrize("moves_a_day", [8, 40])
def test_no_honest_sender_is_accused_in_a_simulated_week(cap: Any, moves_a_day: int) -> None:
    """With recheck and grace nobody is; without grace some are, so the simulation can tell."""
    messages = cap(16_000, 400_000)
    seen = simulated(moves_a_day=moves_a_day, messages=messages, seed=moves_a_day)
    assert sum(seen.values()) == messages
    assert not {reason for (verdict, reason) in seen if verdict == "spoofed"}, seen
    if moves_a_day == 40:
        assert seen["genuine", "grace"] > 0
        without = simulated(moves_a_day=40, messages=messages, seed=40, grace_s=0)
        assert without["spoofed", "switch_mismatch"] > 0
