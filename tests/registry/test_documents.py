"""Merge-patch, differences, pointers, and problems that never repeat a value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restante.registry.documents import differences, merge_patch, pointer, problems_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text("ab/~", min_size=1, max_size=3), VALUES, max_size=4)


# RFC 7396, appendix A: original, patch, result
RFC_CASES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("original", "patch", "result"), RFC_CASES)
def test_merge_patch_does_what_the_rfc_shows(original: Any, patch: Any, result: Any) -> None:
    before = json.dumps(original)
    assert merge_patch(original, patch) == result
    assert json.dumps(original) == before


@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_applied_twice_changes_no_more(document: Any, patch: Any) -> None:
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once


def follow(document: Any, steps: str) -> tuple[Any, str]:
    """The object that a pointer's last step is in, and that step."""
    names = [step.replace("~1", "/").replace("~0", "~") for step in steps.split("/")[1:]]
    for name in names[:-1]:
        document = document[name]
    return document, names[-1]


@given(DOCUMENTS, DOCUMENTS)
def test_differences_lead_from_one_document_to_the_other(before: Any, after: Any) -> None:
    copy = json.loads(json.dumps(before))
    for change in differences(before, after):
        place, name = follow(copy, change.pointer)
        if change.op == "add":
            assert name not in place
        else:
            assert place[name] == change.before
        if change.op == "remove":
            del place[name]
        else:
            place[name] = change.after
    assert json.dumps(copy, sort_keys=True) == json.dumps(after, sort_keys=True)


@given(DOCUMENTS)
def test_equal_documents_do_not_differ(document: Any) -> None:
    assert differences(document, json.loads(json.dumps(document))) == []


def test_true_is_not_one() -> None:
    assert [change.pointer for change in differences({"a": True}, {"a": 1})] == ["/a"]


def test_a_document_that_comes_or_goes_is_one_difference() -> None:
    assert [(one.op, one.pointer) for one in differences(None, {"a": 1})] == [("add", "")]
    assert [(one.op, one.pointer) for one in differences({"a": 1}, None)] == [("remove", "")]


def test_pointers_escape_what_separates_their_steps() -> None:
    assert pointer(("a/b", 0, "c~d")) == "/a~1b/0/c~0d"
    assert pointer(()) == ""


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prefix: str = Field(pattern="^x+$")


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ranges: list[Inner]
    size: int = 1


def test_problems_point_at_every_fault_and_repeat_no_value() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"ranges": [{"prefix": "hunter2"}], "size": "hunter2", "hunter": "hunter2"})
    problems = problems_of(caught.value)
    assert {(one.pointer, one.code) for one in problems} == {
        ("/ranges/0/prefix", "string-pattern-mismatch"),
        ("/size", "int-parsing"),
        ("/hunter", "unknown-field"),
    }
    assert "hunter2" not in "".join(one.detail for one in problems)
