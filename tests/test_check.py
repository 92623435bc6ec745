"""Which verdict decides (behaviour.md 4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.check import ACCEPT, Action, Verdict, strongest

ORDER = ["REJECT", "DROP", "QUARANTINE", "THROTTLE", "HOLD", "DIVERT", "FLAG", "ACCEPT"]  # of the page

verdicts = st.builds(
    Verdict, st.sampled_from(list(Action)), check=st.sampled_from("abc"), enforced=st.booleans()
)


def test_strength_is_that_of_the_page():
    assert [action.name for action in sorted(Action, reverse=True)] == ORDER


@given(st.lists(verdicts, max_size=8))
def test_the_strongest_that_counts_wins_and_the_first_among_equals(said):
    winner = strongest(said)
    counting = [v for v in said if v.enforced and v.action is not Action.ACCEPT]
    if not counting:
        assert winner is ACCEPT
    else:
        best = max(v.action for v in counting)
        assert winner is next(v for v in counting if v.action is best)


@pytest.mark.parametrize("action", list(Action))
def test_monitor_mode_never_counts(action):
    assert not Verdict(action, enforced=False).counts
    assert strongest([Verdict(action, enforced=False)]) is ACCEPT
    assert Verdict(action).counts == (action is not Action.ACCEPT)
