"""`restante demo`: a center with a network around it, for the first five minutes.

In charge of: making a temporary center, telling it of the network by the admin interface, running both in one process,
and the commands for a second terminal. Not in charge of: the center (`../serve.py`), the network (`simulator/`), the
words (`demo_screen.py`).

The center is the real one, made by `restante init` and served as `restante serve` does; only the passwords are
published ones, which `restante serve` refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from random import Random
from typing import Any

import typer
from rich.live import Live

from ..simulator.network import Network
from ..simulator.phone import Phone, PhoneState, ScreenLine
from ..simulator.plan import DEMO, HomePlan, NetworkPlan, RoguePlan
from ..simulator.probe import Probe
from .client import Client, OperatorFile
from .demo_control import ask, forget, listen
from .demo_screen import guide, plain_line, screens
from .output import ConfigFile, Failure, Json, Output
from .site import CONFIG_FILE, OPERATOR_FILE, Running, Site, site

__all__ = ["app", "provision"]

app = typer.Typer(help="A center with a simulated network, to try things.", invoke_without_command=True)

PORTS = {"smpp.port": 2775, "http.port": 8775, "ops.port": 9775}
FREE_PORTS = {f"RESTANTE_{name.upper().replace('.', '_')}": "0" for name in PORTS}
SERVED_FILE = "served.csv"  #: which switch serves each phone
READY_S = 60.0  #: how long the center and the binds may take
DRAW_S = 0.5
CODE_S = 20.0  #: how long `demo code` waits for a code on the screen


@app.callback()
def demo(
    context: typer.Context,
    keep: Path | None = typer.Option(None, "--keep", metavar="DIR", help="Keep the center in this folder."),
    rate: float = typer.Option(3.0, "--rate", min=0, max=1000, help="Messages a second, on average."),
    seed: int = typer.Option(7, "--seed", help="The same seed, the same story."),
    seconds: float | None = typer.Option(None, "--for", min=0, metavar="SECONDS", help="Stop by itself."),
    as_json: Json = False,
) -> None:
    """Start a center, a network of phones and applications, and a few messages a second."""
    if context.invoked_subcommand is not None:
        return
    with Output(as_json) as out:
        folder = Path(tempfile.mkdtemp(prefix="restante-demo-")) if keep is None else keep.absolute()
        try:
            from .init import prepare
            from .serve import LogForm, configure_log, run

            configure_log(LogForm.TEXT, "error")
            if not (folder / CONFIG_FILE).exists():
                ports = {name: free_port(port) for name, port in PORTS.items()}
                prepare(folder, {**ports, "affiliations.table.file": SERVED_FILE})
            (folder / SERVED_FILE).write_text(DEMO.served)
            for environ in ({}, FREE_PORTS):
                place = site(str(folder / CONFIG_FILE), environ=environ)
                story = Demo(out, place, DEMO, rate=rate, seed=seed, seconds=seconds, kept=keep is not None)
                try:
                    run(story.run())
                    break
                except OSError as error:  # a port taken since it was looked at
                    if error.errno != errno.EADDRINUSE or environ:
                        raise
        finally:
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)
        out.line(f"the demo is over; {'everything is in ' + str(folder) if keep else 'nothing was kept'}")


def free_port(wanted: int) -> int:
    """The usual port, if nobody listens on it; else 0: each start of a kept demo takes one that is free then."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


def provision(client: Client, plan: NetworkPlan) -> None:
    """Tell a center of the network, by the admin interface. What is there already is left alone."""
    known = {one["system_id"] for one in client.pages("/admin/accounts")}
    if plan.range not in {one["prefix"] for one in client.pages("/admin/ranges")}:
        client.post("/admin/ranges", {"prefix": plan.range, "description": "phones of the demo"})
    accounts: list[tuple[dict[str, Any], str]] = [
        (
            {"system_id": plan.switch_id, "role": "switch", "description": "reaches the phones"},
            plan.switch_password,
        )
    ]
    if plan.rogue is not None:
        pretender = {
            "system_id": plan.rogue.switch_id,
            "role": "switch",
            "description": "serves nobody, and pretends",
        }
        accounts.append((pretender, plan.rogue.switch_password))
    for esme in plan.esmes:
        body = {"system_id": esme.system_id, "description": esme.description, "numbers": [esme.rule]}
        accounts.append((body, esme.password))
    for body, password in accounts:
        if body["system_id"] not in known:
            made = client.post("/admin/accounts", body)
            client.post(f"/admin/accounts/{made['id']}/credentials:rotate", {"password": password})
    route = {"name": f"to-{plan.switch_id}", "prefix": plan.range, "account": plan.switch_id}
    if route["name"] not in {one["name"] for one in client.pages("/admin/routes")}:
        client.post("/admin/routes", route)
    numbers = {
        number for one in client.pages("/admin/subscribers", prefix=plan.range) for number in one["numbers"]
    }
    for phone in plan.phones:
        if phone.number not in numbers:
            client.post("/admin/subscribers", {"numbers": [phone.number]})
    for home in plan.homes:
        provision_home(client, plan, home)
    if plan.rogue is not None:
        provision_belief(client, plan.rogue)


