"""The way of a message with home zones on it, over a real database, with a clock that is stepped.

In charge of: wiring the zones room to the path of `message_path.py`, and saying in few words what a test needs: a zone,
a policy, who belongs where, where somebody is. Not in charge of: sockets (`running_center.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from memory_store import EVENTS, SteppedClock
from message_path import PHONE, Path, ScriptedBox, a_draft, make_path
from sqlalchemy import select
from store_tools import opened
from waiting import soon_true

from restante.access.ranges import NumberRange, NumberRanges, RangeModel
from restante.access.subscribers import Subscribers, SubscriberSettings
from restante.mailbox.endings import Endings
from restante.mailbox.outlet import MailboxOutlet
from restante.mailbox.settings import MailboxSettings
from restante.mailbox.tables import mailbox_item
from restante.message import Address, Ingress, Role
from restante.registry.edits import Registry
from restante.smsc.submission import Accepted, Refused
from restante.store.statement import Query
from restante.zones.fix import Fix
from restante.zones.kinds import ZoneKinds
from restante.zones.members import Member
from restante.zones.room import ZonesRoom
from restante.zones.settings import ZonesSettings

ITEMS = Query("test: what lies in boxes", select(mailbox_item).order_by(mailbox_item.c.id))
HOME = (51.5, -0.12)  #: the middle of the zone "home"
AWAY = (52.5, -1.9)
SENDER = "+447700900777"  #: a handset that sends


class ZoneCenter:
    """A path, a registry and the zones room."""

    def __init__(self, path: Path, registry: Registry, kinds: ZoneKinds, room: ZonesRoom) -> None:
        self.path, self.registry, self.kinds, self.room = path, registry, kinds, room
        self.mailbox: MailboxOutlet | None = None  #: the real one, if it is there
        self.endings: Endings | None = None  #: of its boxes

    # --- what operators do

    async def zone(self, name: str = "home", shape: dict[str, Any] | None = None, **fields: Any) -> int:
        """A zone; without a shape a circle of 2 km around HOME."""
        circle = {"kind": "circle", "latitude": HOME[0], "longitude": HOME[1], "radius_m": 2000}
        edit = await self.registry.create(
            self.kinds.zone, {"name": name, "shape": shape or circle, **fields}, actor="op_1"
        )
        assert edit.after is not None
        return edit.after.number

    async def policy(self, name: str = "plan", **fields: Any) -> int:
        """A policy; `on_unknown` is open unless said otherwise."""
        edit = await self.registry.create(
            self.kinds.policy, {"name": name, "on_unknown": "open", **fields}, actor="op_1"
        )
        assert edit.after is not None
        return edit.after.number

    async def change_policy(self, name: str = "plan", **fields: Any) -> None:
        """Change a policy."""
        found = await self.registry.by_key(self.kinds.policy, name)
        await self.registry.patch(
            self.kinds.policy, found.number, fields, if_match=found.version, actor="op_1"
        )

    async def bind(self, subject: str = PHONE, zones: Sequence[str] = ("home",), **fields: Any) -> int:
        """A membership under the policy "plan"."""
        name = fields.pop("name", f"m{len(self.room.memberships.values())}")
        edit = await self.registry.create(
            self.kinds.membership,
            {"name": name, "subject": subject, "zones": list(zones), "policy": "plan", **fields},
            actor="op_1",
        )
        assert edit.after is not None
        return edit.after.number

    async def home_zone(self, number: str = PHONE, **policy: Any) -> None:
        """The usual case: one zone, one policy, one member."""
        await self.zone()
        await self.policy(**policy)
        await self.bind(number)

    async def own_circle(self, number: str, policy: int, radius_m: int = 2000, **fields: Any) -> None:
        """A number with a circle of its own."""
        member = Member(0, policy, 100, HOME[0], HOME[1], radius_m)._replace(**fields)
        await self.room.members.replace(number, [member], actor="op_1")

    # --- what the world does

    async def at(
        self, place: tuple[float, float], number: str = PHONE, *, accuracy_m: float = 20.0, age_s: float = 0
    ) -> Fix:
        """Somebody is somewhere."""
        now = self.path.clock.now_ms()
        fix = Fix(
            number=number,
            latitude=place[0],
            longitude=place[1],
            accuracy_m=accuracy_m,
            measured_at=now - int(age_s * 1000),
            received_at=now,
            source="push",
        )
        kept = await self.room.locations.push([fix])
        await self.rest()
        return kept[0]

    async def send(self, text: bytes = b"hello", to: str = PHONE, *, by: str = "shop", **fields: Any) -> int:
        """Submit; it must be accepted. Returns its id, when everything has come to rest."""
        answer = await self.answer_to(text, to, by=by, **fields)
        assert isinstance(answer, Accepted), answer
        return answer.id

    async def send_from_handset(self, text: bytes = b"hello", sender: str = SENDER, **fields: Any) -> int:
        """A handset behind the switch sends."""
        fields.setdefault("receipt", 0)  # receipts would go to the switch as well
        return await self.send(text, by="msc1", source=Address(1, 1, sender[1:]), **fields)

    async def answer_to(
        self, text: bytes = b"hello", to: str = PHONE, *, by: str = "shop", version: int = 0x34, **fields: Any
    ) -> Accepted | Refused:
        """Submit, let everything come to rest, and return the answer."""
        account = self.path.account(by)
        ingress = Ingress("smpp", account.number, account.role, by, version=version)
        answers: list[Accepted | Refused] = []
        self.path.submission.submit(a_draft(text, to, **fields), account, ingress, answers.append)
        await soon_true(lambda: bool(answers))
        await self.rest()
        return answers[0]

    async def rest(self) -> None:
        """Until nobody asks anything and nothing moves."""
        for _ in range(4):
            await soon_true(lambda: not self._asking())
            await self.path.settle()
            await asyncio.sleep(0)

    def _asking(self) -> bool:
        deposits = self.mailbox is not None and self.mailbox._worker is not None
        return bool(self.path.screening.waiting or self.room.holds._under_way or deposits)

    async def step(self, seconds: float) -> None:
        """Let time pass, then come to rest."""
        self.path.clock.now += int(seconds * 1000)
        await self.path.store.beat()
        await self.rest()
        if self.endings is not None:
            await self.endings.expire()
            await self.rest()

    async def texts_in_boxes(self, number: str) -> list[str]:
        """What lies in the real mailbox of a number."""
        rows = await self.path.store.fetch(ITEMS)
        return [row["text"] for row in rows if row["recipient"] == number]

    # --- what became of it

    @property
    def phone(self) -> list[bytes]:
        """What arrived behind the switch, in order."""
        return self.path.switch.bodies()

    async def decisions(self, id: int) -> list[dict[str, Any]]:
        """Every recorded decision about a message."""
        rows = [row for row in await self.path.store.fetch(EVENTS) if row["message"] == id]
        found: list[dict[str, Any]] = []
        for row in rows:
            if row["kind"] == "evidence":
                detail = json.loads(row["detail"])
                found += [
                    {**one, "stage": detail["stage"]} for one in detail["evidence"].get("decisions", [])
                ]
        return found

    async def reason(self, id: int) -> str:
        """Why a message is in the queue; "" if it is not."""
        row = (await self.path.queue()).get(id)
        return row["reason"] if row else ""


def real_mailbox(store: Any, account: Any) -> Any:
    """The mailbox of the house, whose numbers become subscribers with their first message."""
    ranges = NumberRanges([NumberRange(1, RangeModel(prefix="+4477"))])
    subscribers = Subscribers(store, ranges, SubscriberSettings(first_use=True))
    return MailboxOutlet(store, subscribers, MailboxSettings(), account)


@asynccontextmanager
async def zone_center(
    url: str,
    *,
    clock: SteppedClock | None = None,
    providers: Sequence[Any] = (),
    settings: dict[str, Any] | None = None,
    outlets: Any = None,
    box: ScriptedBox | None = None,
    shared: bool = False,
    name: str = "",
    with_mailbox: bool = False,
    **path_settings: Any,
) -> AsyncGenerator[ZoneCenter]:
    """A center with home zones on a database; `outlets` and `box` of an earlier life go on."""
    clock = clock or SteppedClock()
    async with opened(url, clock=clock, node_name=name, heartbeat_s=60) as store:
        registry, kinds = Registry(store), ZoneKinds()
        zones, policies = registry.register(kinds.zone), registry.register(kinds.policy)
        memberships = registry.register(kinds.membership)
        await registry.open()
        path: Path | None = None

        async def send_system(kind: Any, recipient: str, text: str) -> int:
            assert path is not None
            return await path.submission.send_system(kind, recipient, text)

        room = ZonesRoom(
            store=store,
            settings=ZonesSettings.model_validate(settings or {}),
            zones=zones,
            policies=policies,
            memberships=memberships,
            revision=lambda: registry.revision,
            send_system=send_system,
            shared=shared,
            providers=providers,
        )
        await room.open()
        mailbox: Any = box
        if with_mailbox:
            mailbox = real_mailbox(store, lambda number: path.accounts.get(number) if path else None)
        path = await make_path(
            store, clock, checks=[room.check], outlets=outlets, box=mailbox, **path_settings
        )
        if with_mailbox:
            path.box = None  # the path itself looks into scripted boxes only
        center = ZoneCenter(path, registry, kinds, room)
        if with_mailbox:
            center.mailbox = mailbox
            center.endings = Endings(store, path.receipts.ending, path.delivery.admit)
        try:
            yield center
        finally:
            await path.screening.close()
            await room.close()


__all__ = ["AWAY", "HOME", "PHONE", "SENDER", "Role", "ZoneCenter", "zone_center"]
