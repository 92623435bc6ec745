"""What is put off here while its outlet comes back at another node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from restante.outlet import Outlet
from restante.smsc.recording import Recording


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
