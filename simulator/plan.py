"""The simulated network on paper: its phones, its applications, their numbers and published passwords.

In charge of: names, numbers and habits, as data. Not in charge of: running any of it (`network.py`), or telling the
center of it (`cli/demo.py`, by the admin interface).

The numbers are those that Ofcom keeps free for drama (07700 900000 to 900999): nobody has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .phone import PhoneState, Place

__all__ = ["DEMO", "EsmePlan", "Habit", "HomePlan", "NetworkPlan", "PhonePlan", "RoguePlan", "Wanted"]


@dataclass(frozen=True, slots=True)
class PhonePlan:
    """A phone as the demo starts with it."""

    name: str
    number: str  #: E.164
    state: PhoneState = PhoneState.ON


@dataclass(frozen=True, slots=True)
class HomePlan:
    """A phone's home zone, and where it goes."""

    phone: str  #: its name
    zone: str  #: name of the zone
    radius_m: int
    places: tuple[Place, ...]  #: the first is in the middle of the zone; the phone starts there

    def place(self, name: str) -> Place | None:
        """One of the places."""
        return next((place for place in self.places if place.name == name), None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One message that an application wants sent."""

    text: str
    registered_delivery: int = 0  #: SMPP 3.4 §5.2.17
    priority_flag: int = 0  #: 0..3
    recipients: int = 1  #: how many phones get it, one after the other


#: What an application says next, by the die.
Habit = Callable[[Random], Wanted]


@dataclass(frozen=True, slots=True)
class EsmePlan:
    """One application."""

    system_id: str
    password: str  #: published here: `restante serve` refuses a center that has it (SMPP allows 8 characters)
    description: str
    sender: str  #: E.164, short code, or a name of up to 11 characters
    habit: Habit
    weight: int  #: its share of the traffic
    answers: bool = False  #: replies to what phones send it

    @property
    def rule(self) -> str:
        """Its sender as a number rule of an account: names start with @."""
        return self.sender if self.sender.startswith("+") or self.sender.isdigit() else f"@{self.sender}"


@dataclass(frozen=True, slots=True)
class RoguePlan:
    """Who pretends: a switch that sends as phones of another, and an application that writes under a shop's name."""

    switch_id: str
    switch_password: str
    text: str  #: what it lets them say
    esme: str  #: system_id of the application that pretends
    name: str  #: the name it passes for
    owner: str  #: system_id of the application whose name that is


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A whole network."""

    range: str  #: prefix of its numbers, E.164
    switch_id: str
    switch_password: str
    phones: tuple[PhonePlan, ...]
    esmes: tuple[EsmePlan, ...]
    homes: tuple[HomePlan, ...] = ()
    rogue: RoguePlan | None = None

    @property
    def published(self) -> dict[str, str]:
        """Every system_id with its published password."""
        switches = {self.switch_id: self.switch_password}
        if self.rogue is not None:
            switches[self.rogue.switch_id] = self.rogue.switch_password
        return switches | {esme.system_id: esme.password for esme in self.esmes}

    @property
    def served(self) -> str:
        """Which switch serves each phone, as a table of `[affiliations.table]`."""
        rows = [f"{phone.number},,,smpp_account:{self.switch_id}" for phone in self.phones]
        return "\n".join(["msisdn,imsi,status,addresses", *rows, ""])

    def number_of(self, phone: str) -> str:
        """The number of a phone, by its name."""
        return next(one.number for one in self.phones if one.name == phone)


_HOSTS = ("db1", "db2", "web3", "mail1", "cache2")
_TROUBLES = ("disk 91 % full", "answers slowly", "is back", "was restarted", "load 14")


def alerts(die: Random) -> Wanted:
    """A monitoring system: short, urgent, and it wants to know what became of each."""
    return Wanted(f"{die.choice(_HOSTS)}: {die.choice(_TROUBLES)}", registered_delivery=1, priority_flag=2)


_GOODS = ("bread", "two lamps", "a bicycle bell", "ink", "oranges", "a kettle")


def shop(die: Random) -> Wanted:
    """A shop: named sender, now and then beyond GSM's alphabet, interested in failures only."""
    goods, price = die.choice(_GOODS), die.randrange(2, 90)
    if die.random() < 0.2:
        return Wanted(f"Спасибо! Ваш заказ №{die.randrange(1000, 9999)} уже в пути.", registered_delivery=2)
    return Wanted(f"Your order ({goods}, {price} €) leaves us today. Thank you!", registered_delivery=2)


_QUESTIONS = (
    "Which is the longest river? A Nile B Thames C Po",
    "Who wrote Hamlet? A Marlowe B Shakespeare C Jonson",
    "How many septets fit into one message? A 140 B 153 C 160",
)


def quiz(die: Random) -> Wanted:
    """A game on a short code: people answer."""
    return Wanted(f"{die.choice(_QUESTIONS)} (reply with a letter)")


def news(die: Random) -> Wanted:
    """Bulk: the same long text to several people, in no hurry."""
    story = die.choice(("The ferry", "The market", "The library", "The tram"))
    return Wanted(
        f"{story} keeps its winter hours from Monday. It opens an hour later and closes an hour earlier, "
        "on Sundays as well. The terminus has a heated waiting room with a clock that is right twice a day. "
        "Nothing else has changed, which is why this message is so long.",
        recipients=3,
    )


def prizes(die: Random) -> Wanted:
    """A swindler: a name that looks like a shop's."""
    return Wanted(f"You have won {die.choice(_GOODS)}! Send your card number to collect it.")


DEMO = NetworkPlan(
    range="+4477009001",
    switch_id="msc1",
    switch_password="demo-msc",  # noqa: S106 -- published on purpose
    phones=(
        PhonePlan("ann", "+447700900101"),
        PhonePlan("ben", "+447700900102"),
        PhonePlan("cleo", "+447700900103", PhoneState.OFF),
        PhonePlan("dora", "+447700900104", PhoneState.BUSY),
        PhonePlan("emil", "+447700900105", PhoneState.SLOW),
        PhonePlan("finn", "+447700900106"),
    ),
    esmes=(
        EsmePlan("alerts", "demo-alr", "monitoring of a data center", "+447700900901", alerts, weight=3),
        EsmePlan("shop", "demo-shp", "a shop with a name for a number", "Kiosk", shop, weight=3),
        EsmePlan("quiz", "demo-quz", "a game on a short code", "80800", quiz, weight=2, answers=True),
        EsmePlan("news", "demo-nws", "bulk messages in several parts", "+447700900902", news, weight=1),
        EsmePlan("prizes", "demo-prz", "a swindler who passes for the shop", "K1osk", prizes, weight=1),
    ),
    homes=(
        HomePlan(
            phone="finn",
            zone="Finn's village",
            radius_m=3_000,
            places=(Place("home", 51.2362, -0.5704), Place("away", 51.5033, -0.1196)),  # 40 km apart
        ),
    ),
    rogue=RoguePlan(
        switch_id="msc2",
        switch_password="demo-rog",  # noqa: S106 -- published on purpose
        text="Mum, I lost my purse. Please send money to this number.",
        esme="prizes",
        name="Kiosk",
        owner="shop",
    ),
)