def provision_home(client: Client, plan: NetworkPlan, home: HomePlan) -> None:
    """A phone's home zone: outside it, messages wait."""
    if home.zone in {one["name"] for one in client.pages("/admin/zones")}:
        return
    middle, policy = home.places[0], f"wait for {home.phone}"
    place = {"latitude": middle.latitude, "longitude": middle.longitude}
    client.post(
        "/admin/zones", {"name": home.zone, "shape": {"kind": "circle", "radius_m": home.radius_m, **place}}
    )
    client.post("/admin/zone-policies", {"name": policy, "on_outside": "hold", "on_unknown": "open"})
    zones = [{"zone": home.zone, "policy": policy}]
    client.put(f"/admin/numbers/{plan.number_of(home.phone)}/zones", {"zones": zones})


def provision_belief(client: Client, rogue: RoguePlan) -> None:
    """Who pretends is refused: a switch that does not serve the sender, a name that belongs to somebody else."""
    if rogue.name in {one["name"] for one in client.pages("/admin/spoof/protected-senders")}:
        return
    client.post("/admin/spoof/protected-senders", {"name": rogue.name, "owners": [rogue.owner]})
    for role in ("switch", "esme"):
        # One in eleven messages pretends, and does not stop: that is no reason to look away here.
        body = {"name": f"demo {role}", "ingress": role, "mode": "enforce", "fall_back_share": 0}
        client.post("/admin/spoof/policies", body)


