"""A home network that speaks Diameter by a stack that nobody here wrote (python-diameter): MMEs and an HSS.

In charge of: sending what handsets say (OFR) and alerts (ALR), answering what the center asks (TFR, SRR, RDR), and
keeping what was asked. Not in charge of: the center (`running_center.py`), or what a test makes of it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from diameter.message import Message, constants
from diameter.message.avp import Avp
from diameter.node import Node
from diameter.node.application import SimpleThreadingApplication

from restante.signaling.diameter.dictionary import Application, Command
from restante.signaling.digits import digits_of, tbcd

REALM = "home.net"
CENTER_HOST = "smsc.home.net"
CENTER = "447700900999"
TGPP = constants.VENDOR_TGPP
SUCCESS = (2001, False)
PATIENCE_S = 30


@dataclass
class Asked:
    """One request of the center, or one answer of it."""

    command: int
    result: tuple[int, bool]  #: of an answer: its code, and whether it is one of 3GPP
    avps: Sequence[Avp]

    def value(self, *codes: int) -> Any:
        """The value of an AVP inside groups, outermost first; None if there is none."""
        found: Any = self.avps
        for code in codes:
            found = next((each.value for each in found if each.code == code), None)
            if found is None:
                return None
        return found

    def number(self, *codes: int) -> str:
        """The same, where digits are packed."""
        octets = self.value(*codes)
        return digits_of(octets) if octets else ""


@dataclass
class Register:
    """What the HSS knows."""

    serving: dict[str, str] = field(default_factory=dict)  #: number -> MME; "": absent
    imsis: dict[str, str] = field(default_factory=dict)  #: number -> IMSI
    router: str = ""  #: E.164 digits of an IP-SM-GW that stands in front of everybody


def _group(code: int, vendor: int, *members: Avp | None) -> Avp:
    return Avp.new(code, vendor, value=[each for each in members if each is not None])


class HomeNode:
    """One node: an MME, an HSS, or both."""

    def __init__(self, host: str, register: Register | None = None) -> None:
        self.host = host
        self.register = register or Register()
        self.asked: list[Asked] = []
        self.results: list[tuple[int, bool, Sequence[Avp]]] = []  #: of the next TFRs; then all arrive
        self.hold: threading.Event | None = None  #: TFRs are not answered before it is set
        self._node: Any = None
        self._applications: dict[int, SimpleThreadingApplication] = {}

    def start(self, peer: str, address: tuple[str, int], port: int = 0) -> None:
        """Connect to a peer; with `port`, be connected to by it instead."""
        listening: dict[str, Any] = {"ip_addresses": [address[0]], "tcp_port": port} if port else {}
        node: Any = Node(self.host, REALM, vendor_ids=[TGPP], **listening)
        self._node = node
        node.wakeup_interval = 0.2
        uri = f"aaa://{peer}" if port else f"aaa://{peer}:{address[1]}"
        known = node.add_peer(uri, REALM, [address[0]], is_persistent=not port, is_default=True)
        known.reconnect_wait = 1
        for number in (Application.S6C, Application.SGD):
            made = SimpleThreadingApplication(number, is_auth_application=True, request_handler=self._answer)
            node.add_application(made, [known], realms=[REALM])
            self._applications[number] = made
        node.start()

    def wait(self) -> None:
        """Until the peer is connected."""
        for application in self._applications.values():
            application.wait_for_ready(PATIENCE_S)

    def stop(self) -> None:
        """End it."""
        if self._node is not None:
            self._node.stop(5, True)
            self._node = None

    # ------------------------------------------------------------------------------------------------ what it asks

    def submit(
        self,
        tpdu: bytes,
        imsi: str,
        msisdn: str = "",
        *,
        origin: str = "",
        session: str = "",
        center: str = CENTER,
    ) -> Asked:
        """OFR: a handset says something. `origin`: another name than its own."""
        user = _group(
            constants.AVP_TGPP_USER_IDENTIFIER,
            TGPP,
            Avp.new(constants.AVP_USER_NAME, value=imsi),
            Avp.new(constants.AVP_TGPP_MSISDN, TGPP, value=tbcd(msisdn)) if msisdn else None,
        )
        return self._ask(
            Application.SGD,
            Command.MO_FORWARD_SHORT_MESSAGE,
            Avp.new(constants.AVP_TGPP_SC_ADDRESS, TGPP, value=tbcd(center)),
            user,
            Avp.new(constants.AVP_TGPP_SM_RP_UI, TGPP, value=tpdu),
            origin=origin,
            session=session,
        )

    def alert(self, msisdn: str = "", imsi: str = "", *, application: int = Application.S6C) -> Asked:
        """ALR: somebody can be reached again."""
        user = _group(
            constants.AVP_TGPP_USER_IDENTIFIER,
            TGPP,
            Avp.new(constants.AVP_USER_NAME, value=imsi) if imsi else None,
            Avp.new(constants.AVP_TGPP_MSISDN, TGPP, value=tbcd(msisdn)) if msisdn else None,
        )
        center = Avp.new(constants.AVP_TGPP_SC_ADDRESS, TGPP, value=tbcd(CENTER))
        return self._ask(application, Command.ALERT_SERVICE_CENTRE, center, user)

    def _ask(self, application: int, command: int, *avps: Avp, origin: str = "", session: str = "") -> Asked:
        made = Message()
        made.header.command_code = command
        made.header.application_id = application
        made.header.is_request = True
        made.header.is_proxyable = True
        head = (
            Avp.new(constants.AVP_SESSION_ID, value=session or self._node.session_generator.next_id()),
            Avp.new(constants.AVP_AUTH_SESSION_STATE, value=1),
            Avp.new(constants.AVP_ORIGIN_HOST, value=(origin or self.host).encode()),
            Avp.new(constants.AVP_ORIGIN_REALM, value=REALM.encode()),
            Avp.new(constants.AVP_DESTINATION_HOST, value=CENTER_HOST.encode()),
            Avp.new(constants.AVP_DESTINATION_REALM, value=REALM.encode()),
        )
        for each in (*head, *avps):
            made.append_avp(each)
        answer = self._applications[application].send_request(made, PATIENCE_S)
        return _read(answer)

    # -------------------------------------------------------------------------------------------- what it is asked

    def of(self, command: int) -> list[Asked]:
        """The requests of a command, in order."""
        return [each for each in list(self.asked) if each.command == command]

    @property
    def texts(self) -> list[bytes]:
        """The TPDUs it was given."""
        return [each.value(constants.AVP_TGPP_SM_RP_UI) for each in self.of(Command.MT_FORWARD_SHORT_MESSAGE)]

    def _answer(self, application: Any, request: Message) -> Message:
        asked = _read(request)
        self.asked.append(asked)
        made = request.to_answer()
        session = asked.value(constants.AVP_SESSION_ID)
        head = [
            Avp.new(
                constants.AVP_SESSION_ID, value=session.decode() if isinstance(session, bytes) else session
            ),
            Avp.new(constants.AVP_ORIGIN_HOST, value=self.host.encode()),
            Avp.new(constants.AVP_ORIGIN_REALM, value=REALM.encode()),
        ]
        code, experimental, more = SUCCESS[0], False, list[Avp]()
        if asked.command == Command.MT_FORWARD_SHORT_MESSAGE:
            if self.hold is not None:
                self.hold.wait(PATIENCE_S)
            if self.results:
                code, experimental, given = self.results.pop(0)
                more = list(given)
        elif asked.command == Command.SEND_ROUTING_INFO_FOR_SM:
            code, experimental, more = self._routing(asked)
        for each in (*head, _result(code, experimental), *more):
            made.append_avp(each)
        return made

    def _routing(self, asked: Asked) -> tuple[int, bool, list[Avp]]:
        number = asked.number(constants.AVP_TGPP_MSISDN)
        if not number:
            imsi = asked.value(constants.AVP_USER_NAME)
            number = next((each for each, card in self.register.imsis.items() if card == imsi), "")
        mme = self.register.serving.get(number)
        if mme is None:
            return 5001, True, []
        if not mme:
            return 5550, True, []
        user = Avp.new(constants.AVP_USER_NAME, value=self.register.imsis[number])
        if self.register.router:
            gateway = Avp.new(constants.AVP_TGPP_IP_SM_GW_NUMBER, TGPP, value=tbcd(self.register.router))
            return 2001, False, [user, _group(constants.AVP_TGPP_SERVING_NODE, TGPP, gateway)]
        node = _group(
            constants.AVP_TGPP_SERVING_NODE,
            TGPP,
            Avp.new(constants.AVP_TGPP_MME_NAME, TGPP, value=mme.encode()),
            Avp.new(constants.AVP_TGPP_MME_REALM, TGPP, value=REALM.encode()),
        )
        return 2001, False, [user, node]


def _result(code: int, experimental: bool) -> Avp:
    if not experimental:
        return Avp.new(constants.AVP_RESULT_CODE, value=code)
    return _group(
        constants.AVP_EXPERIMENTAL_RESULT,
        0,
        Avp.new(constants.AVP_VENDOR_ID, value=TGPP),
        Avp.new(constants.AVP_EXPERIMENTAL_RESULT_CODE, value=code),
    )


def delivery_failure(cause: int) -> Avp:
    """SM-Delivery-Failure-Cause, which goes with 5555."""
    inner = Avp.new(constants.AVP_TGPP_SM_ENUMERATED_DELIVERY_FAILURE_CAUSE, TGPP, value=cause)
    return _group(constants.AVP_TGPP_SM_DELIVERY_FAILURE_CAUSE, TGPP, inner)


def _read(message: Message) -> Asked:
    asked = Asked(message.header.command_code, (0, False), list(message.avps))
    code = asked.value(constants.AVP_RESULT_CODE)
    if code is not None:
        asked.result = (code, False)
    else:
        inner = asked.value(constants.AVP_EXPERIMENTAL_RESULT, constants.AVP_EXPERIMENTAL_RESULT_CODE)
        asked.result = (inner or 0, inner is not None)
    return asked


@contextlib.contextmanager
def stopped(*nodes: HomeNode) -> Generator[None]:
    """The end of nodes, whatever happens. It takes seconds each, and so they end together."""
    try:
        yield
    finally:
        with ThreadPoolExecutor(len(nodes)) as threads:
            list(threads.map(HomeNode.stop, nodes))


@contextlib.contextmanager
def home_nodes(address: tuple[str, int], *nodes: HomeNode, peer: str = CENTER_HOST) -> Generator[None]:
    """Nodes that connect to a peer, from start to end."""
    with stopped(*nodes):
        for node in nodes:
            node.start(peer, address)
        for node in nodes:
            node.wait()
        yield
