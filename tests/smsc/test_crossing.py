"""What is put off here while its outlet comes back at another node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from restante.outlet import ErrorClass, Outcome, Outlet, Result
from restante.smsc.crossing import OUT_OF_REACH, Crossing
from restante.smsc.lanes import Lane, Task
from restante.smsc.recording import Recording
from restante.smsc.routing import Lead


class Bystanders:
    """The desk and the pump: what they are told."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.roused: list[str] = []
        self.nudges = 0

    def want(self, recipient: str) -> None:
        self.wanted.append(recipient)

    def rouse(self, recipient: str) -> None:
        self.roused.append(recipient)

    def nudge(self) -> None:
        self.nudges += 1


def test_the_news_that_an_outlet_is_back_may_come_before_or_after_the_record_that_it_was_not() -> None:
    there, places = Bystanders(), set[str]()
    nothing: Any = SimpleNamespace(clock=None)
    recording = Recording(
        cast("Any", there), nothing, nothing, receipts=nothing, recipients=nothing, pump=cast("Any", there),
        horizon_s=60,
    )  # fmt: skip
    recording.cross_with(
        lambda message, state, outcome: None, lambda outlet, recipient: outlet.name in places
    )
    shop, bank = (cast("Outlet", SimpleNamespace(name=name)) for name in ("shop", "bank"))
    recording._look_again(shop, "=1")
    recording._look_again(bank, "=2")
    recording.look_for_the_missing()  # some other outlet came or went
    assert (there.wanted, there.nudges) == ([], 0)
    places.add("shop")
    recording.look_for_the_missing()
    recording.look_for_the_missing()
    assert (there.wanted, there.roused, there.nudges) == (["=1"], ["=1"], 1), "once"
    recording._look_again(shop, "=3")  # the news was here first
    assert (there.wanted, there.roused) == (["=1", "=3"], ["=1", "=3"])
    recording.look_for_the_missing()
    assert there.wanted == ["=1", "=3"]


def test_what_only_another_node_can_hand_over_is_passed_on_after_the_register_has_spoken() -> None:
    ours, theirs = 1, 2
    home, passed = [theirs], list[tuple[int, int]]()
    store: Any = SimpleNamespace(epoch=ours, clock=SimpleNamespace(now_ms=lambda: 1000))
    desk: Any = SimpleNamespace(give_with=lambda hook: None, watcher=lambda id: None)
    recording: Any = SimpleNamespace(
        cross_with=lambda *hooks: None, commit=lambda lane, task, change, stored: stored()
    )
    recipients: Any = SimpleNamespace(clock_stopped=lambda number: ())
    handover: Any = SimpleNamespace(
        place=lambda outlet, recipient: home[0],
        hand=lambda epoch, id, note, ended: passed.append((epoch, id)),
    )
    crossing = Crossing(desk, recording, store, recipients, handover)
    message: Any = SimpleNamespace(id=7, recipient="+447700900001")
    task, lane = Task(message), Lane("+447700900001")
    task.lead = Lead("route", cast("Outlet", SimpleNamespace(name="switch")))
    elsewhere = Outcome(Result.FAILED, ErrorClass.SYSTEM, reason=OUT_OF_REACH)
    assert not crossing.misplaced(lane, task, Outcome(Result.FAILED, ErrorClass.ABSENT, reason="absent"))
    for nowhere_else in (0, ours):
        home[0] = nowhere_else
        assert not crossing.misplaced(lane, task, elsewhere)
    assert passed == []
    home[0] = theirs
    assert crossing.misplaced(lane, task, elsewhere)
    assert (passed, lane.flying) == ([(theirs, 7)], 0)