class Demo:
    """One run: the center, the network, the screen."""

    def __init__(
        self,
        out: Output,
        place: Site,
        plan: NetworkPlan,
        *,
        rate: float,
        seed: int,
        seconds: float | None,
        kept: bool,
    ) -> None:
        self.out = out
        self.place = place
        self.plan = plan
        self.rate = rate
        self.seed = seed
        self.seconds = seconds
        self.kept = kept
        self.told = False
        self.live = out.console.is_terminal and not out.as_json

    async def run(self) -> None:
        """Until Ctrl-C, SIGTERM or the end of --for."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with self._center() as (running, facts):
            with Client(running.url, facts["api_key"]) as client:
                await asyncio.to_thread(provision, client, self.plan)
            host, _, port = running.smpp.rpartition(":")
            network = Network(
                self.plan, host, int(port), die=Random(self.seed), now=time.time, on_screen=self._on_screen
            )
            speaking = asyncio.create_task(network.run(stop, rate=self.rate))
            probe = Probe(running.url, facts["api_key"])
            probing = asyncio.create_task(probe.run(stop, network.phones.values()))
            control = await listen(
                self.place.folder, secrets.token_hex(16), lambda asked: self._answer(network, probe, asked)
            )
            try:
                await self._bound(network, stop)
                self._tell(running, facts["password"])
                await self._watch(network, stop)
            finally:
                stop.set()
                control.close()
                forget(self.place.folder)
                await asyncio.gather(speaking, probing)

    @contextlib.asynccontextmanager
    async def _center(self) -> AsyncGenerator[tuple[Running, dict[str, str]]]:
        """The center, from open doors to the end."""
        from .serve import run_center

        ready: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        ends: list[asyncio.Event] = []
        serving = asyncio.create_task(run_center(self.place, ends.append, ready.set_result))
        await asyncio.wait([serving, ready], timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving  # raises what kept it from starting
        try:
            yield await ready, OperatorFile(self.place.folder / OPERATOR_FILE).read()
        finally:
            for end in ends:
                end.set()
            await serving

    async def _bound(self, network: Network, stop: asyncio.Event) -> None:
        deadline = time.monotonic() + READY_S
        while not network.bound and not stop.is_set():
            if time.monotonic() > deadline:
                refused = [str(link.refused) for link in network.links if link.refused is not None]
                raise Failure("the network cannot bind: " + ("; ".join(refused) or "nobody answers"))
            await asyncio.sleep(0.05)

    def _tell(self, running: Running, password: str) -> None:
        if self.out.as_json:
            self.out.document(
                {
                    "folder": str(self.place.folder),
                    "url": running.url,
                    "smpp": running.smpp,
                    "ops": running.ops,
                    "operator": {"name": "admin", "password": password},
                    "accounts": self.plan.published,
                    "phones": {phone.name: phone.number for phone in self.plan.phones},
                }
            )
        for line in guide(self.plan, running, self.place.folder, password, self.kept):
            self.out.line(line)
        self.told = True

    async def _watch(self, network: Network, stop: asyncio.Event) -> None:
        """Draw the screens until it is over."""
        deadline = time.monotonic() + self.seconds if self.seconds is not None else None
        with contextlib.ExitStack() as stack:
            live = None
            if self.live:
                live = stack.enter_context(
                    Live(screens(network), console=self.out.console, auto_refresh=False)
                )
            while not stop.is_set() and (deadline is None or time.monotonic() < deadline):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), DRAW_S)
                if live is not None:
                    live.update(screens(network), refresh=True)

    def _on_screen(self, phone: Phone, line: ScreenLine) -> None:
        if self.told and not self.live:
            self.out.line(plain_line(phone, line))

    async def _answer(self, network: Network, probe: Probe, asked: dict[str, Any]) -> dict[str, Any]:
        """What a second terminal wants to know or to change."""
        phone = network.phones.get(str(asked.get("phone", "")))
        if phone is None:
            return {
                "error": f"there is no phone {asked.get('phone')}",
                "fix": f"one of {', '.join(network.phones)}",
            }
        if asked.get("state"):
            phone.state = PhoneState(asked["state"])
        if asked.get("place"):
            error = await self._move(probe, phone, str(asked["place"]))
            if error:
                return error
        return {
            "name": phone.name,
            "place": phone.place.name if phone.place is not None else "",
            "number": phone.number,
            "state": phone.state.value,
            "received": phone.received,
            "refused": phone.refused,
            "screen": [{"at": line.at, "from": line.sender, "text": line.text} for line in phone.screen],
        }

    async def _move(self, probe: Probe, phone: Phone, name: str) -> dict[str, Any]:
        """Let a phone be somewhere else, and the network tell the center; what went wrong, if anything."""
        home = next((one for one in self.plan.homes if one.phone == phone.name), None)
        place = home.place(name) if home is not None else None
        if home is None or place is None:
            where = ", ".join(f"{one.phone} {at.name}" for one in self.plan.homes for at in one.places)
            return {"error": f"{phone.name} does not go {name}", "fix": f"one of: {where}"}
        phone.place = place
        return {} if await probe.report(phone) else {"error": "the center did not hear where the phone is"}


@app.command("phone")
def phone_state(
    name: str = typer.Argument(help="ann, ben, cleo …"),
    state: PhoneState | None = typer.Argument(
        None, help="on, off, busy or slow; without it nothing changes."
    ),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Switch a phone of the running demo, and show its screen."""
    with Output(as_json) as out:
        found = ask(config_file, {"phone": name, "state": state.value if state else ""})
        if as_json:
            out.document(found)
        out.line(f"{found['name']} {found['number']} is {found['state']}")
        for line in found["screen"]:
            at = time.strftime("%H:%M:%S", time.localtime(line["at"]))
            out.line(f"  {at}  {line['from']}: {line['text']}")


@app.command("move")
def move(
    name: str = typer.Argument(help="finn"),
    place: str = typer.Argument(help="home or away."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Let a phone of the running demo walk home, or out of its home zone. The network tells the center."""
    with Output(as_json) as out:
        found = ask(config_file, {"phone": name, "place": place})
        if as_json:
            out.document(found)
        out.line(f"{found['name']} {found['number']} is {found['place']}")


@app.command("code")
def code(
    name: str = typer.Argument(help="ann, ben, cleo …"),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Print the newest one-time code on a phone's screen; waits a while for one that is younger than a minute."""
    with Output(as_json) as out:
        deadline = time.monotonic() + CODE_S
        while True:
            found = ask(config_file, {"phone": name})
            codes = [match[0] for line in found["screen"] if (match := fresh_code(line))]
            if codes:
                break
            if time.monotonic() > deadline:
                raise Failure(
                    f"no code on the screen of {name}", fix=f"switch it on: restante demo phone {name} on"
                )
            time.sleep(0.2)
        if as_json:
            out.document({"code": codes[-1]})
        out.line(codes[-1])


def fresh_code(line: dict[str, Any]) -> re.Match[str] | None:
    """The six digits in a message of the last minute."""
    return re.search(r"\b[0-9]{6}\b", line["text"]) if time.time() - line["at"] < 60 else None
