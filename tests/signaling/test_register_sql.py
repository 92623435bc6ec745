"""What the rows of an operator's SELECT say about a subscriber."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from restante.signaling.register_sql import MOST_ROWS, SqlRegister
from restante.signaling.registers import Affiliation, RegisterUnavailable, Status, Who

ANNA, IMSI = "447700900001", "001010000000001"
WHO = Who(ANNA)


def told(rows: Sequence[Mapping[str, Any]], who: Who = WHO) -> Affiliation:
    """What a register with these rows says."""

    async def ask(values: Mapping[str, str | None], timeout_s: float) -> Sequence[Mapping[str, Any]]:
        assert values == {"msisdn": who.msisdn or None, "imsi": who.imsi or None}
        return rows

    register = SqlRegister(ask, now_ms=lambda: 7)
    return asyncio.run(register.lookup(who, fresh=True, timeout_s=1))


def test_a_row_is_a_subscriber() -> None:
    row = {
        "msisdn": int(ANNA),
        "imsi": int("9" + IMSI[1:]),
        "addresses": "ipa_name:MSC-A e164_gt/msc:447700900999",
    }
    found = told([row])
    assert (found.status, found.msisdn, found.imsi, found.observed_at) == (
        Status.ATTACHED,
        ANNA,
        "9" + IMSI[1:],
        7,
    )
    assert [one.value for one in found.addresses] == ["MSC-A", "447700900999"]
    assert told([{"addresses": None}]).status is Status.ABSENT
    assert told([{"addresses": "", "status": "purged"}]).status is Status.PURGED
    assert told([]).status is Status.UNKNOWN
    by_card = told([{"imsi": IMSI, "addresses": "ipa_name:MSC-A"}], Who(imsi=IMSI))
    assert (by_card.imsi, by_card.msisdn) == (IMSI, "")


def test_several_rows_are_one_subscriber() -> None:
    rows = [{"msisdn": f"+{ANNA}", "addresses": f"ipa_name:MSC-{name}"} for name in "AB"]
    assert [one.value for one in told(rows).addresses] == ["MSC-A", "MSC-B"]


@pytest.mark.parametrize(
    "rows",
    [
        [{"msisdn": "447700900002", "addresses": "ipa_name:MSC-A"}],  # somebody else
        [{"addresses": "ipa_name:A", "imsi": "1"}, {"addresses": "ipa_name:B", "imsi": "2"}],
        [{"msisdn": ANNA}],  # no addresses at all
        [{"addresses": "MSC-A"}],
        [{"addresses": "", "status": "attached"}],
        [{"addresses": "", "status": "gone"}],
        [{"addresses": "ipa_name:A"}] * (MOST_ROWS + 1),
        [{"addresses": " ".join(f"ipa_name:{n}" for n in range(MOST_ROWS + 1))}],
    ],
)
def test_what_cannot_be_read_is_no_answer(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(RegisterUnavailable) as refused:
        told(rows)
    assert refused.value.reason == "refused"


def test_a_row_about_another_card_is_no_answer() -> None:
    with pytest.raises(RegisterUnavailable):
        told([{"imsi": "2", "addresses": "ipa_name:MSC-A"}], Who(imsi=IMSI))
