"""Asks a location server that speaks OMA MLP 3.x: SLIR and SLIA over HTTP.

In charge of: the request, the answer's shapes and times, and the meaning of its errors. Not in charge of: connections
(`access/outgoing.py`), when to ask (`locations.py`).

Traps, seen in the wild: X is latitude and Y is longitude; degrees come as degrees, minutes and seconds with a letter,
with one to three digits, with or without decimals, or as decimal degrees; times are local with utc_off, which may be
missing; one error has several numbers, so that number and text are looked at; the document may name a DTD.

Source: OMA-TS-MLP-V3_5 §5.2.3 (Standard Location Immediate Service), §5.3 (shapes), §5.4 (result codes).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from math import cos, radians, sin
from xml.sax.saxutils import escape

from ...access.outgoing import Outgoing, OutgoingFailed, OutgoingRefused
from ..fix import Fix, Reason
from ..geometry import EARTH_RADIUS_M, enclosing_circle, in_degrees, parse_angle
from ..locations import LocateFailed
from ..settings import MlpSettings
from ..xml_tree import Element, XmlRefused, parse_xml

__all__ = ["MlpProvider", "parse_angle", "read_answer", "read_time"]

Circle = tuple[float, float, float]  #: latitude, longitude, radius in metres

_REASON_BY_RESULT: dict[int, tuple[str, bool]] = {
    # resid -> reason, whether the server itself is at fault
    1: (Reason.SOURCE_DOWN, True),  # SYSTEM FAILURE
    2: (Reason.SOURCE_DOWN, True),  # UNSPECIFIED ERROR
    3: (Reason.NO_CONSENT, False),  # UNAUTHORIZED APPLICATION
    4: (Reason.UNKNOWN_SUBSCRIBER, False),
    5: (Reason.ABSENT_SUBSCRIBER, False),
    6: (Reason.POSITION_FAILED, False),  # POSITION METHOD FAILURE
    7: (Reason.TIMEOUT, False),
    10: (Reason.NOT_ACCURATE, False),  # QOP NOT ATTAINABLE, as the examples of the specification number it
    101: (Reason.SOURCE_DOWN, True),  # CONGESTION IN LOCATION SERVER
    103: (Reason.SOURCE_DOWN, True),  # TOO MANY POSITION ITEMS
    104: (Reason.SOURCE_DOWN, True),  # UNSUPPORTED VERSION
    105: (Reason.NOT_UNDERSTOOD, True),  # FORMAT ERROR
    201: (Reason.NOT_ACCURATE, False),  # QOP NOT ATTAINABLE
    202: (Reason.NO_CONSENT, False),  # POSITIONING NOT ALLOWED
    204: (Reason.NO_CONSENT, False),  # DISALLOWED BY LOCAL REGULATIONS
    207: (Reason.NOT_UNDERSTOOD, True),  # MISCONFIGURATION OF LOCATION SERVER
}

#: Servers number errors of their own; the words are more alike.
_REASON_BY_WORDS: tuple[tuple[str, str, bool], ...] = (
    ("QOP", Reason.NOT_ACCURATE, False),
    ("UNKNOWN SUBSCRIBER", Reason.UNKNOWN_SUBSCRIBER, False),
    ("ABSENT", Reason.ABSENT_SUBSCRIBER, False),
    ("NOT ALLOWED", Reason.NO_CONSENT, False),
    ("DISALLOWED", Reason.NO_CONSENT, False),
    ("UNAUTHORI", Reason.NO_CONSENT, False),
    ("POSITION METHOD", Reason.POSITION_FAILED, False),
    ("TIMEOUT", Reason.TIMEOUT, False),
    ("CONGESTION", Reason.SOURCE_DOWN, True),
    ("SYSTEM FAILURE", Reason.SOURCE_DOWN, True),
)


class MlpProvider:
    """One location server."""

    name = "mlp"

    def __init__(self, settings: MlpSettings, outgoing: Outgoing, now_ms: Callable[[], int]) -> None:
        """`settings.url` must be given."""
        self._settings = settings
        self._outgoing = outgoing
        self._now_ms = now_ms

    async def locate(self, number: str, max_age_s: int) -> Fix:
        """See `locations.Provider`."""
        settings = self._settings
        try:
            reply = await self._outgoing.request(
                "POST",
                settings.url,
                headers={"Content-Type": "text/xml; charset=utf-8"},
                content=self._request(number),
                timeout_s=settings.response_s + 2.0,
            )
        except OutgoingFailed as failed:
            reason = Reason.TIMEOUT if failed.slow else Reason.SOURCE_DOWN
            raise LocateFailed(reason, str(failed), fault=True) from failed
        except OutgoingRefused as refused:
            raise LocateFailed(Reason.SOURCE_DOWN, str(refused), fault=True) from refused
        if reply.status != 200:
            raise LocateFailed(Reason.SOURCE_DOWN, f"HTTP status {reply.status}", fault=True)
        return read_answer(reply.body, number, self._now_ms())

    def _request(self, number: str) -> bytes:
        """An SLIR for one number, to be answered at once."""
        settings = self._settings
        version = f'ver="{settings.version}"'
        password = settings.password.get_secret_value()
        service = f"<serviceid>{escape(settings.service)}</serviceid>" if settings.service else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<svc_init {version}><hdr {version}><client><id>{escape(settings.client)}</id>"
            f"<pwd>{escape(password)}</pwd>{service}</client></hdr>"
            f'<slir {version} res_type="SYNC"><msids><msid type="MSISDN">{number.lstrip("+")}</msid></msids>'
            f"<eqop><resp_timer>{settings.response_s}</resp_timer></eqop></slir></svc_init>"
        ).encode()


def read_answer(document: bytes, number: str, now_ms: int) -> Fix:
    """The fix in an answer; raises LocateFailed with what the server said instead."""
    try:
        root = parse_xml(document, most_elements=20_000)
    except XmlRefused as refused:
        raise LocateFailed(Reason.NOT_UNDERSTOOD, str(refused), fault=True) from refused
    answer = root if root.name == "slia" else root.find("slia")
    if answer is None:
        raise LocateFailed(Reason.NOT_UNDERSTOOD, "there is no slia in the answer", fault=True)
    position = _position_of(answer, number)
    if position is None:
        raise _failure(answer)
    data = position.first("pd")
    if data is None:
        raise _failure(position)
    shape = data.first("shape")
    circle = read_shape(shape) if shape is not None else None
    if circle is None:
        raise LocateFailed(Reason.NOT_UNDERSTOOD, "there is no shape that we know", fault=True)
    time = data.first("time")
    measured = read_time(time.text.strip(), time.attributes.get("utc_off", "")) if time is not None else None
    latitude, longitude, radius = circle
    return Fix(
        number=number,
        latitude=latitude,
        longitude=longitude,
        accuracy_m=radius,
        measured_at=min(measured, now_ms) if measured is not None else now_ms,
        received_at=now_ms,
        source=MlpProvider.name,
        plmn=_plmn(data),
    )


def _position_of(answer: Element, number: str) -> Element | None:
    """The pos element about a number; a single one is taken as it is, its msid may be written in any way."""
    positions = list(answer.all("pos"))
    if len(positions) == 1:
        return positions[0]
    digits = number.lstrip("+")
    return next((one for one in positions if one.text_of("msid").lstrip("+") == digits), None)


def _failure(where: Element) -> LocateFailed:
    """What a result element says."""
    result = where.find("result")
    if result is None:
        return LocateFailed(Reason.NOT_UNDERSTOOD, "neither a position nor a result", fault=True)
    words = f"{result.text} {where.text_of('add_info')}".upper()
    text = result.attributes.get("resid", "")
    for wanted, reason, fault in _REASON_BY_WORDS:
        if wanted in words:
            return LocateFailed(reason, words.strip(), fault=fault)
    known = _REASON_BY_RESULT.get(int(text)) if text.isdecimal() else None
    reason, fault = known or (Reason.UNABLE, False)
    return LocateFailed(reason, f"{text} {words}".strip(), fault=fault)


def _plmn(data: Element) -> str:
    """The serving network, where the answer tells it (Network Element information)."""
    mcc, mnc = data.text_of("mcc"), data.text_of("mnc")
    return f"{mcc}{mnc}" if mcc.isdecimal() and mnc.isdecimal() and len(mcc) == 3 else ""


# --------------------------------------------------------------------------------------------------------- shapes


def read_shape(shape: Element) -> Circle | None:
    """A circle that holds the shape; None for a shape that is not known."""
    for element in shape.children:
        unit = _metres(element.text_of("distanceUnit"))
        if element.name == "Point":
            place = _place(element)
            return (*place, 0.0) if place else None
        if element.name in ("CircularArea", "EllipticalArea"):
            return _round(element, unit)
        if element.name == "CircularArcArea":
            return _arc(element, unit)
        if element.name in ("Polygon", "LineString", "Box"):
            places = [place for one in element.all("coord") if (place := _place_of_coord(one))]
            return enclosing_circle(places) if places else None
        if element.name in ("MultiPoint", "MultiPolygon", "GeometryCollection", "MultiLineString"):
            places = [place for one in element.all("coord") if (place := _place_of_coord(one))]
            return enclosing_circle(places) if places else None
    return None


def _round(element: Element, unit: float) -> Circle | None:
    """A circle, or an ellipse by its longer half axis; an ellipse may stand inside a CircularArea element."""
    place = _place(element)
    sizes = [_number(element.text_of(name)) for name in ("radius", "semiMajor", "semiMinor")]
    radius = max((size for size in sizes if size is not None), default=None)
    return (*place, radius * unit) if place and radius is not None else None


def _arc(element: Element, unit: float) -> Circle | None:
    """An arc of a ring around a mast: its corners and its middle, in a circle."""
    place = _place(element)
    inner, outer = _number(element.text_of("inRadius")), _number(element.text_of("outRadius"))
    start, stop = _number(element.text_of("startAngle")), _number(element.text_of("stopAngle"))
    if place is None or inner is None or outer is None or start is None or stop is None:
        return None
    width = (stop - start) % 360.0 or 360.0
    if width >= 180.0:
        return (*place, outer * unit)
    bearings = [start + width * part / 8 for part in range(9)]
    places = [_away(place, bearing, radius * unit) for bearing in bearings for radius in (inner, outer)]
    return enclosing_circle(places)


def _away(place: tuple[float, float], bearing: float, metres: float) -> tuple[float, float]:
    """A place some kilometres off; clockwise from north."""
    north, east = metres * cos(radians(bearing)), metres * sin(radians(bearing))
    degree = radians(1) * EARTH_RADIUS_M
    latitude = max(-90.0, min(90.0, place[0] + north / degree))
    longitude = place[1] + east / degree / max(0.01, cos(radians(place[0])))
    return latitude, (longitude + 180.0) % 360.0 - 180.0


def _place(element: Element) -> tuple[float, float] | None:
    coord = element.find("coord")
    return _place_of_coord(coord) if coord is not None else None


def _place_of_coord(coord: Element) -> tuple[float, float] | None:
    """X is latitude and Y is longitude, unless their letters say otherwise."""
    x, y = coord.text_of("X"), coord.text_of("Y")
    if x[-1:].upper() in ("E", "W") or y[-1:].upper() in ("N", "S"):
        x, y = y, x
    latitude, longitude = parse_angle(x), parse_angle(y)
    if latitude is None or longitude is None or not in_degrees(latitude, longitude):
        return None
    return latitude, longitude


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e8 else None


def _metres(unit: str) -> float:
    return {"km": 1000.0, "mile": 1609.344, "feet": 0.3048}.get(unit.strip().lower(), 1.0)


def read_time(text: str, utc_offset: str) -> int | None:
    """UTC epoch milliseconds from "20020623134453" and "+0200"; without an offset the time is taken as UTC."""
    try:
        local = datetime.strptime(text, "%Y%m%d%H%M%S")
    except ValueError:
        return None
    zone = re.fullmatch(r"([+-]?)([0-9]{2}):?([0-9]{2})", utc_offset.strip())
    offset = timedelta()
    if zone is not None:
        offset = timedelta(hours=int(zone[2]), minutes=int(zone[3])) * (-1 if zone[1] == "-" else 1)
    try:
        return int(local.replace(tzinfo=timezone(offset) if offset else UTC).timestamp() * 1000)
    except (OverflowError, ValueError):
        return None
