"""The simulated network at work: a switch with its phones, and the applications that write to them.

In charge of: what the switch answers for each phone, what applications and phones send and when, and counting what came
of it. Not in charge of: the wire (`link.py`), who takes part (`plan.py`), or showing anything (`cli/demo.py`).

Chance comes from the `Random` that is passed in: with one seed the applications say the same things in the same
order. When the center answers is not up to the seed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from ..smsc.smpp import pdu, tlv
from ..smsc.smpp.command_status import CommandStatus
from ..smsc.smpp.tlv import Tag
from .link import Answer, Credentials, Link
from .phone import GSM, Phone, PhoneState, ScreenLine, shown_address, written_number, written_text
from .plan import EsmePlan, NetworkPlan

__all__ = ["Esme", "Network", "Switch"]

UNKNOWN_SUBSCRIBER = 1  #: MAP error code, 3GPP TS 29.002 §17.6.6
RECEIPT_BITS = 0x3C  #: esm_class of deliver_sm: the message type, SMPP 3.4 §5.2.12
SLOW_S = (2.0, 6.0)  #: how long a slow phone takes
TEXTING_SHARE = 0.1  #: of the traffic that phones write themselves
ROGUE_SHARE = 0.05  #: of the traffic that comes from a switch that pretends

OnScreen = Callable[[Phone, ScreenLine], None]


class Switch:
    """Reaches the phones for the center, and speaks for them."""

    def __init__(self, link: Link, phones: dict[str, Phone], die: Random, on_screen: OnScreen) -> None:
        """`phones` by their numbers."""
        self.link = link
        self.phones = phones
        self._die = die
        self._on_screen = on_screen
        link.on_message = self._arrived

    def _arrived(self, message: pdu.DeliverSm, answer: Answer) -> None:
        number = shown_address(1, message.destination_addr)
        phone = self.phones.get(number)
        if phone is None:
            answer(CommandStatus.ESME_RX_P_APPN, _network_error(UNKNOWN_SUBSCRIBER))
        elif phone.state is PhoneState.SLOW:
            asyncio.get_running_loop().call_later(
                self._die.uniform(*SLOW_S), self._hand, phone, message, answer
            )
        else:
            self._hand(phone, message, answer)

    def _hand(self, phone: Phone, message: pdu.DeliverSm, answer: Answer) -> None:
        refusal = phone.refusal  # by its state now: it may have been switched off while it was slow
        if refusal is not None:
            phone.refused += 1
            extra = _network_error(refusal.cause)
            if refusal.reason is not None:
                extra = tlv.one(Tag.delivery_failure_reason, refusal.reason) + extra
            answer(refusal.status, extra)
            return
        line = phone.receive(message)
        answer(CommandStatus.ESME_ROK, b"")
        if line is not None:
            self._on_screen(phone, line)

    def send(self, phone: Phone, to: str, text: str, *, reference: int = 0) -> None:
        """The phone writes a message."""
        for submit in written_submits(phone.number, to, text, reference=reference):
            self.link.submit(submit)


class Esme:
    """One application with its habit."""

    def __init__(self, plan: EsmePlan, link: Link, die: Random, tally: Counter[str]) -> None:
        self.plan = plan
        self.link = link
        self._die = die
        self._tally = tally
        self._reference = 0
        link.on_message = self._arrived

    def send(self, to: str, text: str, *, registered_delivery: int = 0, priority_flag: int = 0) -> None:
        """Submit one text, in as many parts as it needs."""
        self._reference = (self._reference + 1) & 0xFF
        for submit in written_submits(self.plan.sender, to, text, reference=self._reference):
            submit.registered_delivery = registered_delivery
            submit.priority_flag = priority_flag
            self._tally["submitted"] += 1
            if not self.link.submit(submit, self._answered):
                self._tally["not sent"] += 1

    def speak(self, phones: list[Phone]) -> None:
        """Do what its habit says, once."""
        wanted = self.plan.habit(self._die)
        for phone in self._die.sample(phones, min(wanted.recipients, len(phones))):
            self.send(
                phone.number,
                wanted.text,
                registered_delivery=wanted.registered_delivery,
                priority_flag=wanted.priority_flag,
            )

    def _answered(self, response: pdu.Pdu | None) -> None:
        if response is None:
            self._tally["unanswered"] += 1
        else:
            self._tally["refused" if response.command_status else "accepted"] += 1

    def _arrived(self, message: pdu.DeliverSm, answer: Answer) -> None:
        answer(CommandStatus.ESME_ROK, b"")
        if message.esm_class & RECEIPT_BITS:
            found = tlv.get_int(message.tlvs, Tag.message_state) if message.tlvs else None
            self._tally["receipts"] += 1
            self._tally[f"receipts {found}"] += 1
        else:
            self._tally["from phones"] += 1
            if self.plan.answers:
                verdict = self._die.choice(("Right!", "Not quite.", "Right, and fast!"))
                self.send(
                    shown_address(message.source_addr_ton, message.source_addr), f"{verdict} Another one?"
                )


class Network:
    """Everything that is not the center."""

    def __init__(
        self,
        plan: NetworkPlan,
        host: str,
        port: int,
        *,
        die: Random,
        now: Callable[[], float],
        on_screen: OnScreen,
    ) -> None:
        """`now`: seconds, for the phones' screens; `on_screen` hears of each text a phone shows."""
        self.plan = plan
        self.tally: Counter[str] = Counter()
        self.phones = {phone.name: Phone(phone.name, phone.number, now, phone.state) for phone in plan.phones}
        for home in plan.homes:
            self.phones[home.phone].place = home.places[0]
        self._die = die

        by_number = {phone.number: phone for phone in self.phones.values()}
        # 5.0, because before it an error response has no room for the network's cause.
        msc = Credentials(plan.switch_id, plan.switch_password, interface_version=0x50)
        self.switch = Switch(Link(host, port, msc), by_number, die, on_screen)
        self.rogue: Switch | None = None
        if plan.rogue is not None:
            link = Link(host, port, Credentials(plan.rogue.switch_id, plan.rogue.switch_password))
            self.rogue = Switch(link, {}, die, on_screen)
        self.esmes = [
            Esme(esme, Link(host, port, Credentials(esme.system_id, esme.password)), die, self.tally)
            for esme in plan.esmes
        ]

    @property
    def links(self) -> list[Link]:
        """Every bind of the network, the switch's first."""
        rogue = [self.rogue.link] if self.rogue is not None else []
        return [self.switch.link, *(esme.link for esme in self.esmes), *rogue]

    @property
    def bound(self) -> bool:
        """True when everybody is bound."""
        return all(link.bound for link in self.links)

    async def run(self, stop: asyncio.Event, *, rate: float) -> None:
        """Bind, speak `rate` times a second on average until `stop`, unbind."""
        async with asyncio.TaskGroup() as tasks:
            for link in self.links:
                tasks.create_task(link.run(stop))
            while not stop.is_set():
                pause = self._die.expovariate(rate) if rate > 0 else None
                try:
                    await asyncio.wait_for(stop.wait(), pause)
                except TimeoutError:
                    self.speak()

    def speak(self) -> None:
        """One of them says something; who pretends does so first of all."""
        if self.rogue is not None and (not self.tally["pretended"] or self._die.random() < ROGUE_SHARE):
            self.pretend(self.rogue)
            return
        texting = self._die.random() < TEXTING_SHARE
        on = [phone for phone in self.phones.values() if phone.refusal is None]
        games = [esme.plan.sender for esme in self.esmes if esme.plan.answers]
        if texting and on and games:
            self.tally["texted"] += 1
            self.switch.send(self._die.choice(on), self._die.choice(games), self._die.choice("ABC"))
            return
        (esme,) = self._die.choices(self.esmes, [esme.plan.weight for esme in self.esmes])
        esme.speak(list(self.phones.values()))

    def pretend(self, rogue: Switch) -> None:
        """The switch that serves nobody sends as one phone to another."""
        assert self.plan.rogue is not None
        if not rogue.link.bound:
            return
        self.tally["pretended"] += 1
        victim, to = self._die.sample(list(self.phones.values()), 2)
        rogue.send(victim, to.number, self.plan.rogue.text)


def written_submits(source: str, to: str, text: str, *, reference: int) -> list[pdu.SubmitSm]:
    """A text as the submit_sm it takes. Numbers as people write them."""
    source_ton, source_npi, source_addr = written_number(source)
    dest_ton, dest_npi, destination_addr = written_number(to)
    return [
        pdu.SubmitSm(
            source_addr_ton=source_ton,
            source_addr_npi=source_npi,
            source_addr=source_addr,
            dest_addr_ton=dest_ton,
            dest_addr_npi=dest_npi,
            destination_addr=destination_addr,
            esm_class=esm_class,
            data_coding=data_coding,
            short_message=octets,
        )
        for esm_class, data_coding, octets in written_text(text, reference)
    ]


def _network_error(cause: int) -> bytes:
    return tlv.one(Tag.network_error_code, bytes((GSM, cause >> 8, cause & 0xFF)))
