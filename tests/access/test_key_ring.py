"""The key file: private, replaced at once, and its keys take over from each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restante.access.key_ring import KeyFileRefused, KeyRing, add_key, create_keys, retire_key, use_key


def test_the_key_file_is_private_and_is_not_made_twice(tmp_path: Path) -> None:
    path = tmp_path / "key"
    ring = create_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    sealing = ring.keys("sealing")
    assert KeyRing.load(path).keys("sealing").present == sealing.present
    with pytest.raises(FileExistsError):
        create_keys(path)
    assert path.read_text().split()[1] not in repr(ring)
    os.chmod(path, 0o400)  # as systemd hands credentials over
    assert KeyRing.load(path).names() == ring.names()
    for mode in 0o640, 0o604, 0o660:
        os.chmod(path, mode)
        with pytest.raises(KeyFileRefused, match="chmod 600"):
            KeyRing.load(path)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "00000000 AAAA\n", "one two\n", "ünï\n", "00000000 " + "A" * 43 + "=\n"]
)
def test_a_key_file_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileRefused):
        KeyRing.load(path)
    with pytest.raises(KeyFileRefused):
        KeyRing.load(tmp_path / "missing")


def test_a_key_is_recognised_before_it_is_used_and_after(tmp_path: Path) -> None:
    path = tmp_path / "key"
    before = create_keys(path)
    first = before.current
    added = add_key(path)
    assert added.names()[0] == first, "a key that other nodes do not know yet was used"
    second = added.names()[1]
    used = use_key(path, second)
    assert used.names() == [second, first]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["key"]
    made = before.keys("audit").mac("a row")
    assert added.keys("audit").mac("a row") == made
    assert used.keys("audit").mac("a row") != made
    assert used.keys("audit").made(made, "a row")
    assert added.keys("audit").made(used.keys("audit").mac("a row"), "a row"), (
        "a node that was not started again"
    )
    assert not used.keys("audit").made(made, "another row")
    assert not used.keys("session").made(made, "a row"), "a key of another purpose"
    alone = retire_key(path, first)
    assert alone.names() == [second]
    assert not alone.keys("audit").made(made, "a row")


def test_what_cannot_be_done_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key"
    present = create_keys(path).current
    text = path.read_text()
    with pytest.raises(KeyFileRefused, match="is the present key"):
        retire_key(path, present)
    for act in use_key, retire_key:
        with pytest.raises(KeyFileRefused, match=f"no key 12345678; it has {present}"):
            act(path, "12345678")
    assert path.read_text() == text
    for _ in range(15):
        add_key(path)
    with pytest.raises(KeyFileRefused, match="which is the most"):
        add_key(path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_keys(path)
    (tmp_path / "key.new").mkdir()  # the name that a new file takes first
    text = path.read_text()
    with pytest.raises(KeyFileRefused, match="cannot write the key file"):
        add_key(path)
    assert path.read_text() == text
