"""At which node a handset is tried, when nodes have switches of their own."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

from restante.outlet import Outlet
from restante.smsc.neighbours import RIPE_MS, Neighbours

OURS, THEIRS, OTHERS = 1, 2, 3  # epochs
NOW, LONG_AGO = 1_000_000, 1_000
PHONE = "+447700900001"


class Handsets:
    """The outlet of all handsets, and who serves whom."""

    name = "switch"
    handset = True

    def __init__(self) -> None:
        self.here: list[str] = []
        self.serve: dict[str, list[str]] = {}

    def reachable(self) -> bool:
        return bool(self.here)

    def places(self) -> Iterable[str]:
        return [f"switch {name}" for name in self.here]

    def places_of(self, recipient: str) -> Iterable[str]:
        return [f"switch {name}" for name in self.serve.get(recipient, ())]


def picture(handsets: Handsets, **there: list[str]) -> Neighbours:
    """This node, which has said what it reaches, and `theirs` and `others`, which reach what is given."""
    store = SimpleNamespace(epoch=OURS, clock=SimpleNamespace(now_ms=lambda: NOW))
    made = Neighbours(
        cast("Any", store), cast("Any", None), outlets=tuple[Outlet, ...], switches=handsets, dead_after_ms=1
    )
    made.alone = False
    if handsets.here:
        made._mine = dict.fromkeys(("switch", *handsets.places()), (LONG_AGO, True))
    for epoch, names in ((THEIRS, there.get("theirs", [])), (OTHERS, there.get("others", []))):
        if names:
            said = ["switch", *(f"switch {name}" for name in names)]
            made._said[epoch] = dict.fromkeys(said, LONG_AGO)
    made._rebuild()
    return made


def place(neighbours: Neighbours, handsets: Handsets) -> int:
    return neighbours.place(cast("Outlet", handsets), PHONE)


def test_a_handset_is_tried_where_its_switch_is() -> None:
    handsets = Handsets()
    handsets.here = ["A"]
    neighbours = picture(handsets, theirs=["B"], others=["C", "D"])
    for switches, epochs in (
        (["A"], {OURS}),
        (["B"], {THEIRS}),
        (["D"], {OTHERS}),
        (["A", "C"], {OURS, OTHERS}),  # a phone with two: either
        (["Z"], {OURS, THEIRS, OTHERS}),  # nobody reaches it: as if it were not known
        ([], {OURS, THEIRS, OTHERS}),
    ):
        handsets.serve[PHONE] = switches
        assert place(neighbours, handsets) in epochs, switches


def test_without_a_switch_here_the_others_have_it() -> None:
    handsets = Handsets()
    assert place(picture(handsets, theirs=["B"]), handsets) == THEIRS
    assert place(picture(handsets), handsets) == 0, "nobody has any"


def test_a_switch_that_left_just_now_is_not_here_any_more() -> None:
    handsets = Handsets()
    handsets.here, handsets.serve[PHONE] = ["A"], ["A"]
    neighbours = picture(handsets)
    assert place(neighbours, handsets) == OURS
    handsets.here = []
    assert place(neighbours, handsets) == 0


def test_a_switch_that_came_just_now_counts_where_no_other_leads_there() -> None:
    handsets = Handsets()
    handsets.serve[PHONE] = ["B"]
    neighbours = picture(handsets, theirs=["B"], others=["B"])
    neighbours._said[THEIRS]["switch B"] = NOW - RIPE_MS + 1
    neighbours._there = {}
    neighbours._rebuild()
    assert place(neighbours, handsets) == OTHERS
    del neighbours._said[OTHERS]
    neighbours._rebuild()
    assert place(neighbours, handsets) == THEIRS
    handsets.serve.clear()
    handsets.here = ["A"]  # and nobody was told of it yet
    assert place(neighbours, handsets) == THEIRS
