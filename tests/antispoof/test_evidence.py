"""The chain of evidence: order, tampering, what a crash cut off, and the inbox of unknown switches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, insert, update
from sqlalchemy.types import Integer, Text
from store_tools import message, opened

from restante.access.key_ring import KeyRing
from restante.antispoof import evidence as evidence_module
from restante.antispoof.evidence import CHECK, EvidenceLog, Record, place_of
from restante.antispoof.inbox import KEPT, Inbox
from restante.antispoof.replay import Replay, Search
from restante.antispoof.switches import Place, read_address
from restante.antispoof.tables import spoof_verdict
from restante.check import Action, Stage, Verdict
from restante.outlet import Write
from restante.smsc.screening import Finding, evidence_events
from restante.store.statement import Sql

RING = KeyRing({"00000000": bytes(range(32))})
_of = spoof_verdict.c.sequence == bindparam("of", type_=Integer)
CHANGE = Sql("test: change", update(spoof_verdict).where(_of).values(sender=bindparam("to", type_=Text)))
REMOVE = Sql("test: remove", delete(spoof_verdict).where(_of))
INSERT = Sql("test: insert", insert(spoof_verdict))


def facts(number: int, at: int = 1000, **more: Any) -> dict[str, Any]:
    return {
        "at": at,
        "link": "mscb",
        "role": "switch",
        "sender": f"+4477009{number:05}",
        "trusted": "ipa_name:MSC-B",
        "verdict": "spoofed",
        "reason": "switch_mismatch",
        "action": "reject",
        "enforced": True,
        "message": number,
        "register": "hlr",
        **more,
    }


async def written(store: Any, *rows: Mapping[str, Any]) -> EvidenceLog:
    log = EvidenceLog(store, RING)
    await log.open()
    for row in rows:
        log.append(row)
    await log.drained()
    return log


def test_rows_are_chained_and_read_back(store_url: str) -> None:
    async def main() -> None:
        async with opened(store_url) as store:
            log = await written(store, *(facts(n) for n in range(1, 450)))
            found = await log.verify()
            assert (found.rows, found.holds) == (449, True)
            await log.close()
            again = await written(store, facts(450))  # another life goes on with the chain
            assert (await again.verify()).holds
            await again.close()
            replay = Replay(store)
            first = await replay.page(Search(), limit=10)
            assert first[0].message == 450
            assert first[0].facts["register"] == "hlr"
            assert await replay.one(place_of(first[0].id) or (0, 0, 0)) == first[0]
            assert [one.message for one in await replay.page(Search(message=7), limit=10)] == [7]
            assert await replay.page(Search(verdict="genuine"), limit=10) == []
            assert len([one async for one in replay.all(Search(link="mscb"), 10_000)]) == 450

    asyncio.run(main())


@pytest.mark.parametrize("what", ["change", "remove", "forge", "end"])
def test_whoever_changes_the_chain_is_found_out(sqlite_url: str, what: str) -> None:
    async def main() -> None:
        async with opened(sqlite_url) as store:
            log = await written(store, *(facts(n) for n in range(1, 6)))
            heads = (await log.verify()).heads
            if what == "change":
                await store.apply(writes=[Write(CHANGE, {"of": 3, "to": "+4477"})])
            elif what == "remove":
                await store.apply(writes=[Write(REMOVE, {"of": 3})])
            elif what == "end":
                await store.apply(writes=[Write(REMOVE, {"of": 5})])
            else:
                forged = EvidenceLog(store, KeyRing({"11111111": bytes(32)}))
                row = forged._row(facts(9), (await log._read_head())[0], 6, heads[str(store.node)])
                await store.apply(writes=[Write(INSERT, row)])
            found = await log.verify()
            if what == "end":  # only a head that was noted elsewhere tells
                assert found.holds
                assert found.heads != heads
            else:
                assert found.broken == 1
                assert found.breaks[0].row.endswith(
                    "_6" if what == "forge" else "_3" if what == "change" else "_4"
                )
            await log.close()

    asyncio.run(main())


def test_what_a_crash_cut_off_comes_back_from_the_events(store_url: str) -> None:
    async def main() -> None:
        async with opened(store_url) as store:
            log = await written(store)
            await log.close()
            told = [message(store) for _ in range(3)]
            for one in told:
                verdict = Verdict(
                    Action.FLAG, check=CHECK, reason="x", evidence=facts(0, at=one.submitted_at)
                )
                events = evidence_events(
                    one, Finding(verdict, (verdict,)), Stage.SUBMIT, at=one.submitted_at, node=store.node
                )
                await store.apply(messages=(one,), events=events)
            kept = await written(store)
            rows = [one async for one in Replay(store).all(Search(), 100)]
            assert {one.message for one in rows} == {one.id for one in told}
            assert all(one.facts["recovered"] for one in rows)
            await kept.close()
            once_more = await written(store)
            assert (await once_more.verify()).rows == 3
            await once_more.close()

    asyncio.run(main())


def test_evidence_waits_for_the_database(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_module, "RETRY_S", 0.01)

    async def main() -> None:
        async with opened(sqlite_url) as store:
            log = await written(store, facts(1))
            apply = store.apply
            failures = [OSError("away"), OSError("away")]

            async def failing(**more: Any) -> Any:
                if failures:
                    raise failures.pop()
                return await apply(**more)

            monkeypatch.setattr(store, "apply", failing)
            for number in (2, 3):
                log.append(facts(number))
            await log.drained()
            found = await log.verify()
            assert (found.rows, found.holds, failures) == (3, True, [])
            await log.close()

    asyncio.run(main())


def test_reviews_stand_beside_the_evidence(sqlite_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_url) as store:
            log = await written(store, facts(1), facts(2))
            replay = Replay(store)
            rows = await replay.page(Search(), limit=10)
            write = replay.review(rows[0], actor="op_1", result="false-positive", note="lab")
            await store.apply(writes=[write])
            reviews = await replay.reviews(rows)
            assert [one["note"] for one in reviews[rows[0].id]] == ["lab"]
            assert rows[1].id not in reviews
            assert (await log.verify()).holds
            await log.close()

    asyncio.run(main())


def test_ids_that_are_none() -> None:
    for text in ("", "spv_1", "spv_1_2_x", "aud_1_2_3", "spv_1_2_99999999999"):
        assert place_of(text) is None
    assert place_of(Record(1, 2, 3, 0, 0, "", "", "", "", "", "", "", False, {}).id) == (1, 2, 3)


def test_the_inbox_is_bounded(store_url: str) -> None:
    async def main() -> None:
        async with opened(store_url) as store:
            inbox = Inbox(store)
            for number in range(KEPT + 200):
                inbox.notice(Place(read_address(f"ipa_name:M{number}"), None), "gw", "trusted", 1000 + number)
            assert inbox.overflowed == 200
            inbox.notice(Place(read_address("ipa_name:M0"), None), "gw", "trusted", 9000)
            await inbox.flush()
            for number in range(50):
                inbox.notice(
                    Place(read_address(f"ipa_name:N{number}"), None), "gw", "affiliated", 10_000 + number
                )
            listed = await inbox.listed()
            assert len(listed) <= KEPT
            assert listed[0]["value"] == "N49"
            known = {row["value"]: row for row in listed}
            assert (known["M0"]["seen"], known["M0"]["last_at"]) == (2, 9000)
            assert "M1" not in known
            assert await inbox.forget("ipa_name", "M0")
            assert not await inbox.forget("ipa_name", "M0")

    asyncio.run(main())
