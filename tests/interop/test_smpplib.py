"""smpplib against the real center: every operation it knows, by a client that nobody here wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from running_center import RunningCenter, running_center
from simulated_phone import Phone, phone_network
from smpplib import consts, exceptions, gsm
from smpplib_esme import Esme, esme
from waiting import eventually

pytestmark = pytest.mark.xdist_group("smpplib")

Network = tuple[RunningCenter, Phone]
PASSWORD = "wisteria"
RECEIPT = re.compile(
    rb"id:(\d+) sub:001 dlvrd:(\d{3}) submit date:(\d{10}) done date:(\d{10}) stat:(\w{7}) err:(\d{3}) text:(.*)"
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A center that asks silent peers soon, two ESMEs, one of them with a number, and a switch with handsets."""
    folder = tmp_path_factory.mktemp("smpplib") / "center"
    with running_center(folder, {"smpp.enquire_link_timer_s": 2}) as center:
        center.add_account("app", PASSWORD, sources=["*"])
        center.add_account("shop", PASSWORD, numbers=["12345"], sources=["*"])
        center.add_account("msc", PASSWORD, role="switch")
        center.add_range("+4477")
        center.add_route("handsets", prefix="+4477", target="account", account="msc")
        with phone_network(center.smpp_port, "msc", PASSWORD) as phone:
            yield center, phone


@pytest.fixture
def app(network: Network) -> Iterator[Esme]:
    """A transceiver bind of `app`."""
    with esme(network[0].smpp_port, "transceiver", "app", PASSWORD) as made:
        yield made


def submit(app: Esme, number: str, **fields: object) -> Any:
    """submit_sm from Shop to a handset; the response."""
    given: dict[str, object] = {
        "source_addr_ton": 5,
        "source_addr": "Shop",
        "dest_addr_ton": 1,
        "dest_addr_npi": 1,
        "destination_addr": number,
    }
    return app.ask("submit_sm", **(given | fields))


def taken(response: Any) -> str:
    """The message id of a positive response."""
    assert response.status == consts.SMPP_ESME_ROK, response.status
    assert response.command == "submit_sm_resp"
    return response.message_id.decode()


@pytest.mark.parametrize(
    ("kind", "submits", "receives"),
    [("transmitter", True, False), ("receiver", False, True), ("transceiver", True, True)],
)
def test_binds_do_what_they_are_for(network: Network, kind: str, submits: bool, receives: bool) -> None:
    center, phone = network
    with (
        esme(center.smpp_port, kind, "shop", PASSWORD) as shop,
        esme(center.smpp_port, "transmitter", "app", PASSWORD) as app,
    ):
        number = f"44770090100{ord(kind[-1]) + receives}"
        response = submit(shop, number, short_message=kind.encode())
        if submits:
            taken(response)
            eventually(lambda: phone.texts(number) == [kind], "the handset")
        else:
            assert response.status == consts.SMPP_ESME_RINVBNDSTS
        if receives:
            taken(submit(app, "12345", dest_addr_ton=0, short_message=f"to {kind}".encode()))
            message = shop.next_delivered()
            assert message.short_message == f"to {kind}".encode()
            assert message.destination_addr == b"12345"
            assert message.source_addr == b"Shop"


def test_bind_says_who_the_center_is(network: Network) -> None:
    with esme(network[0].smpp_port) as app:
        response = app.bind("transceiver", "app", PASSWORD, interface_version=0x34)
        assert response.status == consts.SMPP_ESME_ROK
        assert response.system_id == b"Restante"
        assert response.sc_interface_version == 0x34


def test_a_stranger_learns_nothing(network: Network) -> None:
    """A wrong password and an unknown system_id are answered alike; the password of another account too."""
    answers = set()
    for system_id, password in (("app", "wrong"), ("nobody", PASSWORD), ("app", ""), ("shop", "wisteri")):
        with esme(network[0].smpp_port) as stranger:
            response = stranger.bind("transceiver", system_id, password)
            answers.add((response.command, response.status))
    assert answers == {("bind_transceiver_resp", consts.SMPP_ESME_RBINDFAIL)}


def test_a_second_bind_is_refused_and_the_first_lives(app: Esme) -> None:
    assert app.bind("transceiver", "app", PASSWORD).status == consts.SMPP_ESME_RALYBND
    assert app.ask("enquire_link").status == consts.SMPP_ESME_ROK


def test_submit_before_bind(network: Network) -> None:
    with esme(network[0].smpp_port) as stranger:
        assert submit(stranger, "447700901001", short_message=b"x").status == consts.SMPP_ESME_RINVBNDSTS


def test_a_receipt_has_eight_fields_and_tlvs(network: Network, app: Esme) -> None:
    id = taken(
        submit(
            app,
            "447700901010",
            short_message=b"Your parcel waits at the post office.",
            registered_delivery=1,
            user_message_reference=777,
        )
    )
    receipt = app.next_delivered()
    assert receipt.esm_class == 0x04
    found = RECEIPT.fullmatch(receipt.short_message)
    assert found is not None, receipt.short_message
    assert found[1].decode() == id
    assert (found[2], found[5], found[6], found[7]) == (b"001", b"DELIVRD", b"000", b"Your parcel waits at")
    assert receipt.receipted_message_id == id.encode()
    assert receipt.message_state == consts.SMPP_MESSAGE_STATE_DELIVERED
    assert receipt.user_message_reference == 777
    assert (receipt.source_addr, receipt.destination_addr) == (b"447700901010", b"Shop")


