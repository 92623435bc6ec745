"""Where cells are: the operator's list, or OpenCellID's.

In charge of: reading such lists line by line, saying which lines are wrong, and writing them in chunks behind the
traffic. Not in charge of: serving cells that are reported (`locations.py`).

Two forms. OpenCellID: radio,mcc,net,area,cell,unit,lon,lat,range,samples,changeable,created,updated,averageSignal,
with or without that header; longitude comes before latitude, net is the MNC as a number (its leading zero is lost),
range is in metres and may be 0 or 1. The operator's own: any order of columns under a header that names at least mcc,
mnc (or net), area (or lac or tac), cell (or ci or cid), lat (or latitude) and lon (or longitude); range_m (or range),
radio and updated may follow. Of two lines about one cell the newer counts. Source: OpenCellID's data (CC BY-SA 4.0),
its column list.
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...outlet import Write
from ...store.store import Answer, Store
from .. import tables
from ..geometry import in_degrees

__all__ = ["CellImport", "CellReader", "CellRow", "CellTable", "Refusal"]

CHUNK = 200  #: rows of one transaction: some milliseconds, with accepts in between
MOST_REFUSALS = 100  #: listed; all are counted
MOST_LINE = 1_000  #: characters
E7 = 1e7

OPENCELLID = (
    "radio", "mcc", "net", "area", "cell", "unit", "lon", "lat", "range", "samples", "changeable", "created", "updated",
    "averageSignal",
)  # fmt: skip

#: What a column may be called, in lower case -> what it is here.
_NAMES: Mapping[str, str] = {
    "radio": "radio", "rat": "radio", "mcc": "mcc", "mnc": "mnc", "net": "mnc",
    "area": "area", "lac": "area", "tac": "area",
    "cell": "cell", "ci": "cell", "cid": "cell", "eci": "cell", "nci": "cell",
    "lat": "lat", "latitude": "lat", "lon": "lon", "lng": "lon", "longitude": "lon",
    "range": "range", "range_m": "range", "radius": "range", "samples": "samples", "updated": "updated",
}  # fmt: skip
_NEEDED = ("mcc", "mnc", "area", "cell", "lat", "lon")


class CellRow(NamedTuple):
    """One cell."""

    radio: str
    mcc: int
    mnc: int
    area: int
    cell: int
    latitude: float
    longitude: float
    range_m: int  #: 0: not known
    samples: int
    updated_at: int  #: UTC epoch seconds; 0: not known


class Refusal(NamedTuple):
    """A line that was not taken."""

    line: int
    why: str


@dataclass(slots=True)
class CellImport:
    """What became of a list."""

    lines: int = 0
    taken: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list[Refusal])  #: the first of them

    def refuse(self, line: int, why: str) -> None:
        """Note a line that was not taken."""
        self.refused += 1
        if len(self.refusals) < MOST_REFUSALS:
            self.refusals.append(Refusal(line, why))


class CellReader:
    """Reads a list one line at a time; what is wrong goes into the report."""

    def __init__(self) -> None:
        self.report = CellImport()
        self._columns: Mapping[str, int] | None = None
        self._number = 0

    def read(self, line: str) -> CellRow | None:
        """The cell of a line, if it has one; raises ValueError if the first line names too little."""
        self._number += 1
        report = self.report
        if not line.strip():
            return None
        if len(line) > MOST_LINE:
            report.lines += 1
            report.refuse(self._number, f"longer than {MOST_LINE} characters")
            return None
        cells = next(csv.reader([line.rstrip("\r\n")]))
        if self._columns is None:
            self._columns, is_header = _columns(cells)
            if is_header:
                return None
        report.lines += 1
        row = _row(cells, self._columns)
        if isinstance(row, str):
            report.refuse(self._number, row)
            return None
        report.taken += 1
        return row


def _columns(first: Sequence[str]) -> tuple[Mapping[str, int], bool]:
    """Where each column is, and whether this line says so."""
    names = [cell.strip().lstrip("\ufeff").lower() for cell in first]
    found = {_NAMES[name]: at for at, name in enumerate(names) if name in _NAMES}
    if all(name in found for name in _NEEDED):
        return found, True
    if len(first) >= 13 and first[1].strip().isdecimal():
        return {_NAMES[name]: at for at, name in enumerate(OPENCELLID) if name in _NAMES}, False
    missing = [name for name in _NEEDED if name not in found]
    raise ValueError(f"the first line names no {', '.join(missing)}, and is no line of OpenCellID's form")


_MOST = {"mcc": 999, "mnc": 999, "area": 0xFFFFFF, "cell": 0xFFFFFFFFF}


def _row(cells: Sequence[str], columns: Mapping[str, int]) -> CellRow | str:
    """A line as a cell, or what is wrong with it."""
    texts = {name: cells[at].strip() for name, at in columns.items() if at < len(cells)}
    if any(not texts.get(name) for name in _NEEDED):
        return "a column is missing"
    key: dict[str, int] = {}
    for name, most in _MOST.items():
        text = texts[name]
        if not (text.isascii() and text.isdecimal()) or int(text) > most:
            return f"{name} is not a number within 0..{most}"
        key[name] = int(text)
    try:
        latitude, longitude = float(texts["lat"]), float(texts["lon"])
    except ValueError:
        return "lat and lon are not numbers"
    if not in_degrees(latitude, longitude):
        return "lat is not within -90..90 or lon not within -180..180"
    return CellRow(
        texts.get("radio", "")[:8],
        key["mcc"], key["mnc"], key["area"], key["cell"],
        latitude, longitude, min(_whole(texts.get("range", "")), 200_000),
        _whole(texts.get("samples", "")), _whole(texts.get("updated", "")),
    )  # fmt: skip


def _whole(text: str) -> int:
    return min(int(text), 2**31 - 1) if text.isascii() and text.isdecimal() else 0


class CellTable:
    """The cells of the database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(
        self,
        lines: AsyncIterator[str],
        *,
        source: str,
        dry_run: bool = False,
        progress: Callable[[CellImport], None] | None = None,
    ) -> CellImport:
        """Take a list in, in chunks behind the traffic; `progress` is called after each. Raises ValueError.

        A chunk that is written stays, whatever comes after: a list may be loaded again. Raises OSError too.
        """
        reader = CellReader()
        report = reader.report
        writes: list[Write] = []
        async for line in lines:
            row = reader.read(line)
            if row is None:
                continue
            if not dry_run:
                writes.append(_write(row, source))
            if len(writes) >= CHUNK:
                await self._keep(writes)
                writes = []
            if progress is not None and report.lines % CHUNK == 0:
                progress(report)
        if writes:
            await self._keep(writes)
        if progress is not None:
            progress(report)
        return report

    async def _keep(self, writes: Sequence[Write]) -> None:
        answer = await self._store.apply(writes=writes)
        if answer is not Answer.STORED:
            raise OSError(f"the store answered {answer.value}")


def _write(row: CellRow, source: str) -> Write:
    values: dict[str, object] = {
        "mcc": row.mcc,
        "mnc": row.mnc,
        "area": row.area,
        "cell": row.cell,
        "radio": row.radio,
        "latitude_e7": round(row.latitude * E7),
        "longitude_e7": round(row.longitude * E7),
        "range_m": row.range_m,
        "samples": row.samples,
        "updated_at": row.updated_at,
        "source": source,
    }
    return Write(tables.PUT_CELL, values)
