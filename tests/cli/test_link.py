"""`restante link` from the first bind to the last: another center sees what the operator types."""

from __future__ import annotations

from typing import Any

from cli_center import Center
from other_center import OtherCenter, other_center
from waiting import eventually

QUICK = ("--set", "reconnect_min_s=0.05", "--set", "reconnect_max_s=0.2")


def condition(center: Center, name: str) -> str:
    """How a link is, as `restante link status` says."""
    (found,) = [one for one in center.answer("link", "status") if one["name"] == name]
    return str(found["condition"])


def is_in(center: Center, name: str, wanted: str) -> None:
    eventually(lambda: condition(center, name) == wanted, f"{name} {wanted}")


def standing(other: OtherCenter) -> list[Any]:
    """Binds at the other center that nobody ended."""
    return [one for one in other.bound if not one.ended.is_set()]


def test_a_link_lives_by_the_command_line(center: Center) -> None:
    with other_center() as other:
        words = ("link", "add", "carrier", other.address, "--as", "us", *QUICK)
        tried = center.answer(*words, "-p", "geheim", "--dry-run")
        assert tried["dry_run"] is True
        assert center.answer("link", "list") == []
        added = center.call(*words, "-p", "-", text="geheim\n")
        assert added.exit_code == 0, added.output
        is_in(center, "carrier", "up")
        assert [(one.bind.system_id, one.bind.password) for one in standing(other)] == [(b"us", b"geheim")]
        assert "geheim" not in str(center.answer("link", "show", "carrier"))

        tried = center.answer("link", "set", "carrier", "binds=3", "--dry-run")
        assert [one["pointer"] for one in tried["diff"]] == ["/binds"]
        assert center.answer("link", "show", "carrier")["binds"] == 1
        center.answer("link", "set", "carrier", "binds=2", "--reason", "more at night")
        eventually(lambda: len(standing(other)) == 2, "two binds")
        center.answer("link", "rollback", "carrier", "1")
        assert center.answer("link", "show", "carrier")["binds"] == 1

        for verb, wanted, binds in (
            ("isolate", "isolated", 1),
            ("resume", "up", 1),
            ("drain", "drained", 0),
            ("resume", "up", 1),
            ("suspend", "suspended", 0),
        ):
            center.answer("link", verb, "carrier")
            is_in(center, "carrier", wanted)
            eventually(lambda binds=binds: len(standing(other)) == binds, f"{binds} binds after {verb}")
        assert center.call("link", "password", "carrier", "-p", "too long a one").exit_code == 2
        assert center.call("link", "password", "carrier", "-p", "anders").exit_code == 0
        center.answer("link", "resume", "carrier")
        eventually(lambda: any(one.bind.password == b"anders" for one in standing(other)), "the new password")

        reasons = [one.get("reason") for one in center.answer("link", "history", "carrier")]
        assert "more at night" in reasons
        assert center.call("link", "remove", "carrier").exit_code == 0
        eventually(lambda: not standing(other), "the end of the link")
        assert center.answer("link", "list") == []
        assert center.call("link", "show", "carrier").exit_code != 0


def test_what_is_wrong_is_named(center: Center) -> None:
    for words, says in (
        (("add", "bad name!", "127.0.0.1:1", "--as", "us"), "name"),
        (("add", "bad", "no-port", "--as", "us"), "addresses"),
        (("add", "bad", "127.0.0.1:1", "--as", "us", "--set", "binds=0"), "binds"),
        (("add", "bad", "127.0.0.1:1", "--as", "us", "--set", "bindz=1"), "bindz"),
        (("isolate", "nobody"), "nobody"),
    ):
        result = center.call("link", *words)
        assert result.exit_code != 0
        assert says in result.output + result.stderr, result.output + result.stderr
