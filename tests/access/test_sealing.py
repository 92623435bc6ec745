"""Secrets that are readable again only with the key file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_store import Database

from restante.access.key_ring import KeyRing, add_key, create_keys, retire_key, use_key
from restante.access.sealing import SealBroken, Sealer, Secrets
from restante.store.store import Answer

RING = KeyRing({"00000000": bytes(range(32))})


@given(
    st.text(max_size=200).filter(lambda text: text.isprintable()), st.text(max_size=9), st.text(max_size=9)
)
def test_what_is_sealed_opens_for_its_owner_only(secret: str, owner: str, kind: str) -> None:
    sealer = Sealer(RING)
    sealed = sealer.seal(secret, owner, kind)
    assert sealed.isascii()
    assert sealer.unseal(sealed, owner, kind) == secret
    assert sealer.seal(secret, owner, kind) != sealed
    for other in ((owner + "x", kind), (owner, kind + "x"), (owner + kind, ""), (kind + "y", owner)):
        if other != (owner, kind):
            with pytest.raises(SealBroken):
                sealer.unseal(sealed, *other)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_octet_does_not_open(at: int, flip: int) -> None:
    sealed = Sealer(RING).seal("the secret", "lnk_1", "password")
    at %= len(sealed)
    changed = sealed[:at] + chr(ord(sealed[at]) ^ flip) + sealed[at + 1 :]
    try:
        opened = Sealer(RING).unseal(changed, "lnk_1", "password")
    except SealBroken:
        return
    assert opened == "the secret"  # base64 ignores characters that are none


@pytest.mark.parametrize(
    "text", ["", "s1", "s1.00000000", "s1.00000000.", "s1.00000000.AAAA", "s2.00000000.x", "s1.ffffffff.x"]
)
def test_what_is_no_seal_does_not_open(text: str) -> None:
    with pytest.raises(SealBroken):
        Sealer(RING).unseal(text, "lnk_1", "password")


def test_rotation_keeps_what_was_sealed_and_reseals_it(live_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = create_keys(path)

    async def test() -> None:
        async with live_database.store() as store:
            secrets = Secrets(store, Sealer(first))
            writes = [
                *secrets.writes("lnk_1", "password", "s3cret"),
                *secrets.writes("lnk_2", "password", "other"),
                *secrets.writes("lnk_1", "token", "t"),
            ]
            assert await store.apply(writes=writes) is Answer.STORED
            await store.apply(writes=secrets.writes("lnk_1", "password", "newer"))
            assert await secrets.get("lnk_1", "password") == "newer"
            assert await secrets.get("lnk_3", "password") is None
            second = use_key(path, add_key(path).names()[-1])
            rotated = Secrets(store, Sealer(second))
            assert await rotated.get("lnk_1", "password") == "newer"
            assert await rotated.reseal() == 3
            assert await rotated.reseal() == 0
            alone = Secrets(store, Sealer(retire_key(path, first.current)))
            assert await alone.get("lnk_1", "password") == "newer"
            await store.apply(writes=secrets.writes("lnk_4", "password", "of a key that is gone"))
            assert await alone.reseal() == 0
            assert await secrets.get("lnk_4", "password") == "of a key that is gone"
            with pytest.raises(SealBroken, match="not in the key file"):
                await secrets.get("lnk_1", "password")
            await store.apply(writes=alone.forget_writes("lnk_1"))
            assert await alone.get("lnk_1", "token") is None
            assert await alone.get("lnk_2", "password") == "other"

    asyncio.run(test())
