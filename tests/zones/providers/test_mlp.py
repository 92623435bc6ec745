"""OMA MLP: the specification's example, every spelling of angles, errors by number and by words, shapes, and abuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from geopy.distance import geodesic
from http_peer import http_peer
from pydantic import SecretStr

from restante.access.outgoing import Outgoing
from restante.zones.fix import Fix, Reason
from restante.zones.locations import LocateFailed
from restante.zones.providers.mlp import MlpProvider, parse_angle, read_answer, read_time
from restante.zones.settings import MlpSettings
from restante.zones.xml_tree import XmlRefused, parse_xml

NOW = 1_790_000_000_000
NUMBER = "+461011334411"
HEAD = '<?xml version="1.0"?><!DOCTYPE svc_result SYSTEM "MLP_SVC_RESULT_310.DTD">'


def answer(inside: str, head: str = HEAD) -> bytes:
    return f'{head}<svc_result ver="3.1.0"><slia ver="3.1.0">{inside}</slia></svc_result>'.encode()


def position(
    shape: str, time: str = '<time utc_off="+0200">20020623134453</time>', msid: str = "461011334411"
) -> str:
    return f"<pos><msid>{msid}</msid><pd>{time}<shape>{shape}</shape></pd></pos>"


CIRCLE = (
    '<CircularArea srsName="www.epsg.org#4326"><coord><X>30 16 28.308N</X><Y>45 15 33.444E</Y></coord>'
    "<radius>240</radius></CircularArea>"
)


def test_the_example_of_the_specification() -> None:
    failed = (
        '<pos><msid>461018765712</msid><poserr><result resid="10">QOP NOT ATTAINABLE</result></poserr></pos>'
    )
    fix = read_answer(answer(position(CIRCLE) + failed), NUMBER, NOW)
    assert (fix.latitude, fix.longitude) == (pytest.approx(30.274530), pytest.approx(45.259290))
    assert fix.accuracy_m == 240
    assert fix.measured_at == 1_024_832_693_000  # 11:44:53 UTC
    with pytest.raises(LocateFailed) as error:
        read_answer(answer(position(CIRCLE) + failed), "+461018765712", NOW)
    assert (error.value.reason, error.value.fault) == (Reason.NOT_ACCURATE, False)


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("30 16 28.308N", 30.27453),
        ("45 15 33.444E", 45.25929),
        ("27 28 25.00S", -27.473611),
        ("099 12 15.019W", -99.204172),
        ("76 22 2.82E", 76.367450),
        ("27 28 25.00 S", -27.473611),
        ("0 0 1N", 0.000278),
        ("7 30N", 7.5),
        ("180 0 0W", -180.0),
        ("45.5", 45.5),
        ("-45.5", -45.5),
        ("+45.5", 45.5),
        ("45.5S", -45.5),
        ("12 60 0N", None),
        ("12 0 61N", None),
        ("N12", None),
        ("", None),
        ("1e5", None),
    ],
)
def test_angles(text: str, degrees: float | None) -> None:
    assert parse_angle(text) == (pytest.approx(degrees, abs=1e-6) if degrees is not None else None)


def test_x_is_latitude_unless_the_letters_say_otherwise() -> None:
    """Far from the diagonal, so that a swap would be seen."""
    for x, y in (("10 0 0N", "70 0 0E"), ("70 0 0E", "10 0 0N"), ("10", "70")):
        fix = read_answer(
            answer(position(f"<Point><coord><X>{x}</X><Y>{y}</Y></coord></Point>")), NUMBER, NOW
        )
        assert (fix.latitude, fix.longitude) == (10, 70)
    with pytest.raises(LocateFailed):  # a latitude of 120
        read_answer(answer(position("<Point><coord><X>120</X><Y>10</Y></coord></Point>")), NUMBER, NOW)


@pytest.mark.parametrize(
    ("text", "offset", "ms"),
    [
        ("20020623134453", "+0200", 1_024_832_693_000),
        ("20020623134453", "", 1_024_839_893_000),
        ("20020623134453", "-0530", 1_024_859_693_000),
        ("20020623134453", "02:00", 1_024_832_693_000),
        ("2002062313445", "+0200", 1_024_832_645_000),
        ("", "+0200", None),
        ("20021323134453", "", None),
    ],
)
def test_times(text: str, offset: str, ms: int | None) -> None:
    assert read_time(text, offset) in ((ms,) if len(text) != 13 else (ms, None))


def test_a_fix_is_never_from_the_future() -> None:
    fix = read_answer(answer(position(CIRCLE, '<time utc_off="+0000">20990101000000</time>')), NUMBER, NOW)
    assert fix.measured_at == NOW
    assert read_answer(answer(position(CIRCLE, "")), NUMBER, NOW).measured_at == NOW


COORD = "<coord><X>50 0 0N</X><Y>8 0 0E</Y></coord>"


@pytest.mark.parametrize(
    ("shape", "radius"),
    [
        (
            f"<EllipticalArea>{COORD}<semiMajor>500</semiMajor><semiMinor>100</semiMinor></EllipticalArea>",
            500,
        ),
        (f"<CircularArea>{COORD}<semiMajor>500</semiMajor><semiMinor>900</semiMinor></CircularArea>", 900),
        (f"<CircularArea>{COORD}<radius>2</radius><distanceUnit>km</distanceUnit></CircularArea>", 2000),
        (f"<Point>{COORD}</Point>", 0),
    ],
)
def test_round_shapes(shape: str, radius: float) -> None:
    fix = read_answer(answer(position(shape)), NUMBER, NOW)
    assert (fix.latitude, fix.longitude, fix.accuracy_m) == (50, 8, radius)


def test_an_arc_is_held_by_its_circle() -> None:
    shape = (
        f"<CircularArcArea>{COORD}<inRadius>1000</inRadius><outRadius>3000</outRadius>"
        "<startAngle>350</startAngle><stopAngle>50</stopAngle></CircularArcArea>"
    )
    fix = read_answer(answer(position(shape)), NUMBER, NOW)
    for bearing in (350, 0, 20, 50):
        for metres in (1000, 3000):
            corner = geodesic(meters=metres).destination((50, 8), bearing)
            away = geodesic((fix.latitude, fix.longitude), (corner.latitude, corner.longitude)).m
            assert away <= fix.accuracy_m * 1.01
    assert fix.accuracy_m < 2_500
    assert fix.latitude is not None
    assert fix.latitude > 50.005  # north of the mast


def test_a_polygon_is_held_by_its_circle() -> None:
    ring = "".join(
        f"<coord><X>{x}</X><Y>{y}</Y></coord>" for x, y in ((50, 8), (50, 8.1), (50.1, 8.1), (50.1, 8))
    )
    shape = f"<Polygon><outerBoundaryIs><LinearRing>{ring}</LinearRing></outerBoundaryIs></Polygon>"
    fix = read_answer(answer(position(shape)), NUMBER, NOW)
    assert (fix.latitude, fix.longitude) == (pytest.approx(50.05, abs=0.001), pytest.approx(8.05, abs=0.001))
    assert fix.accuracy_m == pytest.approx(geodesic((50.05, 8.05), (50, 8)).m, rel=0.01)


@pytest.mark.parametrize(
    ("result", "reason", "fault"),
    [
        ('<result resid="1">SYSTEM FAILURE</result>', Reason.SOURCE_DOWN, True),
        ('<result resid="4">UNKNOWN SUBSCRIBER</result>', Reason.UNKNOWN_SUBSCRIBER, False),
        ('<result resid="5">ABSENT SUBSCRIBER</result>', Reason.ABSENT_SUBSCRIBER, False),
        ('<result resid="6">POSITION METHOD FAILURE</result>', Reason.POSITION_FAILED, False),
        ('<result resid="10">QOP NOT ATTAINABLE</result>', Reason.NOT_ACCURATE, False),
        ('<result resid="201">QoP not attainable</result>', Reason.NOT_ACCURATE, False),
        ('<result resid="5"/>', Reason.ABSENT_SUBSCRIBER, False),
        ('<result resid="9999">ABSENT SUBSCRIBER</result>', Reason.ABSENT_SUBSCRIBER, False),
        ('<result resid="202">POSITIONING NOT ALLOWED</result>', Reason.NO_CONSENT, False),
        ('<result resid="105">FORMAT ERROR</result>', Reason.NOT_UNDERSTOOD, True),
        ('<result resid="777">SOMETHING</result>', Reason.UNABLE, False),
        ("<req_id>25267</req_id>", Reason.NOT_UNDERSTOOD, True),
    ],
)
def test_errors_by_number_and_by_words(result: str, reason: str, fault: bool) -> None:
    for inside in (result, f"<pos><msid>461011334411</msid><poserr>{result}</poserr></pos>"):
        with pytest.raises(LocateFailed) as error:
            read_answer(answer(inside), NUMBER, NOW)
        assert (error.value.reason, error.value.fault) == (reason, fault)


BILLION = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "document",
    [
        answer("&b;", BILLION),
        answer("&x;", '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
        answer("", '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1/p.dtd"> %p;]>'),
        answer("&undefined;"),
        b"<svc_result><slia>",
        b"not xml",
        b"",
        b"<a>" * 100 + b"</a>" * 100,
        b"<slia>" + b"<x/>" * 30_000 + b"</slia>",
        b'<?xml version="1.0" encoding="nonsense"?><slia/>',
    ],
)
def test_abuse_is_refused(document: bytes) -> None:
    with pytest.raises(LocateFailed) as error:
        read_answer(document, NUMBER, NOW)
    assert error.value.reason == Reason.NOT_UNDERSTOOD


def test_a_named_dtd_is_never_loaded() -> None:
    """Documents of real servers name one; there is nobody to fetch it."""
    tree = parse_xml(
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><a b="1"><c>t</c><n:d xmlns:n="u">v</n:d></a>'
    )
    assert (tree.name, tree.attributes, tree.text_of("c"), tree.text_of("d")) == ("a", {"b": "1"}, "t", "v")
    with pytest.raises(XmlRefused):
        parse_xml(b"<a>&lt;&nbsp;</a>")


def asked(says: Any, **settings: Any) -> tuple[Fix | LocateFailed, list[Any]]:
    """What the provider makes of a server."""

    async def scenario() -> tuple[Fix | LocateFailed, list[Any]]:
        async with http_peer() as peer:
            peer.says = says
            outgoing = Outgoing(("127.0.0.0/8",))
            given = MlpSettings(url=peer.url + "/mlp", client="u", password=SecretStr("p&<"), **settings)
            try:
                found: Fix | LocateFailed = await MlpProvider(given, outgoing, lambda: NOW).locate(NUMBER, 60)
            except LocateFailed as failed:
                found = failed
            await outgoing.close()
            return found, peer.requests

    return asyncio.run(scenario())


def test_over_http() -> None:
    found, [request] = asked(lambda request: (200, answer(position(CIRCLE)), {}), service="hz")
    assert isinstance(found, Fix)
    tree = parse_xml(request.body)
    assert tree.text_of("id") == "u"
    assert tree.text_of("pwd") == "p&<"
    assert tree.text_of("serviceid") == "hz"
    msid = tree.find("msid")
    assert msid is not None
    assert (msid.text, msid.attributes) == ("461011334411", {"type": "MSISDN"})
    assert request.headers["content-type"].startswith("text/xml")


def test_a_server_that_fails() -> None:
    found, _ = asked(lambda request: (500, b"oops", {}))
    assert isinstance(found, LocateFailed)
    assert (found.reason, found.fault) == (Reason.SOURCE_DOWN, True)


def test_a_server_at_a_private_address_is_not_asked_unless_it_is_listed() -> None:
    """Whoever can set the URL must not reach what only this machine can."""

    async def scenario() -> None:
        async with http_peer() as peer:
            peer.always(200, answer(position(CIRCLE)))
            outgoing = Outgoing(())
            given = MlpSettings(url=peer.url + "/mlp")
            with pytest.raises(LocateFailed) as error:
                await MlpProvider(given, outgoing, lambda: NOW).locate(NUMBER, 60)
            assert (error.value.reason, error.value.fault) == (Reason.SOURCE_DOWN, True)
            assert peer.requests == []
            await outgoing.close()

    asyncio.run(scenario())
