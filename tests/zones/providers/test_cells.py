"""Lists of cells: OpenCellID's fourteen columns, the operator's own, and what is wrong in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from zone_center import ZoneCenter

from restante.zones.locations import LocationRefused
from restante.zones.providers.cells import CellReader, CellRow

NUMBER = "+447700900001"
LINE = "GSM,262,2,852,2521,0,10.948628,50.170324,15762,200,1,1294561074,1662692508,0"
HEADER = "radio,mcc,net,area,cell,unit,lon,lat,range,samples,changeable,created,updated,averageSignal"


def read(*lines: str) -> tuple[list[CellRow], CellReader]:
    reader = CellReader()
    return [row for line in lines if (row := reader.read(line)) is not None], reader


def test_opencellid_with_and_without_header() -> None:
    """Longitude comes before latitude."""
    expected = CellRow("GSM", 262, 2, 852, 2521, 50.170324, 10.948628, 15762, 200, 1662692508)
    assert read(LINE)[0] == [expected]
    assert read(HEADER, LINE)[0] == [expected]
    assert read("\ufeff" + HEADER + "\r\n", LINE + "\r\n", "", LINE)[0] == [expected, expected]


def test_the_operators_own_columns() -> None:
    rows, _ = read("CID,LAC,MNC,MCC,Latitude,Longitude,range_m", "2521,852,02,262,50.17,10.95,900")
    assert rows == [CellRow("", 262, 2, 852, 2521, 50.17, 10.95, 900, 0, 0)]


def test_a_first_line_that_names_too_little() -> None:
    with pytest.raises(ValueError, match="area, cell"):
        read("mcc,mnc,lat,lon")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("GSM,262,2,852,2521,0,210.9,50.17,1,1,1,1,1,0", "longitude|lon"),
        ("GSM,262,2,852,2521,0,50.17,110.9,1,1,1,1,1,0", "lat"),
        ("GSM,2620,2,852,2521,0,10.9,50.17,1,1,1,1,1,0", "mcc"),
        ("GSM,262,2,852,68719476736,0,10.9,50.17,1,1,1,1,1,0", "cell"),
        ("GSM,262,2,852", "missing"),
        ("GSM,262,2,852,x,0,10.9,50.17,1,1,1,1,1,0", "cell"),
        ("GSM,262,2,852,2521,0,nan,50.17,1,1,1,1,1,0", "lon"),
        ("x" * 1001, "longer"),
    ],
)
def test_wrong_lines_are_counted_and_named(line: str, why: str) -> None:
    import re

    rows, reader = read(HEADER, LINE, line, LINE)
    assert len(rows) == 2
    assert (reader.report.lines, reader.report.taken, reader.report.refused) == (3, 2, 1)
    assert reader.report.refusals[0].line == 3
    assert re.search(why, reader.report.refusals[0].why)


async def lines_of(*lines: str) -> AsyncGenerator[str]:
    for line in lines:
        yield line


def test_a_reported_cell_becomes_a_fix(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        newer = LINE.replace("15762", "800").replace("1662692508", "1700000000")
        report = await center.room.cells.load(
            lines_of(HEADER, newer, LINE, LINE.replace("2521", "7").replace("15762", "0")), source="test"
        )
        assert report.taken == 3
        fix = await center.room.locations.report_cell(NUMBER, "262-02-852-2521", plmn="26202")
        assert (fix.latitude, fix.longitude) == (pytest.approx(50.170324), pytest.approx(10.948628))
        assert fix.accuracy_m == 800  # of two lines the newer counts, whatever came first
        assert (fix.cell, fix.plmn, fix.source) == ((262, 2, 852, 2521), "26202", "cell")
        unknown_range = await center.room.locations.report_cell(NUMBER, "262-02-852-7")
        assert unknown_range.accuracy_m == 15_000
        nowhere = await center.room.locations.report_cell(NUMBER, "262-02-852-999")
        assert (nowhere.latitude, nowhere.cell) == (None, (262, 2, 852, 999))
        for wrong in ("262-02-852-*", "x", "262-02-852"):
            with pytest.raises(LocationRefused):
                await center.room.locations.report_cell(NUMBER, wrong)

    on_center(scenario)


def test_a_zone_of_cells_needs_no_coordinates(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.zone(shape={"kind": "cells", "cells": ["262-2-852-*", "262-01-1-7"]})
        await center.policy(visibility="specific")
        await center.bind()
        await center.room.locations.report_cell("+447700900001", "262-02-852-9")
        await center.send(b"in")
        await center.room.locations.report_cell("+447700900001", "262-02-853-9")
        out = await center.send(b"out")
        assert center.phone == [b"in"]
        assert await center.path.finals(out) == [(8, "outside")]

    on_center(scenario)


def test_a_dry_run_writes_nothing(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        seen: list[int] = []
        report = await center.room.cells.load(
            lines_of(HEADER, LINE), source="test", dry_run=True, progress=lambda r: seen.append(r.taken)
        )
        assert (report.taken, seen) == (1, [1])
        fix = await center.room.locations.report_cell(NUMBER, "262-02-852-2521")
        assert fix.latitude is None
        assert asyncio.get_running_loop().is_running()

    on_center(scenario)
