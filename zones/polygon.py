"""Polygons, in metres, anywhere on Earth.

In charge of: compiling polygons with holes and answering where an uncertain fix lies relative to them. Not in charge
of: whether a polygon is valid (`validation.py`), circles (`geometry.py`), finding zones by place (`index.py`).

How polygons are held. A polygon's edges are straight in longitude and latitude (RFC 7946 §3.1.1). Each polygon is put
into a frame of its own: azimuthal equidistant, centred on its vertices, with its edges cut into pieces so short that
the straight pieces stay within about a metre of the true edge. In that frame there is no antimeridian and no pole,
lengths are metres, and shapely's planar predicates are right. An edge goes the short way round the globe. Borders
belong to the zone (a closed set).

Sources: RFC 7946 (GeoJSON); J. P. Snyder, Map Projections - A Working Manual, §25 (azimuthal equidistant).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import acos, asin, atan2, cos, degrees, hypot, pi, radians, sin, sqrt
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from .geometry import EARTH_RADIUS_M, cap_boxes, wrapped
from .presence import IN, OUT, Box, Position, Presence, State, unknown

__all__ = ["POLYGON_REACH", "Floats", "Frame", "PolygonShape", "Ring", "densified", "lon_steps"]

#: Metres: an edge is cut into pieces no longer than this; a piece then stays within half a metre of the true edge.
PIECE_M = 2_500.0
#: Degrees of longitude: the same where meridians draw together.
PIECE_DEGREES = 0.25
#: Degrees of arc from a frame's centre to its farthest vertex; beyond it lengths are off by more than a fifth.
FRAME_REACH = 60.0
#: Degrees of arc: a single polygon must lie within a hemisphere, or it might hold the place opposite its centre, which
#: no plane shows.
POLYGON_REACH = 89.0
#: Metres: a place this close to a border lies on it, and so inside; what cutting edges into pieces may be wrong by.
BORDER_M = 0.5
#: Vertices up to which clipping costs less than asking how far the border is.
CLIPPED_UP_TO = 1_000
#: A share this small, or this close to 1, is rounding.
NOTHING = 1e-7

Floats = NDArray[np.float64]
Ring = Sequence[tuple[float, float]]  #: (longitude, latitude) in degrees, first and last alike


class Frame:
    """An azimuthal equidistant plane, metres, with its origin at a place."""

    __slots__ = ("longitude", "latitude", "_sin", "_cos")

    def __init__(self, latitude: float, longitude: float) -> None:
        """Degrees."""
        self.latitude = latitude
        self.longitude = longitude
        self._sin = sin(radians(latitude))
        self._cos = cos(radians(latitude))

    def point(self, latitude: float, longitude: float) -> tuple[float, float]:
        """A place in the frame, metres east and north."""
        lat = latitude * 0.017453292519943295
        dlon = (longitude - self.longitude) * 0.017453292519943295
        s, c = sin(lat), cos(lat)
        cc = c * cos(dlon)
        x = c * sin(dlon)
        y = self._cos * s - self._sin * cc
        h = hypot(x, y)
        if h == 0.0:
            return (0.0, 0.0)
        k = EARTH_RADIUS_M * atan2(h, self._sin * s + self._cos * cc) / h
        return (x * k, y * k)

    def points(self, lonlat: Floats) -> Floats:
        """The same for rows of (longitude, latitude)."""
        lat = np.radians(lonlat[:, 1])
        # 180 and -180 must come out as one and the same, or seams would not close.
        dlon = np.radians(np.mod(lonlat[:, 0] - self.longitude + 180.0, 360.0) - 180.0)
        s, c = np.sin(lat), np.cos(lat)
        cc = c * np.cos(dlon)
        x = c * np.sin(dlon)
        y = self._cos * s - self._sin * cc
        h = np.hypot(x, y)
        angle = np.arctan2(h, self._sin * s + self._cos * cc)
        k = EARTH_RADIUS_M * np.divide(angle, h, out=np.ones_like(h), where=h > 0)
        return np.column_stack((x * k, y * k))


def lon_steps(lon: Floats) -> Floats:
    """Degrees of longitude from each vertex to the next, the short way.

    A step of exactly 360 is none at all, but for a ring that has no longitudes other than 180 and -180: that is a band
    round the globe, and its edges go the long way.
    """
    step = np.diff(lon)
    short = np.mod(step + 180.0, 360.0) - 180.0
    # A step of exactly half the globe keeps the direction in which it was written.
    short = np.where(np.abs(step) == 180.0, step, short)
    return step if bool(np.all(np.abs(lon) == 180.0)) else short


def densified(ring: Floats) -> Floats:
    """A closed ring of (longitude, latitude) with its edges cut into short pieces, straight in lon and lat."""
    lat = ring[:, 1]
    dlon, dlat = lon_steps(ring[:, 0]), np.diff(lat)
    width = np.radians(dlon) * np.cos(np.radians((lat[1:] + lat[:-1]) / 2))
    metres = np.hypot(width, np.radians(dlat)) * EARTH_RADIUS_M
    cuts = np.maximum(np.ceil(metres / PIECE_M), np.ceil(np.abs(dlon) / PIECE_DEGREES))
    pieces = np.maximum(1, cuts).astype(np.int64)
    if int(pieces.max(initial=1)) == 1:
        return ring
    edge = np.repeat(np.arange(len(pieces)), pieces)
    first = np.cumsum(pieces) - pieces
    part = (np.arange(len(edge)) - first[edge]) / pieces[edge]
    # Counted from the southern end, so that both sides of a seam get the very same points.
    back = (pieces[edge] - np.arange(len(edge)) + first[edge]) / pieces[edge]
    up = dlat[edge] >= 0
    north = np.where(up, lat[edge] + dlat[edge] * part, lat[edge + 1] - dlat[edge] * back)
    cut = np.column_stack((ring[edge, 0] + dlon[edge] * part, north))
    return np.vstack((cut, ring[-1:]))


@dataclass(slots=True, frozen=True)
class _Part:
    """Polygons in one frame."""

    frame: Frame
    geometry: BaseGeometry
    border: BaseGeometry
    grown: BaseGeometry | None  #: with its border's tolerance; of small ones, where making it costs little
    reach_m: float  #: from the frame's centre to the farthest vertex
    vertices: int

    def presence(self, latitude: float, longitude: float, radius_m: float) -> Presence:
        x, y = self.frame.point(latitude, longitude)
        if hypot(x, y) > self.reach_m + radius_m * 1.3:
            return OUT
        if radius_m <= BORDER_M:
            if self.grown is not None:
                return IN if shapely.intersects_xy(self.grown, x, y) else OUT
            inside = bool(shapely.intersects_xy(self.geometry, x, y))
            if inside or shapely.dwithin(self.border, shapely.points(x, y), BORDER_M):
                return IN
            return OUT
        # A small shape is clipped at once, which tells all; of a large one, find out first whether its border is near.
        if self.vertices > CLIPPED_UP_TO and not shapely.dwithin(self.border, shapely.points(x, y), radius_m):
            return IN if shapely.intersects_xy(self.geometry, x, y) else OUT
        share = self._share(x, y, radius_m)
        if share <= NOTHING:
            return OUT
        return Presence(State.PARTIAL, share) if share < 1.0 - NOTHING else IN

    def _share(self, x: float, y: float, radius_m: float) -> float:
        """Area of the zone within the disc, as part of the disc."""
        edge = radius_m * 1.0001
        near = shapely.clip_by_rect(self.geometry, x - edge, y - edge, x + edge, y + edge)
        return area_in_disc(near, x, y, radius_m) / (pi * radius_m * radius_m)


def area_in_disc(geometry: BaseGeometry, x: float, y: float, radius: float) -> float:
    """Area that a polygon, or several, has in common with a disc; exact."""
    if geometry.is_empty:
        return 0.0
    if isinstance(geometry, shapely.Polygon):
        area = abs(_ring_in_disc(shapely.get_coordinates(geometry.exterior), x, y, radius))
        for hole in geometry.interiors:
            area -= abs(_ring_in_disc(shapely.get_coordinates(hole), x, y, radius))
        return area
    if isinstance(geometry, shapely.MultiPolygon | shapely.GeometryCollection):
        parts: list[BaseGeometry] = list(cast("Any", geometry).geoms)
        return sum(area_in_disc(part, x, y, radius) for part in parts)
    return 0.0  # a clip may leave points and lines where the zone only touches


def _ring_in_disc(ring: Floats, x: float, y: float, radius: float) -> float:
    """Signed area of a ring within a disc: each edge with the centre spans a triangle, cut by the circle."""
    points: list[list[float]] = ring.tolist()
    area, r2 = 0.0, radius * radius
    ax, ay = points[0][0] - x, points[0][1] - y
    a_in = ax * ax + ay * ay <= r2
    for px, py in points[1:]:
        bx, by = px - x, py - y
        b_in = bx * bx + by * by <= r2
        if a_in and b_in:
            area += ax * by - ay * bx
        else:
            area += _cut_edge(ax, ay, bx, by, r2, a_in, b_in)
        ax, ay, a_in = bx, by, b_in
    return area / 2


def _cut_edge(ax: float, ay: float, bx: float, by: float, r2: float, a_in: bool, b_in: bool) -> float:
    """Twice the signed area between the centre and an edge that is not wholly inside the circle."""
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    if length2 == 0.0:
        return 0.0
    half, rest = (ax * dx + ay * dy) / length2, (ax * ax + ay * ay - r2) / length2
    root = half * half - rest
    if root <= 0.0:  # it passes by
        return r2 * _angle(ax, ay, bx, by)
    root = sqrt(root)
    enter, leave = -half - root, -half + root
    if not (a_in or b_in) and (leave <= 0.0 or enter >= 1.0):
        return r2 * _angle(ax, ay, bx, by)
    ex, ey = (ax, ay) if a_in else (ax + enter * dx, ay + enter * dy)
    lx, ly = (bx, by) if b_in else (ax + leave * dx, ay + leave * dy)
    area = ex * ly - ey * lx
    if not a_in:
        area += r2 * _angle(ax, ay, ex, ey)
    if not b_in:
        area += r2 * _angle(lx, ly, bx, by)
    return area


def _angle(ax: float, ay: float, bx: float, by: float) -> float:
    """Signed angle from one direction to another."""
    return atan2(ax * by - ay * bx, ax * bx + ay * by)


class PolygonShape:
    """One or more polygons with holes."""

    __slots__ = ("_parts", "_boxes", "vertices", "area_m2")

    def __init__(self, polygons: Sequence[Sequence[Ring]]) -> None:
        """`polygons`: each an exterior ring and its holes, as in a GeoJSON MultiPolygon. Raises ValueError on one
        that is too large for a frame; everything else must have been validated."""
        rings = [[np.asarray(ring, dtype=np.float64) for ring in polygon] for polygon in polygons]
        self.vertices = sum(len(ring) for polygon in rings for ring in polygon)
        whole = _frame_of([ring for polygon in rings for ring in polygon])
        groups = [rings] if whole[1] <= FRAME_REACH else [[polygon] for polygon in rings]
        self._parts = [_compile(group) for group in groups]
        self.area_m2 = sum(part.geometry.area for part in self._parts)
        self._boxes: list[Box] | None = None

    def presence(self, fix: Position, radius_m: float) -> Presence:
        """See `Shape.presence`."""
        latitude, longitude = fix.latitude, fix.longitude
        if latitude is None or longitude is None:
            return unknown("no-coordinates")
        parts = self._parts
        if len(parts) == 1:
            return parts[0].presence(latitude, longitude, radius_m)
        share = 0.0
        for part in parts:
            found = part.presence(latitude, longitude, radius_m)
            if found.state is State.IN:
                return found
            share += found.share
        if share <= 0.0:
            return OUT
        return Presence(State.PARTIAL, share) if share < 1.0 else IN

    def boxes(self) -> list[Box]:
        """See `Shape.boxes`."""
        if self._boxes is None:
            self._boxes = [box for part in self._parts for box in part_boxes(part)]
        return self._boxes


def _frame_of(rings: Sequence[Floats]) -> tuple[Frame, float]:
    """A frame at the mean direction of all vertices, and the degrees of arc it must reach."""
    points = np.vstack([densified(ring) for ring in rings])
    lat, lon = np.radians(points[:, 1]), np.radians(points[:, 0])
    vectors = np.column_stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)))
    # The middle of the box around them, not their mean: a rugged coast must not draw the centre to itself.
    middle = (vectors.max(axis=0) + vectors.min(axis=0)) / 2
    length = float(np.linalg.norm(middle))
    if length < 1e-9:
        return Frame(90.0, 0.0), 180.0
    middle /= length
    centre = Frame(
        degrees(asin(max(-1.0, min(1.0, float(middle[2]))))),
        degrees(atan2(float(middle[1]), float(middle[0]))),
    )
    nearest = float((vectors @ middle).min())
    return centre, degrees(acos(max(-1.0, min(1.0, nearest))))


def _compile(polygons: Sequence[Sequence[Floats]]) -> _Part:
    cut = [[densified(ring) for ring in polygon] for polygon in polygons]
    frame, reach = _frame_of([ring for polygon in cut for ring in polygon])
    if reach > POLYGON_REACH:
        raise ValueError(
            "reaches over more than half of the globe; divide it and unite the pieces in a union zone"
        )
    projected = [[np.round(frame.points(ring), 3) for ring in polygon] for polygon in cut]  # millimetres
    made = [shapely.Polygon(rings[0], rings[1:]) for rings in projected]
    seams = any(bool(np.any(np.abs(ring[:, 0]) == 180.0)) for polygon in polygons for ring in polygon)
    geometry: BaseGeometry = made[0] if len(made) == 1 else shapely.MultiPolygon(made)
    if seams or not shapely.is_valid(geometry):
        # A file that follows RFC 7946 §3.1.9 cuts a zone at 180 degrees, or goes to the pole and back: the cut is not
        # a border. On a grid of millimetres both sides of it meet.
        mended = [shapely.make_valid(polygon) for polygon in made]
        geometry = shapely.union_all(mended, grid_size=0.001)
    border = shapely.boundary(geometry)
    shapely.prepare(geometry)
    shapely.prepare(border)
    grown: BaseGeometry | None = None
    if len(shapely.get_coordinates(geometry)) <= CLIPPED_UP_TO:
        grown = geometry.buffer(BORDER_M, quad_segs=2)
        shapely.prepare(grown)
    corners = shapely.get_coordinates(geometry)
    reach_m = float(np.hypot(corners[:, 0], corners[:, 1]).max(initial=0.0))
    return _Part(frame, geometry, border, grown, reach_m, len(corners))


def part_boxes(part: _Part) -> list[Box]:
    """Boxes around a part: those of its longitudes and latitudes, or of the cap that it fills."""
    if bool(shapely.intersects_xy(part.geometry, *part.frame.point(90.0, 0.0))) or bool(
        shapely.intersects_xy(part.geometry, *part.frame.point(-90.0, 0.0))
    ):
        return cap_boxes(part.frame.latitude, part.frame.longitude, part.reach_m)
    corners = shapely.get_coordinates(part.geometry)
    lat, offset = _unprojected(part.frame, corners)
    west, east = float(offset.min()), float(offset.max())
    margin = 1e-6
    if east - west > 350.0:
        west, east = -180.0, 180.0
    longitude = part.frame.longitude
    south, north = max(-90.0, float(lat.min()) - margin), min(90.0, float(lat.max()) + margin)
    west, east = longitude + west - margin, longitude + east + margin
    turn = 360.0 if west < -540.0 else 0.0
    return wrapped(west + turn, south, east + turn, north)


def _unprojected(frame: Frame, points: Floats) -> tuple[Floats, Floats]:
    """Latitudes, and longitudes relative to the frame's, of points in a frame."""
    x, y = points[:, 0], points[:, 1]
    rho = np.hypot(x, y)
    angle = rho / EARTH_RADIUS_M
    safe = np.where(rho > 0, rho, 1.0)
    s0, c0 = sin(radians(frame.latitude)), cos(radians(frame.latitude))
    lat = np.arcsin(np.clip(np.cos(angle) * s0 + y * np.sin(angle) * c0 / safe, -1.0, 1.0))
    offset = np.arctan2(x * np.sin(angle), safe * c0 * np.cos(angle) - y * s0 * np.sin(angle))
    return np.degrees(lat), np.degrees(offset)
