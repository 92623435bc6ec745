"""python-diameter, a stack that nobody here wrote, as MME, HSS and peer."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from diameter.message import Message as TheirMessage
from diameter.message import constants
from diameter.message.avp import Avp as TheirAvp
from diameter.node import Node as TheirNode
from diameter.node.application import SimpleThreadingApplication
from waiting import soon_true

from restante.message import Address
from restante.outlet import ErrorClass
from restante.signaling.causes import ExperimentalResult, class_of_result
from restante.signaling.diameter import short_messages
from restante.signaling.diameter.codec import Message
from restante.signaling.diameter.connection import Connection, Identity
from restante.signaling.diameter.dictionary import Application, Command
from restante.signaling.diameter.node import Node, PeerSettings
from restante.signaling.reconnect import Backoff
from restante.signaling.tpdu import Submit
from restante.signaling.user_data import UserData

SMSC = Identity("smsc.home.net", "home.net")
MME = "mme.home.net"
IMSI, MSISDN, CENTER = "001010000000001", "447700900123", "447700900999"
TPDU = Submit(Address(1, 1, "447700900456"), ud=UserData(payload=b"hi")).encode()
TGPP = constants.VENDOR_TGPP
ABSENT = "001010000000404"


def answer(app: SimpleThreadingApplication, request: TheirMessage) -> TheirMessage:
    """Their side of TFR and SRR: the HSS and MME of the home network."""
    made = request.to_answer()
    values = {each.code: each.value for each in request.avps}

    def put(code: int, value: Any, vendor: int = 0) -> TheirAvp:
        found = TheirAvp.new(code, vendor, value=value)
        made.append_avp(found)
        return found

    session = values[constants.AVP_SESSION_ID]
    put(constants.AVP_SESSION_ID, session.decode() if isinstance(session, bytes) else session)
    put(constants.AVP_ORIGIN_HOST, MME.encode())
    put(constants.AVP_ORIGIN_REALM, b"home.net")
    user = values.get(constants.AVP_USER_NAME)
    if request.header.command_code == Command.MT_FORWARD_SHORT_MESSAGE and user == ABSENT:
        inner = [
            TheirAvp.new(constants.AVP_VENDOR_ID, value=TGPP),
            TheirAvp.new(constants.AVP_EXPERIMENTAL_RESULT_CODE, value=5550),
        ]
        put(constants.AVP_EXPERIMENTAL_RESULT, inner)
        return made
    put(constants.AVP_RESULT_CODE, constants.E_RESULT_CODE_DIAMETER_SUCCESS)
    if request.header.command_code == Command.SEND_ROUTING_INFO_FOR_SM:
        put(constants.AVP_USER_NAME, IMSI)
        inner = [
            TheirAvp.new(constants.AVP_TGPP_MME_NAME, TGPP, value=MME.encode()),
            TheirAvp.new(constants.AVP_TGPP_MME_REALM, TGPP, value=b"home.net"),
            TheirAvp.new(constants.AVP_TGPP_MSC_NUMBER, TGPP, value=bytes.fromhex("447700090001")),
        ]
        put(constants.AVP_TGPP_SERVING_NODE, inner, TGPP)
    return made


def their_ofr(app: SimpleThreadingApplication) -> TheirMessage:
    """Their side of OFR."""
    made = TheirMessage()
    made.header.command_code = Command.MO_FORWARD_SHORT_MESSAGE
    made.header.application_id = Application.SGD
    made.header.is_request = True
    made.header.is_proxyable = True
    user = [
        TheirAvp.new(constants.AVP_USER_NAME, value=IMSI),
        TheirAvp.new(constants.AVP_TGPP_MSISDN, TGPP, value=bytes.fromhex("447700091032")),
    ]
    for each in (
        TheirAvp.new(constants.AVP_SESSION_ID, value=app.node.session_generator.next_id()),
        TheirAvp.new(constants.AVP_AUTH_SESSION_STATE, value=1),
        TheirAvp.new(constants.AVP_ORIGIN_HOST, value=MME.encode()),
        TheirAvp.new(constants.AVP_ORIGIN_REALM, value=b"home.net"),
        TheirAvp.new(constants.AVP_DESTINATION_HOST, value=b"smsc.home.net"),
        TheirAvp.new(constants.AVP_DESTINATION_REALM, value=b"home.net"),
        TheirAvp.new(constants.AVP_TGPP_SC_ADDRESS, TGPP, value=bytes.fromhex("447700099099")),
        TheirAvp.new(constants.AVP_TGPP_USER_IDENTIFIER, TGPP, value=user),
        TheirAvp.new(constants.AVP_TGPP_SM_RP_UI, TGPP, value=TPDU),
    ):
        made.append_avp(each)
    return made


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def submitted(seen: list[short_messages.MoForward]):
    """Our side of OFR."""

    def handle(connection: Connection, request: Message) -> None:
        message = short_messages.read_mo_forward(request)
        assert short_messages.trusted_origin(request, connection.peer_host, ()) == MME
        seen.append(message)
        connection.answer(request, short_messages.mo_forward_answer(SMSC))

    return handle


async def exchange(ours: Node, sgd: SimpleThreadingApplication, seen: list[short_messages.MoForward]) -> None:
    """Every message in both directions."""
    theirs = await asyncio.to_thread(sgd.send_request, their_ofr(sgd), 30)
    assert {each.code: each.value for each in theirs.avps}[constants.AVP_RESULT_CODE] == 2001
    assert seen == [
        short_messages.MoForward(seen[0].session, MME, "home.net", IMSI, MSISDN, CENTER, TPDU),
    ]

    lookup = short_messages.routing_request(SMSC, "s;1;1", msisdn=MSISDN, center=CENTER, realm="home.net")
    found = await ours.request(Application.S6C, Command.SEND_ROUTING_INFO_FOR_SM, lookup, 30)
    assert found.succeeded
    routing = short_messages.read_routing(found)
    assert routing.imsi == IMSI
    assert [(node.kind, node.name, node.number) for node in routing.nodes] == [
        ("MME", MME, ""),
        ("MSC", "", "447700900010"),
    ]

    for imsi, result in ((IMSI, (2001, False)), (ABSENT, (ExperimentalResult.ABSENT_USER, True))):
        tfr = short_messages.mt_forward(
            SMSC, "s;1;2", imsi=imsi, center=CENTER, tpdu=b"\0", host=MME, realm="home.net", more=True
        )
        reply = await ours.request(Application.SGD, Command.MT_FORWARD_SHORT_MESSAGE, tfr, 30, to_host=MME)
        delivered = short_messages.read_delivered(reply)
        assert (delivered.result, delivered.experimental) == result
        assert delivered.succeeded is (imsi == IMSI)
    assert class_of_result(delivered.result, experimental=True) is ErrorClass.ABSENT


def applications(node: TheirNode, peer: Any) -> SimpleThreadingApplication:
    s6c, sgd = (
        SimpleThreadingApplication(number, is_auth_application=True, request_handler=answer)
        for number in (Application.S6C, Application.SGD)
    )
    for each in (s6c, sgd):
        node.add_application(each, [peer], realms=["home.net"])
    return sgd


def test_they_connect_to_us() -> None:
    async def scenario() -> None:
        seen: list[short_messages.MoForward] = []
        handlers = {Command.MO_FORWARD_SHORT_MESSAGE: submitted(seen)}
        ours = Node(SMSC, [PeerSettings(MME, networks=("127.0.0.1/32",))], handlers)
        port = await ours.listen("127.0.0.1", 0)
        node = TheirNode(MME, "home.net", vendor_ids=[TGPP])
        peer = node.add_peer(f"aaa://{SMSC.host}:{port}", "home.net", ["127.0.0.1"], is_persistent=True)
        sgd = applications(node, peer)
        await asyncio.to_thread(node.start)
        try:
            await asyncio.to_thread(sgd.wait_for_ready, 30)
            await exchange(ours, sgd, seen)
            await ours.close()  # disconnects politely, and they agree
        finally:
            await asyncio.to_thread(node.stop, 5, True)

    asyncio.run(scenario())


def test_we_connect_to_them() -> None:
    async def scenario() -> None:
        seen: list[short_messages.MoForward] = []
        port = free_port()
        node = TheirNode(MME, "home.net", ["127.0.0.1"], port, vendor_ids=[TGPP])
        peer = node.add_peer(f"aaa://{SMSC.host}", "home.net", ["127.0.0.1"])
        sgd = applications(node, peer)
        handlers = {Command.MO_FORWARD_SHORT_MESSAGE: submitted(seen)}
        settings = PeerSettings(MME, "127.0.0.1", port)
        ours = Node(SMSC, [settings], handlers, backoff=lambda: Backoff(0.05, 0.2))
        ours.open()
        await asyncio.to_thread(node.start)
        try:
            await soon_true(lambda: ours.connected(MME))
            await asyncio.to_thread(sgd.wait_for_ready, 30)
            await exchange(ours, sgd, seen)
            await ours.close()
        finally:
            await asyncio.to_thread(node.stop, 5, True)

    asyncio.run(scenario())
