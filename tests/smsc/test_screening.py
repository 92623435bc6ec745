"""Running the checks: order, waiting, broken ones, and what is recorded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from message_path import OneCheck, a_draft

from restante.check import ACCEPT, Action, Stage, Verdict
from restante.message import Ingress, Kind, Role
from restante.smsc.screening import Finding, Screening, evidence_events

INGRESS = Ingress("smpp", 1, Role.ESME, "shop")


def run(*checks: OneCheck, stage: Stage = Stage.SUBMIT, after: str = "", **draft: Any) -> Finding:
    """What the chain says; the callback comes exactly once."""

    async def main() -> Finding:
        screening = Screening(checks, timeout_s=0.05)
        said: list[Finding] = []
        screening.examine(a_draft(**draft), INGRESS, stage, said.append, after)
        while screening.waiting:
            await asyncio.sleep(0)
        assert len(said) == 1
        return said[0]

    return asyncio.run(main())


def one(name: str, action: Action = Action.ACCEPT, *, slow: bool = False, **more: Any) -> OneCheck:
    check = OneCheck(name)
    verdict = check.verdict(action, **more) if action is not Action.ACCEPT else ACCEPT

    async def later() -> Verdict:
        await asyncio.sleep(0)
        return verdict

    check.says = lambda message, stage: later() if slow else verdict
    return check


@pytest.mark.parametrize("slow", [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_the_strongest_wins_and_all_evidence_is_kept(slow):
    actions = [Action.FLAG, Action.HOLD, Action.DIVERT]
    checks = [one(f"c{n}", action, slow=n in slow) for n, action in enumerate(actions)]
    finding = run(*checks)
    assert (finding.verdict.action, finding.verdict.check) == (Action.HOLD, "c1")
    assert [verdict.check for verdict in finding.evidence] == ["c0", "c1", "c2"]


@pytest.mark.parametrize("slow", [False, True])
def test_a_reject_ends_the_chain(slow):
    last = one("last")
    finding = run(one("flag", Action.FLAG), one("no", Action.REJECT, slow=slow), last)
    assert finding.verdict.check == "no"
    assert last.asked == []
    assert [verdict.check for verdict in finding.evidence] == ["flag", "no"]


def test_a_reject_in_monitor_mode_does_not_end_it():
    last = one("last", Action.FLAG)
    finding = run(one("no", Action.REJECT, enforced=False), last)
    assert finding.verdict.check == "last"
    assert len(finding.evidence) == 2


def test_without_a_word_there_is_no_evidence_and_no_object_is_made():
    assert run(one("a"), one("b")) is run(one("a"))
    assert run() == Finding(ACCEPT)


def test_an_accept_with_evidence_is_kept():
    finding = run(one("a"), one("b", Action.FLAG, evidence={"distance_m": 12}))
    assert finding.evidence[0].evidence == {"distance_m": 12}
    check = OneCheck("c")
    check.says = lambda message, stage: Verdict(check="c", evidence={"zone": "home"})
    finding = run(check)
    assert (finding.verdict.action, len(finding.evidence)) == (Action.ACCEPT, 1)


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("how", ["raises", "raises-later", "never", "cancelled"])
def test_a_broken_check_is_seen_and_eats_nothing(how, position):
    broken = OneCheck("broken")

    async def later() -> Verdict:
        raise RuntimeError("a bug")

    async def never() -> Verdict:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def cancelled() -> Verdict:
        raise asyncio.CancelledError

    def says(message: Any, stage: Stage) -> Any:
        if how == "raises":
            raise RuntimeError("a bug")
        return {"raises-later": later, "never": never, "cancelled": cancelled}[how]()

    broken.says = says
    last = one("last", Action.HOLD, slow=True)
    checks = [broken, last] if position == 0 else [one("first", slow=True), broken, last]
    finding = run(*checks)
    assert finding.verdict.check == "last"
    flagged = finding.evidence[0]
    assert (flagged.action, flagged.check, flagged.reason) == (Action.FLAG, "broken", "check-failed")
    expected = {"never": "timeout", "cancelled": "cancelled"}.get(how, "RuntimeError")
    assert flagged.evidence == {"failure": expected}


def test_each_stage_has_its_own_chain():
    submit, attempt = OneCheck("s"), OneCheck("a", stages=[Stage.ATTEMPT])
    screening = Screening([submit])
    assert screening.has(Stage.SUBMIT)
    assert not screening.has(Stage.ATTEMPT)
    run(submit, attempt, stage=Stage.ATTEMPT)
    assert (submit.asked, len(attempt.asked)) == ([], 1)


def test_a_chain_resumes_behind_the_check_that_stopped_it():
    checks = [one("a"), one("b"), one("c")]
    run(*checks, after="b")
    assert [len(check.asked) for check in checks] == [0, 0, 1]
    run(*checks, after="c")
    assert [len(check.asked) for check in checks] == [0, 0, 1]
    run(*checks, after="gone")
    assert [len(check.asked) for check in checks] == [1, 1, 2], "a check that is gone: all are asked"


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind != Kind.MESSAGE])
def test_system_messages_are_never_examined(kind):
    check = one("a", Action.REJECT)
    assert run(check, kind=kind).verdict is ACCEPT
    assert check.asked == []


def test_two_checks_may_not_share_a_name():
    with pytest.raises(ValueError, match="same name"):
        Screening([OneCheck("a"), OneCheck("a")])


def test_closing_gives_waiting_checks_up_without_an_answer():
    async def main() -> None:
        check = OneCheck("a")

        async def never() -> Verdict:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        check.says = lambda message, stage: never()
        screening = Screening([check])
        said: list[Finding] = []
        screening.examine(a_draft(), INGRESS, Stage.SUBMIT, said.append)
        await asyncio.sleep(0)
        await screening.close()
        assert (said, screening.waiting) == ([], 0)

    asyncio.run(main())


def test_evidence_names_check_action_mode_and_stage():
    finding = run(
        one("a", Action.FLAG, evidence={"check": "not me", "at": {1, 2} and "x"}),
        one("b", Action.REJECT, enforced=False),
    )
    events = evidence_events(a_draft(id=7, account=3), finding, Stage.SUBMIT, at=99, node=5)
    assert [(e.message, e.at, e.account, e.node, e.reason) for e in events] == [
        (7, 99, 3, 5, "a-says"),
        (7, 99, 3, 5, "b-says"),
    ]
    first, second = (json.loads(e.detail) for e in events)
    assert (first["check"], first["action"], first["mode"], first["stage"]) == (
        "a",
        "flag",
        "enforce",
        "submit",
    )
    assert first["evidence"] == {"check": "not me", "at": "x"}
    assert (second["action"], second["mode"]) == ("reject", "monitor")
