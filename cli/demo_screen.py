"""What the demo shows: the guide of its first minute, and the phones' screens.

In charge of: the words and the drawing. Not in charge of: what happens (`demo.py`, `simulator/`).

Every line of the guide that starts with `  $ ` is a command, and a test runs them all as they stand.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..simulator.network import Network
from ..simulator.phone import Phone, PhoneState, ScreenLine
from ..simulator.plan import NetworkPlan
from .site import CONFIG_FILE, Running

__all__ = ["command_name", "guide", "plain_line", "screens"]

LINES_SHOWN = 4
PHONES_A_ROW = 3
STYLES = {PhoneState.ON: "green", PhoneState.OFF: "red", PhoneState.BUSY: "yellow", PhoneState.SLOW: "cyan"}
STATES = {
    "2": "delivered",
    "3": "expired",
    "4": "deleted",
    "5": "undeliverable",
    "8": "rejected",
}  #: message_state


def command_name() -> str:
    """How this very program is called in another terminal."""
    here = Path(sys.argv[0]).absolute()
    if here.name != "restante":
        return f"{shlex.quote(sys.executable)} -m restante"
    found = shutil.which("restante")
    if found is not None and Path(found).resolve() == here.resolve():
        return "restante"
    return shlex.quote(str(here))


def guide(plan: NetworkPlan, running: Running, folder: Path, password: str, kept: bool) -> list[str]:
    """What a newcomer is told."""
    me, api = command_name(), f"{running.url}/api/v1"
    off = next(phone for phone in plan.phones if phone.state is PhoneState.OFF)
    on = next(phone for phone in plan.phones if phone.state is PhoneState.ON)
    name = off.name.capitalize()
    esmes = ", ".join(f"{esme.system_id}/{esme.password}" for esme in plan.esmes)
    phones = ", ".join(f"{phone.name} {phone.number} ({phone.state})" for phone in plan.phones)
    otp, prove = (
        f"curl -s {api}/auth/{path} -H 'Content-Type: application/json'" for path in ("otp", "otp/$CHALLENGE")
    )
    return [
        f"Restante demo: a center, {len(plan.phones)} phones and {len(plan.esmes)} applications, all on this machine.",
        "",
        f"  SMPP        {running.smpp}  ({esmes})",
        f"  REST        {api}  (documentation: {running.url}/docs)",
        f"  operations  {running.ops}  (/healthz /readyz /metrics /version)",
        f"  operator    admin, password {password}",
        f"  phones      {phones}",
        "",
        "Try this in another terminal:",
        f"  $ export RESTANTE_CONFIG={shlex.quote(str(folder / CONFIG_FILE))}",
        f'  $ {me} send {on.number} "Hello {on.name.capitalize()}"',
        f"  $ {me} demo phone {on.name}",
        f"  $ {me} top --once",
        "",
        f"{name}'s phone is off: what is sent there waits in the mailbox.",
        f'  $ ID=$({me} send {off.number} "Where are you?" --json | sed -n \'s/.*"id": "\\([0-9]*\\)".*/\\1/p\')',
        f"  $ {me} trace $ID",
        f"  $ {me} mailbox show {off.number}",
        "",
        f"Switch the phone on and sign in to the mailbox; the code comes to {name}'s screen.",
        f"  $ {me} demo phone {off.name} on",
        f"""  $ CHALLENGE=$({otp} -d '{{"msisdn":"{off.number}"}}' | sed 's/.*"challenge_id":"\\([^"]*\\)".*/\\1/')""",
        f"  $ CODE=$({me} demo code {off.name})",
        f"""  $ TOKEN=$({prove} -d '{{"code":"'$CODE'"}}' | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')""",
        f"""  $ curl -s {api}/mailbox/messages -H "Authorization: Bearer $TOKEN\"""",
        "",
        "A list shows beginnings only. Reading the whole message ends its way: it is delivered.",
        f"""  $ curl -s {api}/mailbox/messages/$ID -H "Authorization: Bearer $TOKEN\"""",
        f"  $ {me} trace $ID",
        "",
        *home_guide(plan, me),
        *rogue_guide(plan, me),
        f"Everything is in {folder}"
        + (" and stays there." if kept else "; nothing is kept.")
        + " Stop: Ctrl-C",
        "",
    ]


