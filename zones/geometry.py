"""Distances on the ellipsoid, and circles.

In charge of: metres between two places, the share of two discs, circles as shapes, boxes around them, angles as people
and servers write them. Not in charge of: polygons (`polygon.py`). A circle is never turned into a polygon: a distance
and the area of a lens decide.

Sources: WGS 84; W. D. Lambert, 1942 (long lines on the ellipsoid).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import acos, asin, atan, atan2, ceil, cos, degrees, hypot, isfinite, pi, radians, sin, sqrt, tan
from typing import Any

from .presence import IN, OUT, Box, Position, Presence, State, unknown

__all__ = [
    "EARTH_RADIUS_M",
    "CircleShape",
    "cap_boxes",
    "circle_outline",
    "distance_m",
    "enclosing_circle",
    "in_degrees",
    "lens_share",
    "parse_angle",
    "typed_place",
    "wrapped",
]

EARTH_RADIUS_M = 6_371_008.8  #: mean radius (IUGG)
_A = 6_378_137.0  # WGS 84 semi-major axis, metres
_F = 1 / 298.257223563  # WGS 84 flattening
_E2 = _F * (2 - _F)


def distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Metres between two places on WGS 84.

    Up to half a degree and away from the poles the ellipsoid is taken as flat between the two, wrong by less than
    0.03 %. Beyond: Lambert's formula, wrong by some metres in a thousand kilometres.
    """
    dlat = lat2 - lat1
    dlon = lon2 - lon1
    if dlon > 180.0:
        dlon -= 360.0
    elif dlon < -180.0:
        dlon += 360.0
    if -0.45 < dlat < 0.45 and -0.45 < dlon < 0.45 and -80.0 < lat1 < 80.0:
        middle = (lat1 + lat2) * 0.008726646259971648  # half of a degree in radians
        s = sin(middle)
        w2 = 1.0 - _E2 * s * s
        n = _A / sqrt(w2)
        m = n * (1.0 - _E2) / w2
        return hypot(m * dlat, n * cos(middle) * dlon) * 0.017453292519943295
    return _long_distance_m(radians(lat1), radians(lat2), radians(dlon))


def _long_distance_m(lat1: float, lat2: float, dlon: float) -> float:
    """Lambert's formula; radians."""
    b1, b2 = atan((1 - _F) * tan(lat1)), atan((1 - _F) * tan(lat2))
    h = sin((b2 - b1) / 2) ** 2 + cos(b1) * cos(b2) * sin(dlon / 2) ** 2
    sigma = 2 * asin(min(1.0, sqrt(h)))
    if sigma == 0.0:
        return 0.0
    p, q = (b1 + b2) / 2, (b2 - b1) / 2
    cos_half, sin_half = cos(sigma / 2), sin(sigma / 2)
    if cos_half == 0.0:  # antipodes
        return pi * _A * (1 - _F / 2)
    x = (sigma - sin(sigma)) * (sin(p) * cos(q) / cos_half) ** 2
    y = (sigma + sin(sigma)) * (cos(p) * sin(q) / sin_half) ** 2
    return _A * (sigma - _F / 2 * (x + y))


def lens_share(distance: float, zone_radius: float, fix_radius: float) -> float:
    """Part of a disc of `fix_radius` that lies inside a disc of `zone_radius`, centres `distance` apart (metres)."""
    if distance >= zone_radius + fix_radius:
        return 0.0
    if distance + fix_radius <= zone_radius:
        return 1.0
    if distance + zone_radius <= fix_radius:
        return (zone_radius / fix_radius) ** 2
    d, big, small = distance, zone_radius, fix_radius
    a = acos(max(-1.0, min(1.0, (d * d + small * small - big * big) / (2 * d * small))))
    b = acos(max(-1.0, min(1.0, (d * d + big * big - small * small) / (2 * d * big))))
    area = small * small * (a - sin(2 * a) / 2) + big * big * (b - sin(2 * b) / 2)
    return min(1.0, area / (pi * small * small))


def cap_boxes(latitude: float, longitude: float, reach_m: float) -> list[Box]:
    """Boxes that cover everything within `reach_m` of a place, and little more: one, or two across 180 degrees."""
    # A cap on the sphere, a little larger than on the ellipsoid.
    reach = reach_m * 1.006 / EARTH_RADIUS_M
    south, north = latitude - degrees(reach), latitude + degrees(reach)
    if south <= -90.0 or north >= 90.0:
        return [(-180.0, max(south, -90.0), 180.0, min(north, 90.0))]
    half = degrees(asin(min(1.0, sin(min(reach, pi / 2)) / cos(radians(latitude)))))
    return wrapped(longitude - half, south, longitude + half, north)


