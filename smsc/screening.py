"""Runs the checks.

In charge of: calling the registered checks in order, waiting for those that look something up, choosing the verdict
that decides, and keeping all evidence. Not in charge of: the checks themselves, or what a verdict does to a message
(`submission.py`, `attempts.py`).

Theory: a chain runs on the loop without suspending as long as each check answers at once. When one returns an
awaitable, the rest of the chain moves to a task that belongs to this message alone; the connection it came from goes
on. A REJECT ends the chain; otherwise the strongest counting verdict wins (behaviour.md 4). A check that raises or
overruns its time counts as FLAG with the failure as evidence: a broken policy must be seen, but never eats messages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import TypeVar

import structlog

from ..check import ACCEPT, Action, Check, Stage, Verdict, strongest
from ..message import Event, EventKind, Ingress, Message

__all__ = ["CLEAR", "Finding", "Screening", "evidence_events", "heard", "held_event", "marks_of"]

_log = structlog.get_logger(__name__)

A = TypeVar("A")

#: A check that takes longer than this has broken its own promise (seconds).
CHECK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What the whole chain said."""

    verdict: Verdict  #: the one that decides
    evidence: tuple[Verdict, ...] = ()  #: every verdict with something to say, monitor mode included


#: Nobody had anything to say.
CLEAR = Finding(ACCEPT)


class Screening:
    """The chains of both stages. Checks are fixed at start; their policies are live inside them."""

    def __init__(self, checks: Sequence[Check], *, timeout_s: float = CHECK_TIMEOUT_S) -> None:
        """`checks` in their order of behaviour.md 4."""
        names = [check.name for check in checks]
        if len(set(names)) != len(names):
            raise ValueError(f"two checks have the same name: {names}")
        self._chains = {stage: tuple(c for c in checks if stage in c.stages) for stage in Stage}
        self._timeout_s = timeout_s
        self._waiting: set[asyncio.Task[None]] = set()

    def has(self, stage: Stage) -> bool:
        """True if any check is asked at this stage."""
        return bool(self._chains[stage])

    @property
    def waiting(self) -> int:
        """Messages parked behind a check that looks something up."""
        return len(self._waiting)

    def examine(
        self,
        message: Message,
        ingress: Ingress,
        stage: Stage,
        done: Callable[[Finding], None],
        after: str = "",
    ) -> None:
        """Run a stage's chain and call `done` with the finding: before returning if no check has to wait.

        `after`: name of the check that stopped the message earlier; the chain resumes behind it.
        """
        chain = self._chains[stage]
        if after:
            names = [check.name for check in chain]
            chain = chain[names.index(after) + 1 :] if after in names else chain
        if message.is_system or not chain:
            done(CLEAR)
            return
        said: list[Verdict] = []
        for at, check in enumerate(chain):
            answer = _ask(check, message, ingress, stage)
            if answer is ACCEPT:  # the common case
                continue
            if isawaitable(answer):
                rest = self._wait(answer, chain[at:], message, ingress, stage, said, done)
                task = asyncio.get_running_loop().create_task(rest)
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)
                return
            said.append(answer)
            if answer.counts and answer.action is Action.REJECT:
                break
        done(_conclude(said))

    async def _wait(
        self,
        first: Awaitable[Verdict],
        chain: Sequence[Check],
        message: Message,
        ingress: Ingress,
        stage: Stage,
        said: list[Verdict],
        done: Callable[[Finding], None],
    ) -> None:
        """Finish a chain whose first check owes an answer."""
        for at, check in enumerate(chain):
            pending = first if at == 0 else _ask(check, message, ingress, stage)
            if isawaitable(pending):
                verdict = await self._bounded(check, pending)
            else:
                verdict = pending
            if verdict is not ACCEPT:
                said.append(verdict)
                if verdict.counts and verdict.action is Action.REJECT:
                    break
        done(_conclude(said))

    async def _bounded(self, check: Check, pending: Awaitable[Verdict]) -> Verdict:
        try:
            return await asyncio.wait_for(pending, self._timeout_s)
        except TimeoutError:
            return _failed(check, "timeout")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # we are closing; otherwise the check gave itself up
                raise
            return _failed(check, "cancelled")
        except Exception as error:  # a policy's bug is recorded with the message it met, which goes on
            _log.exception("check-failed", check=check.name)
            return _failed(check, type(error).__name__)

    async def close(self) -> None:
        """Give waiting checks up; their messages were not answered and are not stored."""
        for task in list(self._waiting):
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)


def _ask(check: Check, message: Message, ingress: Ingress, stage: Stage) -> Verdict | Awaitable[Verdict]:
    """Ask one check; one that raises has a bug, which is recorded with the message it met, which goes on."""
    try:
        return check.examine(message, ingress, stage)
    except Exception as error:
        _log.exception("check-failed", check=check.name)
        return _failed(check, type(error).__name__)


def _failed(check: Check, failure: str) -> Verdict:
    return Verdict(Action.FLAG, check=check.name, reason="check-failed", evidence={"failure": failure})


def _conclude(said: list[Verdict]) -> Finding:
    if not said:
        return CLEAR
    return Finding(strongest(said), tuple(v for v in said if v.action is not Action.ACCEPT or v.evidence))


# ------------------------------------------------------------------------------------------------ what follows


def marks_of(finding: Finding) -> bytes:
    """Optional parameters that checks put on a message that goes on."""
    return b"".join(one.tlvs for one in finding.evidence if one.counts)


def heard(
    message: Message, finding: Finding, done: Callable[[A], None], status_of: Callable[[A], int]
) -> Callable[[A], None]:
    """`done`, which tells the checks that want to know what was answered as well."""
    wanted = [one.answered for one in finding.evidence if one.answered is not None]
    if not wanted:
        return done

    def told(answer: A) -> None:
        for answered in wanted:
            answered(message, status_of(answer))
        done(answer)

    return told


# ------------------------------------------------------------------------------------------------ what is recorded


def evidence_events(
    message: Message, finding: Finding, stage: Stage, *, at: int, node: int
) -> tuple[Event, ...]:
    """One EVIDENCE row per verdict that had something to say."""
    if not finding.evidence:
        return ()
    return tuple(
        Event(
            message.id, at, EventKind.EVIDENCE, reason=verdict.reason, account=message.account, node=node,
            detail=_detail(
                {
                    "check": verdict.check,
                    "action": verdict.action.name.lower(),
                    "mode": "enforce" if verdict.enforced else "monitor",
                    "stage": stage.value,
                    "evidence": dict(verdict.evidence),
                }
            ),
        )
        for verdict in finding.evidence
    )  # fmt: skip


def held_event(
    message: Message, verdict: Verdict, stage: Stage, *, queue: str, due_at: int, at: int, node: int
) -> Event:
    """A check parked the message. The detail says behind which check it goes on when an operator releases it."""
    facts: dict[str, object] = {
        "check": verdict.check,
        "stage": stage.value,
        "queue": queue,
        "due_at": due_at,
    }
    return Event(
        message.id, at, EventKind.HELD, reason=verdict.reason, account=message.account, node=node,
        detail=_detail(facts),
    )  # fmt: skip


def _detail(facts: dict[str, object]) -> str:
    return json.dumps(facts, separators=(",", ":"), default=str)
