"""`restante trace`: where is my message?

In charge of: every event of one message in order, with its time and reason, in words. Not in charge of: what happened
(the center's event rows say).
"""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.text import Text

from .client import connect
from .output import ConfigFile, Json, Output

__all__ = ["story", "trace"]

Event = dict[str, Any]

#: What each kind of event means; {} are fields of the event.
_WORDS = {
    "accepted": "stored and answered, came in by {door} as {name}",
    "evidence": "a check had something to say",
    "held": "parked by a check",
    "released": "goes on after it was parked",
    "attempt": "attempt {attempt} by {route} failed",
    "forwarded": "taken on by {route}, whose receipt will tell",
    "stored": "kept in the recipient's mailbox",
    "retrieved": "read by its recipient",
    "redelivery": "wanted on the handset again",
    "replaced": "replaced by its sender",
    "final": "ended: {state}",
    "receipt": "the sender's receipt was acknowledged",
    "note": "noted by an operator",
}
_ACCEPTED_TOLD = {"door", "name", "account", "role", "asserted"}
_STYLES = {
    "delivered": "green",
    "enroute": "",
    "expired": "yellow",
    "undeliverable": "red",
    "rejected": "red",
}


def trace(
    message: str = typer.Argument(metavar="ID", help="The message's id, as it was answered."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show everything that happened to a message, in order, with times and reasons."""
    with Output(as_json) as out, connect(config_file) as client:
        found = client.get(f"/admin/messages/{message}/trace")
        if as_json:
            out.document(found)
            return
        about = found["message"]
        part = f", part {about['part']}" if about["part"] else ""
        out.line(f"{about['kind']} {about['id']} from {about['sender'] or '-'} to {about['recipient']}{part}")
        out.line(
            f"{about['group']} ({about['state']}), {about['segments']} segment(s), account {about['account'] or '-'}"
        )
        out.line()
        out.table(
            ["at", "after", "what", "why"],
            [(event["at"], lapse(event["after_ms"]), what(event), story(event)) for event in found["events"]],
        )
        if about["waits_for"]:
            out.line()
            out.line(
                f"waits for: {about['waits_for']}, next at {about['due_at']}; expires at {about['expires_at']}"
            )


def what(event: Event) -> Text:
    """The event in words."""
    facts = {"door": "-", "name": "-", **event["detail"], **event}
    words = _WORDS.get(event["kind"], "{kind}").format_map(facts)
    if event["kind"] == "final" and event["route"]:
        words += f" by {event['route']}"
    return Text(words, style=_STYLES.get(event["state"], "") if event["kind"] == "final" else "")


def story(event: Event) -> str:
    """Reason and details of an event, apart from those that `what` told."""
    told = _ACCEPTED_TOLD if event["kind"] == "accepted" else set[str]()
    facts = [
        f"{name}={value if isinstance(value, (str, int, float)) else json.dumps(value)}"
        for name, value in event["detail"].items()
        if name not in told and value not in ("", None, event["reason"])
    ]
    return "; ".join(filter(None, [event["reason"], *facts]))


def lapse(milliseconds: int) -> str:
    """A time since the beginning, short."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
