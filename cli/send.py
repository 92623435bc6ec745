"""`restante send`: send a text.

In charge of: the command, over REST or, for trying a bind, over SMPP. Not in charge of: taking messages in.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import typer

from .client import Client, connect
from .output import ConfigFile, Exit, Failure, Json, Output

__all__ = ["send"]

ANSWER_S = 30.0  #: how long a submit_sm_resp is waited for


def send(
    to: list[str] = typer.Argument(metavar="TO...", help="Recipients: +447700900123 or a short code."),
    text: str = typer.Argument(help="What to send."),
    source: str = typer.Option("", "--from", help="Sender: number, short code or a name."),
    priority: int = typer.Option(0, "--priority", min=0, max=3, help="0 to 3; higher goes first."),
    validity_s: int | None = typer.Option(None, "--validity", min=1, help="Seconds; default: the account's."),
    receipt: bool = typer.Option(False, "--receipt", help="Ask for a delivery receipt."),
    replace: bool = typer.Option(
        False,
        "--replace",
        help="Take the place of the newest one that waits from the same sender to the same number.",
    ),
    repeat_key: str = typer.Option(
        "", "--key", help="Idempotency-Key: a repetition with it sends nothing twice."
    ),
    smpp: str = typer.Option("", "--smpp", metavar="HOST:PORT", help="Send by SMPP instead, as --system-id."),
    system_id: str = typer.Option("", "--system-id", "-u", help="With --smpp: the account."),
    password: str = typer.Option(
        "", "--password", "-p", envvar="RESTANTE_BENCH_PASSWORD", help="Its password."
    ),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Send a text. Exit code 3 if only some recipients were accepted."""
    with Output(as_json) as out:
        if smpp:
            flags = {
                "priority_flag": priority,
                "registered_delivery": int(receipt),
                "replace_if_present_flag": int(replace),
            }
            items = _by_smpp(smpp, system_id, password, source, to, text, flags)
        else:
            body: dict[str, Any] = {"to": to, "text": text, "priority": priority, "receipt": receipt}
            if source:
                body["from"] = source
            if replace:
                body["replace_if_present"] = True
            if validity_s is not None:
                body["validity_s"] = validity_s
            with connect(config_file, key="send_key") as client:
                items = _by_rest(client, body, repeat_key or uuid.uuid4().hex)
        if as_json:
            out.document({"items": items})
        for item in items:
            if item.get("id"):
                out.line(f"{item['to']}: accepted as {item['id']}")
            else:
                out.line(f"{item['to']}: refused, {item.get('detail') or item.get('problem')}")
        accepted = sum(1 for item in items if item.get("id"))
        if len(items) == accepted == 1:
            out.line(f"next:  restante trace {items[0]['id']}")
        if accepted < len(items):
            raise typer.Exit(Exit.DEGRADED if accepted else Exit.FAILED)


def _by_rest(client: Client, body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return client.post("/messages", body, headers={"Idempotency-Key": key})["items"]


def _by_smpp(
    target: str,
    system_id: str,
    password: str,
    source: str,
    to: list[str],
    text: str,
    flags: dict[str, int],
) -> list[dict[str, Any]]:
    """Bind, submit, unbind; one item a recipient, as REST answers."""
    from ..simulator.link import Credentials
    from .bench import address

    host, port = address(target)
    if not system_id:
        raise typer.BadParameter("--smpp needs --system-id", param_hint="--system-id")
    try:
        credentials = Credentials(system_id, password)
        return asyncio.run(_submit(host, port, credentials, source, to, text, flags))
    except (OSError, ValueError) as error:
        raise Failure(f"{target}: {error}", fix="check address, system_id and password") from error


async def _submit(
    host: str,
    port: int,
    credentials: Any,
    source: str,
    to: list[str],
    text: str,
    flags: dict[str, int],
) -> list[dict[str, Any]]:
    from ..simulator.link import Connection, accept_everything
    from ..simulator.network import written_submits
    from ..smsc.smpp import pdu
    from ..smsc.smpp.codec import Pdu
    from ..smsc.smpp.command_status import status_name

    connection = await Connection.connect(host, port, credentials, on_message=accept_everything)
    loop = asyncio.get_running_loop()
    items: list[dict[str, Any]] = []
    try:
        for number, recipient in enumerate(to, 1):
            for submit in written_submits(source, recipient, text, reference=number & 0xFF):
                for name, value in flags.items():
                    setattr(submit, name, value)
                answered: asyncio.Future[Pdu | None] = loop.create_future()
                connection.send(submit, answered.set_result)
                response = await asyncio.wait_for(answered, ANSWER_S)
                if isinstance(response, pdu.SubmitSmResp) and not response.command_status:
                    items.append({"to": recipient, "id": response.message_id.decode("latin-1")})
                else:
                    said = status_name(response.command_status) if response is not None else "no answer"
                    items.append({"to": recipient, "problem": said, "detail": said})
    finally:
        await connection.unbind()
    return items