def rogue_guide(plan: NetworkPlan, me: str) -> list[str]:
    """The same about those who pretend."""
    rogue = plan.rogue
    if rogue is None:
        return []
    newest = f"{me} spoof verdicts --link {rogue.switch_id} --limit 1 --json"
    message = 'sed -n \'s/.*"message_id": "\\([0-9]*\\)".*/\\1/p\''
    return [
        f"Refused: {rogue.switch_id} sends as phones of {plan.switch_id}; {rogue.esme} has a name like {rogue.name}.",
        f"  $ SPOOFED=$({newest} | {message})",
        f"  $ {me} trace $SPOOFED",
        f"  $ {me} spoof evaluate {plan.phones[0].number} {rogue.switch_id}",
        "",
    ]


def home_guide(plan: NetworkPlan, me: str) -> list[str]:
    """The same about home zones."""
    if not plan.homes:
        return []
    home = plan.homes[0]
    number, name, (inside, outside, *_) = plan.number_of(home.phone), home.phone.capitalize(), home.places
    return [
        f"{name} has a home zone: when {name} is out of it, messages wait.",
        f"  $ {me} demo move {home.phone} {outside.name}",
        f'  $ WAITING=$({me} send {number} "Supper?" --json | sed -n \'s/.*"id": "\\([0-9]*\\)".*/\\1/p\')',
        f"  $ {me} zone explain @Kiosk {number}",
        f"  $ {me} trace $WAITING",
        "",
        f"{name} comes home, and they arrive.",
        f"  $ {me} demo move {home.phone} {inside.name}",
        f"  $ {me} demo phone {home.phone}",
        "",
    ]


def plain_line(phone: Phone, line: ScreenLine) -> str:
    """One message on one screen, for a log."""
    at = time.strftime("%H:%M:%S", time.localtime(line.at))
    parts = f" ({line.parts} parts)" if line.parts > 1 else ""
    return f"{at}  {phone.name:<6} {line.sender}: {line.text}{parts}"


def screens(network: Network) -> Group:
    """Every phone with what it shows, and how the network fares."""
    grid = Table.grid(expand=True)
    for _ in range(PHONES_A_ROW):
        grid.add_column(ratio=1)
    panels = [_panel(phone) for phone in network.phones.values()]
    for start in range(0, len(panels), PHONES_A_ROW):
        grid.add_row(*panels[start : start + PHONES_A_ROW])
    return Group(grid, Text(tally_line(network.tally), style="dim"))


def _panel(phone: Phone) -> Panel:
    lines = [
        Text.assemble((f"{line.sender} ", "bold"), line.text, overflow="ellipsis", no_wrap=True)
        for line in list(phone.screen)[-LINES_SHOWN:]
    ]
    blank = [Text()] * (LINES_SHOWN - len(lines))
    where = f", {phone.place.name}" if phone.place is not None else ""
    title = Text(f"{phone.name} [{phone.state}{where}] {phone.number}")
    return Panel(Group(*lines, *blank), title=title, border_style=STYLES[phone.state])


def tally_line(tally: Counter[str]) -> str:
    """What the applications counted."""
    endings: Iterable[str] = (
        f"{count} {STATES.get(name.removeprefix('receipts '), name)}"
        for name, count in sorted(tally.items())
        if name.startswith("receipts ")
    )
    refused = f", {tally['refused']} refused" if tally["refused"] else ""
    told = ", ".join(endings) or "none yet"
    return (
        f"{tally['submitted']} sent, {tally['accepted']} accepted{refused}; receipts: {told}; "
        f"{tally['texted']} texted by phones, {tally['from phones']} arrived at applications"
    )
