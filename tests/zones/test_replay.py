"""Explaining without side effects, the log, and simulation: the present rules reproduce the records exactly."""

from __future__ import annotations

import random
from typing import Any

from message_path import PHONE
from zone_center import AWAY, HOME, SENDER, ZoneCenter

from restante.message import id_at
from restante.registry.versioned import Stored
from restante.zones.policy import Policy, Role
from restante.zones.replay import Replay, step_facts
from restante.zones.rules import Drafted, Rules


def replay_of(center: ZoneCenter) -> Replay:
    return Replay(center.path.store, center.room.settings, center.room.locations)


async def some_traffic(center: ZoneCenter) -> int:
    """Messages between people who move, under two policies; how many."""
    rnd = random.Random(2)
    await center.zone()
    ring = [[-0.2, 51.4], [0.0, 51.4], [0.0, 51.6], [-0.2, 51.6], [-0.2, 51.4]]
    await center.zone("square", {"kind": "polygon", "geometry": {"type": "Polygon", "coordinates": [ring]}})
    await center.policy(subject="either", on_unknown="hold", unknown_hold_s=30, visibility="specific")
    await center.policy("other", on_outside="forward_and_tag", on_unknown="closed")
    await center.bind("+4477009000*", ["home", "square"])
    await center.bind(SENDER, ["home"])
    await center.bind("group:kids", ["square"], policy="other", priority=5)
    await center.room.members.change_group("kids", add=["+447700900003"])
    for number in range(40):
        for who in (PHONE, "+447700900003", SENDER):
            if rnd.random() < 0.6:
                edge = HOME[0] + rnd.choice([0.0, 0.0179, 0.0181, 0.1]), HOME[1] + rnd.uniform(-0.1, 0.1)
                await center.at(
                    edge, who, accuracy_m=rnd.choice([5, 300, 30_000]), age_s=rnd.choice([0, 2000])
                )
        to = rnd.choice([PHONE, "+447700900003", "+447700900004"])
        if rnd.random() < 0.5:
            await center.send_from_handset(b"%d" % number, to=to)
        else:
            await center.send(b"%d" % number, to, receipt=0)
        await center.step(rnd.choice([1, 20, 700]))
    return 40


def test_the_present_rules_reproduce_the_records_exactly(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        messages = await some_traffic(center)
        replay = replay_of(center)
        after = id_at(center.path.clock.now + 1000)
        done = await replay.simulate(center.room.rules, first=0, before=after)
        assert done.decisions >= messages
        assert (done.same, done.changed, done.unrecorded) == (done.decisions, [], 0)
        assert len(done.before) >= 4  # many acts were among them
        assert done.before == done.after

    on_center(scenario)


def test_a_draft_shows_what_would_change(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone()
        ids = []
        for place in (HOME, AWAY, HOME, AWAY):
            await center.at(place)
            ids.append(await center.send())
        found = await center.registry.by_key(center.kinds.policy, "plan")
        body = {**found.body(), "on_outside": "divert"}
        draft = Policy.of(
            Stored(found.number, found.id, "plan", 0, center.kinds.policy.parse(body), 0, "draft")
        )
        policies = Drafted(center.room.policies, {draft.number: draft}, {"plan": draft})
        rules = Rules(
            zones=center.room.zones,
            policies=policies,
            memberships=center.room.memberships.values(),
            members=center.room.members,
        )
        before = id_at(center.path.clock.now + 1000)
        done = await replay_of(center).simulate(rules, first=0, before=before)
        assert done.before["block"] == 2 <= done.after["divert"]
        assert sorted(changed[0] for changed in done.changed) == [ids[1], ids[3]]
        assert {(was, would) for _, was, would in done.changed} == {("block", "divert")}
        part = await replay_of(center).simulate(rules, first=ids[2], before=before)
        assert part.messages == 2

    on_center(scenario)


def test_an_explanation_has_every_step_and_no_effect(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone()
        await center.zone("far", {"kind": "circle", "latitude": 0, "longitude": 0, "radius_m": 50})
        await center.bind(PHONE, ["far"])
        fix = await center.at(AWAY)
        events = len(await center.path.events())
        replay = replay_of(center)
        [explained] = await replay.explain(center.room.rules, "@Shop", PHONE)
        facts = step_facts(explained, 7)
        assert (facts["act"], facts["stage"], facts["snapshot"]) == ("block", "attempt", 7)
        zones: Any = facts["zones"]
        assert [(one["zone"].split("@")[0], one["state"]) for one in zones] == [
            ("zon_1", "out"), ("zon_4", "out"),
        ]  # fmt: skip
        at_home = {Role.RECIPIENT: type(fix)(PHONE, *HOME, 10.0, fix.measured_at, fix.received_at, "push")}
        [explained] = await replay.explain(center.room.rules, "@Shop", PHONE, places=at_home)
        assert explained.decision.act == "pass"
        [bypassed] = await replay.explain(center.room.rules, "112", PHONE)
        assert bypassed.bypass == "emergency"
        assert await replay.explain(center.room.rules, "@Shop", "+447700900099") == []
        assert len(await center.path.events()) == events
        assert center.room.check.last_of(PHONE, 2) is not None  # of the push, not of the explanation

    on_center(scenario)


def test_the_log_is_newest_first_and_filtered(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone()
        ids = []
        for place in (HOME, AWAY, HOME):
            await center.at(place)
            ids.append(await center.send())
        replay = replay_of(center)
        assert [logged.message for logged in await replay.log()] == ids[::-1]
        assert [logged.message for logged in await replay.log(state="out")] == [ids[1]]
        assert [logged.message for logged in await replay.log(number=PHONE, before=ids[2])] == ids[1::-1]
        assert await replay.log(number="+447700900099") == []
        assert len(await replay.log(limit=2)) == 2

    on_center(scenario)
