"""Requests that come again, on a stepped clock."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from restante.signaling.diameter.codec import Avp
from restante.signaling.diameter.duplicates import MOST_WAITING, Duplicates, Mark
from restante.signaling.diameter.short_messages import experimental, success

ONE, OTHER = Mark("mme.home.net", "s;1", 7), Mark("mme2.home.net", "s;1", 7)
ANSWER = (success(),)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Replies(list[Sequence[Avp] | None]):
    """What a requester heard."""

    def __call__(self, answer: Sequence[Avp] | None) -> None:
        self.append(answer)


def test_an_answer_is_given_again() -> None:
    known, heard = Duplicates(monotonic=Clock()), Replies()
    assert known.is_new(ONE, heard)
    assert known.is_new(OTHER, heard)  # the same numbers of another host
    known.ended(ONE, ANSWER)
    assert heard == []
    assert not known.is_new(ONE, heard)
    assert heard == [ANSWER]


def test_who_asks_in_between_hears_it_when_it_is_there() -> None:
    known, heard = Duplicates(monotonic=Clock()), Replies()
    assert known.is_new(ONE, heard)
    assert [known.is_new(ONE, heard) for _ in range(MOST_WAITING + 1)] == [False] * (MOST_WAITING + 1)
    assert heard == [None]  # one too many
    known.ended(ONE, ANSWER)
    assert heard == [None, *[ANSWER] * MOST_WAITING]


def test_what_has_no_answer_is_worked_on_anew() -> None:
    known, heard = Duplicates(monotonic=Clock()), Replies()
    assert known.is_new(ONE, heard)
    assert not known.is_new(ONE, heard)
    known.ended(ONE, None)
    assert heard == [None]
    assert known.is_new(ONE, heard)


def test_what_is_old_is_forgotten() -> None:
    clock = Clock()
    known, heard = Duplicates(keep_s=240, monotonic=clock), Replies()
    assert known.is_new(ONE, heard)
    known.ended(ONE, ANSWER)
    clock.now += 239
    assert not known.is_new(ONE, heard)
    clock.now += 1
    assert known.is_new(ONE, heard)
    known.ended(OTHER, ANSWER)  # whose request is not known any more
    assert len(known) == 1


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ask", "answer", "drop", "wait"])), max_size=60)
)
def test_memory_is_bounded_and_everybody_hears_once(steps: list[tuple[int, str]]) -> None:
    clock = Clock()
    known = Duplicates(keep_s=10, entries=3, monotonic=clock)
    asked: list[Replies] = []
    for number, step in steps:
        mark = Mark("mme", "s", number)
        if step == "ask":
            heard = Replies()
            if not known.is_new(mark, heard):
                asked.append(heard)
        elif step == "wait":
            clock.now += number
        else:
            known.ended(mark, (experimental(5555),) if step == "answer" else None)
        assert len(known) <= 3
        assert all(len(heard) <= 1 for heard in asked)
    clock.now += 100
    for number in range(6):
        known.ended(Mark("mme", "s", number), ANSWER)
    assert all(len(heard) == 1 for heard in asked)