def wrapped(west: float, south: float, east: float, north: float) -> list[Box]:
    """Boxes within -180..180 for one that may reach beyond."""
    if east - west >= 360.0:
        return [(-180.0, south, 180.0, north)]
    if west < -180.0:
        return [(west + 360.0, south, 180.0, north), (-180.0, south, east, north)]
    if east > 180.0:
        return [(west, south, 180.0, north), (-180.0, south, east - 360.0, north)]
    return [(west, south, east, north)]


class CircleShape:
    """A circle on the ellipsoid."""

    __slots__ = ("latitude", "longitude", "radius_m")

    def __init__(self, latitude: float, longitude: float, radius_m: float) -> None:
        """Degrees and metres."""
        self.latitude = latitude
        self.longitude = longitude
        self.radius_m = radius_m

    def presence(self, fix: Position, radius_m: float) -> Presence:
        """See `Shape.presence`."""
        latitude, longitude = fix.latitude, fix.longitude
        if latitude is None or longitude is None:
            return unknown("no-coordinates")
        d = distance_m(self.latitude, self.longitude, latitude, longitude)
        own = self.radius_m
        if d + radius_m <= own:
            return IN
        if d >= own + radius_m:
            return OUT
        share = lens_share(d, own, radius_m)
        return Presence(State.PARTIAL, share) if share > 0.0 else OUT

    def boxes(self) -> list[Box]:
        """See `Shape.boxes`."""
        return cap_boxes(self.latitude, self.longitude, self.radius_m)


def in_degrees(latitude: Any, longitude: Any) -> bool:
    """True for a place on Earth."""
    return (
        isinstance(latitude, int | float)
        and isinstance(longitude, int | float)
        and isfinite(latitude)
        and isfinite(longitude)
        and -90.0 <= latitude <= 90.0
        and -180.0 <= longitude <= 180.0
    )


def circle_outline(
    latitude: float, longitude: float, radius_m: float, corners: int = 64
) -> list[tuple[float, float]]:
    """A closed ring of (longitude, latitude) that looks like a circle: for maps and files, never for decisions."""
    from geopy.distance import geodesic

    radius: Any = geodesic(meters=radius_m)
    step = max(1, ceil(360 / corners))
    ring: list[tuple[float, float]] = []
    for bearing in range(0, 360, step):
        place: Any = radius.destination((latitude, longitude), bearing)
        ring.append((float(place.longitude), float(place.latitude)))
    return [*ring, ring[0]]


_ANGLE = re.compile(
    r"(?P<sign>[+-]?)(?P<d>[0-9]{1,3}(\.[0-9]+)?)(\s+(?P<m>[0-9]{1,2}(\.[0-9]+)?))?(\s+(?P<s>[0-9]{1,2}(\.[0-9]+)?))?"
    r"\s*(?P<h>[NSEWnsew]?)"
)


def parse_angle(text: str) -> float | None:
    """Degrees from "30 16 28.308N", "099 12 15.019W", "27 28 25.00 S" or "45.5"; None if it is none of these."""
    found = _ANGLE.fullmatch(text.strip())
    if found is None:
        return None
    minutes, seconds = float(found["m"] or 0), float(found["s"] or 0)
    if minutes >= 60 or seconds >= 60:
        return None
    value = float(found["d"]) + minutes / 60 + seconds / 3600
    negative = (found["sign"] == "-") != (found["h"].upper() in ("S", "W") and bool(found["h"]))
    return -value if negative else value


_HALVES = re.compile(r"(.*[NSns])[\s,;]*([^,;]+)|([^,;]+)[,;]([^,;]+)|(\S+)\s+(\S+)", re.DOTALL)


def typed_place(text: str) -> tuple[float, float]:
    """(latitude, longitude) from what people type: "51.5, -0.12", "51 30 0N 0 7 12W", "51°30′N 0°7′W". ValueError.

    geopy reads such texts too, but finds a place in the middle of one that it does not understand.
    """
    found = _HALVES.fullmatch(re.sub(r"[°º'′’\"″”]", " ", text).strip())
    north, east = (
        [parse_angle(half) for half in found.groups() if half is not None] if found else (None, None)
    )
    if north is None or east is None or not in_degrees(north, east):
        raise ValueError("latitude and longitude are needed, as in 51 30 0N 0 7 12W or 51.5, -0.12")
    return north, east


def enclosing_circle(places: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """A circle (latitude, longitude, radius in metres) around places given as (latitude, longitude).

    Its centre is the middle of the places as directions; not the smallest circle, but never too small.
    """
    x = y = z = 0.0
    for latitude, longitude in places:
        lat, lon = radians(latitude), radians(longitude)
        x, y, z = x + cos(lat) * cos(lon), y + cos(lat) * sin(lon), z + sin(lat)
    latitude = degrees(atan2(z, hypot(x, y)))
    longitude = degrees(atan2(y, x))
    return latitude, longitude, max(distance_m(latitude, longitude, *place) for place in places)