def test_an_absent_handset(network: Network, app: Esme) -> None:
    """Into the mailbox: an intermediate notification, ENROUTE, and no final receipt."""
    center, phone = network
    phone.off("447700901011")
    id = taken(submit(app, "447700901011", short_message=b"for later", registered_delivery=0x11))
    notification = app.next_delivered()
    assert notification.esm_class == 0x20
    assert f"id:{id} ".encode() in notification.short_message
    eventually(lambda: center.message(id)["group"] == "stored", "the deposit")
    answer = query(app, id)
    assert (answer.status, answer.message_state) == (
        consts.SMPP_ESME_ROK,
        consts.SMPP_MESSAGE_STATE_ENROUTE,
    )
    assert not app.delivered


def query(app: Esme, id: str, source: str = "Shop") -> Any:
    return app.ask("query_sm", message_id=id, source_addr_ton=5, source_addr_npi=0, source_addr=source)


def test_query(network: Network, app: Esme) -> None:
    id = taken(submit(app, "447700901012", short_message=b"q", registered_delivery=1))
    app.next_delivered()
    answer = query(app, id)
    assert answer.status == consts.SMPP_ESME_ROK
    assert answer.message_state == consts.SMPP_MESSAGE_STATE_DELIVERED
    assert answer.message_id == id.encode()
    assert re.fullmatch(rb"\d{12}\d\d\d\+", answer.final_date), answer.final_date
    # Another's message, another's source and a number that never was: one answer.
    with esme(network[0].smpp_port, "transceiver", "shop", PASSWORD) as shop:
        strangers = [query(shop, id), query(app, id, source="Other"), query(app, "1"), query(app, "x")]
    assert {one.status for one in strangers} == {consts.SMPP_ESME_RQUERYFAIL}


def test_both_sides_ask_whether_the_link_lives(app: Esme) -> None:
    assert app.ask("enquire_link").status == consts.SMPP_ESME_ROK
    while not app.asked:
        app.read()
    assert app.ask("enquire_link").status == consts.SMPP_ESME_ROK


def test_unbind_ends_the_connection(network: Network) -> None:
    app = Esme(network[0].smpp_port)
    app.bind("transceiver", "app", PASSWORD)
    assert app.ask("unbind").command == "unbind_resp"
    with pytest.raises(exceptions.ConnectionError):
        app.read()
    app.close()


def test_a_text_in_parts_by_udh(network: Network, app: Esme) -> None:
    text = "".join(f"{number:03d} € " for number in range(80))
    parts, coding, esm_class = gsm.make_parts(text)
    assert len(parts) > 2
    ids = {
        taken(submit(app, "447700901020", short_message=part, data_coding=coding, esm_class=esm_class))
        for part in parts
    }
    assert len(ids) == len(parts)
    eventually(lambda: network[1].texts("447700901020") == [text], "the whole text")


def test_a_text_in_parts_by_sar(network: Network, app: Esme) -> None:
    for number in (1, 2):
        taken(
            submit(
                app,
                "447700901021",
                short_message=b"part %d" % number,
                sar_msg_ref_num=7,
                sar_total_segments=2,
                sar_segment_seqnum=number,
            )
        )
    eventually(lambda: len(network[1].seen("447700901021")) == 2, "both parts")


@pytest.mark.parametrize("size", [200, 2000])
def test_message_payload(network: Network, app: Esme, size: int) -> None:
    """Handsets behind a switch are handed parts (behaviour.md 8), which they join."""
    number = f"44770090{2000 + size}"
    taken(submit(app, number, message_payload=b"p" * size, short_message=b""))
    eventually(lambda: network[1].texts(number) == ["p" * size], "the whole text")
    assert len(network[1].seen(number)) == -(-size // 153)


def test_ucs2(network: Network, app: Esme) -> None:
    text = "Grüße 😀 здравствуй 你好"
    taken(submit(app, "447700901022", short_message=text.encode("utf-16-be"), data_coding=8))
    eventually(lambda: network[1].texts("447700901022") == [text], "the text")


def test_data_sm(network: Network, app: Esme) -> None:
    response = app.ask(
        "data_sm",
        source_addr_ton=5,
        source_addr="Shop",
        dest_addr_ton=1,
        dest_addr_npi=1,
        destination_addr="447700901023",
        registered_delivery=1,
        message_payload=b"in a data PDU",
    )
    assert (response.command, response.status) == ("data_sm_resp", consts.SMPP_ESME_ROK)
    eventually(lambda: network[1].texts("447700901023") == ["in a data PDU"], "the text")
    assert response.message_id in app.next_delivered().short_message


def test_a_receipt_tells_of_the_end_of_the_validity_period(network: Network, app: Esme) -> None:
    network[1].off("447700901024")
    id = taken(
        submit(
            app,
            "447700901024",
            short_message=b"soon too late",
            registered_delivery=1,
            validity_period="000000000002000R",
        )
    )
    found = RECEIPT.fullmatch(app.next_delivered().short_message)
    assert found is not None
    assert (found[1].decode(), found[2], found[5]) == (id, b"000", b"EXPIRED")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"destination_addr": "99123456789"}, consts.SMPP_ESME_RINVDSTADR),
        ({"destination_addr": ""}, consts.SMPP_ESME_RINVDSTADR),
        ({"validity_period": "nonsense"}, consts.SMPP_ESME_RINVEXPIRY),
        ({"schedule_delivery_time": "tomorrow"}, consts.SMPP_ESME_RINVSCHED),
        ({"priority_flag": 9}, consts.SMPP_ESME_RINVPRTFLG),
        ({"replace_if_present_flag": 7}, consts.SMPP_ESME_RINVREPFLAG),
    ],
)
def test_each_fault_has_its_status(app: Esme, fields: dict[str, object], status: int) -> None:
    assert submit(app, "447700901025", **({"short_message": b"x"} | fields)).status == status
    assert app.ask("enquire_link").status == consts.SMPP_ESME_ROK
