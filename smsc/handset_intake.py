"""What handsets say to the center, whatever protocol brought it.

In charge of: turning SMS-SUBMIT into a draft for submission, SMS-COMMAND into what it asks for, and the outcome into
what the handset is told: the cause of RP, TP-FCS and the report. Not in charge of: the octets of TPDUs (`signaling/`),
who may send what (`submission.py` and its checks), GSUP (`gsup_door.py`) or Diameter (`sgd_door.py`).

Theory. Who sent a message is what the switch says, never the handset. A switch that names the subscriber by IMSI alone
is believed too, and the number is looked up. A handset is told "accepted" only after the message is on disk; if it is
not known whether it is, the handset is told nothing and repeats itself (`repeats.py`).

Sources: 3GPP TS 23.040 §9.2.2.2 (submit), §9.2.2.4 (command), §9.2.3.22 (TP-FCS); TS 24.011 §8.2.5.4 (causes);
TS 29.338 §6.2 (Diameter). What each refusal becomes: behaviour.md 3, notes/antispoof.md 2.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import structlog

from ..access.accounts import Account
from ..message import Address, Ingress, Message, Role
from ..metrics import counter
from ..signaling.causes import DeliveryFailure, FailureCause, RpCause
from ..signaling.registers import AddressType
from ..signaling.tp_time import read_validity, time_stamp
from ..signaling.tpdu import BadTpdu, Command, Submit, SubmitReport, decode_from_handset
from ..signaling.user_data import data_coding_of
from ..store.clock import Clock
from .answers import CONFLICT, Accepted, Refused
from .handset_settings import HandsetSettings
from .identity import spelled
from .normaliser import Normalisers
from .repeats import Mark, Repeats
from .smpp import tlv
from .smpp.command_status import CommandStatus as Status
from .submission import Submission

__all__ = ["ACKNOWLEDGED", "BUSY", "REJECTED", "HandsetIntake", "Reply", "Spoken", "draft_of"]

_log = structlog.get_logger(__name__)

_said = counter("handsets", "said", "TPDUs of handsets, by kind and answer", ("kind", "answer"))

_ESM_UDHI, _ESM_REPLY_PATH = 0x40, 0x80  # SMPP 3.4 §5.2.12
_WANTS_RECEIPT = 0x01

#: What the names of switches are at each door.
_ADDRESS_OF = {"gsup": AddressType.IPA_NAME, "sgd": AddressType.DIAMETER_HOST}

#: Look-ups of numbers and commands under way; beyond it handsets are told to try later.
MOST_PENDING = 1000


class Reply(NamedTuple):
    """What a handset is told."""

    cause: int = 0  #: `RpCause`; 0: accepted
    fcs: int | None = None  #: `FailureCause` of the report
    failure: DeliveryFailure | None = None  #: the same for Diameter
    slug: str = "accepted"  #: for figures

    def report(self, at_ms: int, offset_minutes: int) -> bytes:
        """The SMS-SUBMIT-REPORT that goes with it; times as in status reports."""
        fcs = (self.fcs or FailureCause.UNSPECIFIED) if self.cause else None
        return SubmitReport(time_stamp(at_ms, offset_minutes), fcs).encode()


ACKNOWLEDGED = Reply()
_AGAIN = Reply(slug="repeated")
BUSY = Reply(RpCause.CONGESTION, FailureCause.SC_BUSY, DeliveryFailure.SC_CONGESTION, "busy")
_UNREADABLE = Reply(
    RpCause.INVALID_MANDATORY_INFORMATION, FailureCause.TPDU_NOT_SUPPORTED,
    DeliveryFailure.EQUIPMENT_PROTOCOL_ERROR, "unreadable",
)  # fmt: skip
_NOBODY = Reply(
    RpCause.UNKNOWN_SUBSCRIBER,
    FailureCause.NO_SC_SUBSCRIPTION,
    DeliveryFailure.USER_NOT_SC_USER,
    "unknown-sender",
)
_NOT_SET_UP = Reply(
    RpCause.NETWORK_OUT_OF_ORDER, FailureCause.SC_SYSTEM_FAILURE, DeliveryFailure.SC_CONGESTION, "no-account"
)
_DUPLICATE = Reply(
    RpCause.TRANSFER_REJECTED, FailureCause.DUPLICATE_REJECTED, DeliveryFailure.SC_CONGESTION, "duplicate"
)
#: Refused, and no later attempt will do better.
REJECTED = Reply(
    RpCause.TRANSFER_REJECTED, FailureCause.UNSPECIFIED, DeliveryFailure.USER_NOT_SC_USER, "rejected"
)
_BY_STATUS: Mapping[int, Reply] = {
    Status.ESME_RINVSRCADR: REJECTED,
    Status.ESME_RINVDSTADR: Reply(
        RpCause.UNASSIGNED_NUMBER, FailureCause.INVALID_SME_ADDRESS, DeliveryFailure.INVALID_SME_ADDRESS,
        "no-destination",
    ),
    Status.ESME_RTHROTTLED: BUSY,
    Status.ESME_RMSGQFUL: BUSY,
    Status.ESME_RSYSERR: Reply(
        RpCause.TEMPORARY_FAILURE, FailureCause.SC_SYSTEM_FAILURE, DeliveryFailure.SC_CONGESTION, "failed"
    ),
    Status.ESME_RINVEXPIRY: Reply(
        RpCause.TRANSFER_REJECTED, FailureCause.VP_NOT_SUPPORTED, DeliveryFailure.USER_NOT_SC_USER, "validity"
    ),
}  # fmt: skip

Answer = Callable[[Reply | None], None]  #: None: nobody knows what to say; the handset will repeat itself


@dataclass(frozen=True, slots=True)
class Spoken:
    """One TPDU of a handset, as its switch brought it."""

    door: str  #: "gsup" or "sgd"
    switch: str  #: trusted name of the switch; "" if nobody vouches for it
    peer: str  #: "address:port"
    authenticated: str  #: how the link was: "address", "relay", …
    tpdu: bytes
    imsi: str = ""  #: digits, as the switch says
    number: Address | None = None  #: of the sender, as the switch says
    asserted: Mapping[str, str] = field(default_factory=dict[str, str])  #: what else the peer merely said


#: Carries out what SMS-COMMAND asks for: command, number of the sender, it and the recipient in normal form, account.
Obey = Callable[[Command, Address, str, str, Account, Ingress], Awaitable[Reply]]


class HandsetIntake:
    """Takes in what handsets say. Lives on the event loop."""

    def __init__(
        self,
        settings: HandsetSettings,
        *,
        account: Callable[[str], Account | None],
        submission: Submission,
        repeats: Repeats,
        obey: Obey,
        number_of: Callable[[str], Awaitable[str]],
        clock: Clock,
    ) -> None:
        """`number_of`: E.164 digits of an IMSI, "" if nobody knows."""
        self._settings = settings
        self._account = account
        self._submission = submission
        self._repeats = repeats
        self._obey = obey
        self._number_of = number_of
        self._clock = clock
        self._normalisers = Normalisers()
        self._work: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up what is being looked up."""
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def take(self, spoken: Spoken, answer: Answer) -> None:
        """Take a TPDU in; `answer` is called once, on the loop, perhaps before this returns."""
        try:
            said = decode_from_handset(spoken.tpdu)
        except BadTpdu as problem:
            _log.info("handset-unreadable", switch=spoken.switch, problem=str(problem))
            self._tell(answer, "unreadable", _UNREADABLE)
            return
        if not isinstance(
            said, Submit | Command
        ):  # a report belongs to a message of ours, and comes with its answer
            self._tell(answer, "report", _UNREADABLE)
            return
        account = self._account(self._settings.account)
        if account is None:
            _log.error("no-account-for-handsets", account=self._settings.account)
            self._tell(answer, _kind(said), _NOT_SET_UP)
        elif spoken.number is not None and spoken.number.digits:
            self._understood(spoken, said, spoken.number, account, answer)
        else:
            self._begin(self._identify(spoken, said, account, answer), _kind(said), answer)

    async def _identify(
        self, spoken: Spoken, said: Submit | Command, account: Account, answer: Answer
    ) -> None:
        """The switch told the IMSI only."""
        digits = await self._number_of(spoken.imsi) if spoken.imsi else ""
        if digits:
            self._understood(spoken, said, Address(1, 1, digits), account, answer)
        else:
            self._tell(answer, _kind(said), _NOBODY)

    def _understood(
        self, spoken: Spoken, said: Submit | Command, number: Address, account: Account, answer: Answer
    ) -> None:
        normal = self._normalisers.of(account.number_rules).normal
        sender, recipient = normal(number), normal(said.da)
        if isinstance(said, Submit):
            self._submit(spoken, said, number, sender, recipient, account, answer)
        else:
            obey = partial(self._obey, said, number, sender, recipient, account, _ingress(spoken, account))
            self._begin(self._command(obey, answer), "command", answer)

    # ---------------------------------------------------------------------------------------------------- submits

    def _submit(
        self,
        spoken: Spoken,
        submit: Submit,
        number: Address,
        sender: str,
        recipient: str,
        account: Account,
        answer: Answer,
    ) -> None:
        mark: Mark | None = None
        if self._settings.repeat_s and sender and recipient:
            mark = Mark.of(account.number, sender, recipient, submit.mr, spoken.tpdu, spoken.switch)
            if self._repeats.is_known(mark):
                self._tell(answer, "submit", _AGAIN)
                return
        draft = draft_of(submit, number, self._clock.now_ms())
        writes = (self._repeats.write(mark),) if mark is not None else ()

        def done(outcome: Accepted | Refused) -> None:
            if isinstance(outcome, Accepted):
                if mark is not None:
                    self._repeats.stored(mark)
                self._tell(answer, "submit", ACKNOWLEDGED)
            elif outcome.unknown:
                self._tell(answer, "submit", None)
            elif outcome.reason == CONFLICT.reason and mark is not None:
                self._begin(self._repeated(mark, answer), "submit", answer)
            else:
                self._tell(answer, "submit", _BY_STATUS.get(outcome.status, REJECTED))

        self._submission.submit(draft, account, _ingress(spoken, account), done, writes)

    async def _repeated(self, mark: Mark, answer: Answer) -> None:
        """It met a mark: the same message, or one that TP-RD asked not to take."""
        same = await self._repeats.is_same(mark)
        if same:
            self._repeats.stored(mark)
        self._tell(answer, "submit", _AGAIN if same else _DUPLICATE)

    # --------------------------------------------------------------------------------------------------- commands

    async def _command(self, obey: Callable[[], Awaitable[Reply]], answer: Answer) -> None:
        self._tell(answer, "command", await obey())

    def _begin(self, work: Coroutine[None, None, None], kind: str, answer: Answer) -> None:
        """Do what must wait, within bounds; if the database is away the handset is told to come again."""
        if len(self._work) >= MOST_PENDING:
            work.close()
            self._tell(answer, kind, BUSY)
            return

        async def guarded() -> None:
            try:
                await work
            except (OSError, TimeoutError) as problem:
                _log.warning("handset-not-answered", kind=kind, problem=str(problem))
                self._tell(answer, kind, _BY_STATUS[Status.ESME_RSYSERR])

        task = asyncio.get_running_loop().create_task(guarded(), name=f"handset {kind}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _tell(self, answer: Answer, kind: str, reply: Reply | None) -> None:
        _said.labels(kind, reply.slug if reply is not None else "silence").inc()
        answer(reply)


def draft_of(submit: Submit, source: Address, now_ms: int) -> Message:
    """A submit as a draft. TP-MR is kept as its reference, so that reports can name it."""
    header = submit.ud.header
    udhi = submit.ud.udhi or bool(header)
    validity = read_validity(submit.vpf, submit.vp, now_ms)
    return Message(
        source=source,
        destination=submit.da,
        body=header + submit.ud.payload,
        esm_class=(_ESM_UDHI if udhi else 0) | (_ESM_REPLY_PATH if submit.rp else 0),
        protocol_id=submit.pid,
        data_coding=data_coding_of(submit.dcs),
        registered_delivery=_WANTS_RECEIPT if submit.srr else 0,
        tlvs=tlv.one(tlv.Tag.user_message_reference, submit.mr),
        # One shot: a validity of zero allows one attempt (behaviour.md 5).
        expires_at=now_ms if validity.single_shot else validity.expires_ms or 0,
    )


def _kind(said: Submit | Command) -> str:
    return "submit" if isinstance(said, Submit) else "command"


def _ingress(spoken: Spoken, account: Account) -> Ingress:
    asserted = dict(spoken.asserted)
    if spoken.imsi:
        asserted["imsi"] = spoken.imsi
    return Ingress(
        door=spoken.door,
        account=account.number,
        role=Role.SWITCH,
        name=spoken.switch or account.system_id,
        peer=spoken.peer,
        authenticated=spoken.authenticated,
        trusted=spelled(_ADDRESS_OF[spoken.door], spoken.switch) if spoken.switch else "",
        asserted=asserted,
    )
