"""How long a large import of zones holds the event loop of a running center.

In charge of: a real `restante serve` on SQLite, a file of 20 000 zones (one of them with 10 000 vertices), imported by
its real door as a dry run, for good, and again with every zone changed, and an ESME that asks enquire_link all the
time: its slowest answer is what every peer would feel. Beside it the slowest answer without an import, which is the
machine's.
Run `python bench/imports.py [zones]`. The import itself may take its time.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "plugins"))

from running_center import RunningCenter, running_center  # beside the tests
from smpplib_esme import Esme, esme

ZONES = 20_000  #: entries of the largest file that is taken in
VERTICES = 10_000
RND = random.Random(5)


def ring(longitude: float, latitude: float, degrees: float, corners: int) -> list[list[float]]:
    made = [
        [
            round(longitude + degrees * math.cos(2 * math.pi * n / corners), 6),
            round(latitude + degrees * math.sin(2 * math.pi * n / corners), 6),
        ]
        for n in range(corners)
    ]
    return [*made, made[0]]


def features(count: int, tag: str) -> bytes:
    """Nine circles to one town of 50 corners, and one country of 10 000."""
    found: list[dict[str, Any]] = []
    for n in range(count):
        place = [round(RND.uniform(-10, 30), 5), round(RND.uniform(36, 60), 5)]
        properties: dict[str, Any] = {"name": f"zone {n}", "tags": [tag]}
        if n % 10:
            geometry: dict[str, Any] = {"type": "Point", "coordinates": place}
            properties["radius_m"] = 1000 + n % 4000
        else:
            corners, size = (VERTICES, 3.0) if n == 0 else (50, 0.05)
            geometry = {"type": "Polygon", "coordinates": [ring(place[0], place[1], size, corners)]}
        found.append({"type": "Feature", "properties": properties, "geometry": geometry})
    return json.dumps({"type": "FeatureCollection", "features": found}).encode()


def slowest(app: Esme, work: Callable[[], None]) -> tuple[float, float, float]:
    """Seconds of the work, and milliseconds: the slowest enquire_link meanwhile, and the 99th percentile."""
    thread = threading.Thread(target=work)
    began, answers = time.perf_counter(), list[float]()
    thread.start()
    while thread.is_alive():
        asked = time.perf_counter()
        app.ask("enquire_link")
        answers.append(time.perf_counter() - asked)
        time.sleep(0.001)
    answers.sort()
    return time.perf_counter() - began, answers[-1] * 1e3, answers[len(answers) * 99 // 100] * 1e3


def take_in(center: RunningCenter, document: bytes, mode: str) -> Callable[[], None]:
    def work() -> None:
        answer = httpx.post(
            f"{center.url}/api/v1/admin/zones:import",
            params={"mode": mode},
            content=document,
            headers={"Authorization": f"Bearer {center.api_key}", "Content-Type": "application/octet-stream"},
            timeout=300,
        )
        assert answer.status_code == 200, answer.text[:500]

    return work


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ZONES
    first, second = features(count, "one"), features(count, "two")
    with tempfile.TemporaryDirectory() as folder, running_center(Path(folder) / "center") as center:
        center.add_account("app", "wisteria")
        with esme(center.smpp_port, "transceiver", "app", "wisteria") as app:
            print(f"{count} zones, {len(first) / 1e6:.1f} MB")
            print(f"{'work':28} {'seconds':>8} {'slowest ms':>11} {'p99 ms':>8}")
            for name, work in (
                ("nothing", lambda: time.sleep(3)),
                ("dry run", take_in(center, first, "dry-run")),
                ("import", take_in(center, first, "apply")),
                ("import again, all changed", take_in(center, second, "apply")),
                ("nothing", lambda: time.sleep(3)),
            ):
                seconds, most, high = slowest(app, work)
                print(f"{name:28} {seconds:8.1f} {most:11.1f} {high:8.1f}")


if __name__ == "__main__":
    main()
