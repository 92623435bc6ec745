"""What deciding where somebody is costs, as ratios in one run.

Rows: an own circle, an own polygon of 500 vertices with an uncertain fix, "which of 100 000 mixed zones", against one
geodesic distance of geopy; adding a zone to a live index, and the longest stall of the event loop while many come.
"""

from __future__ import annotations

import asyncio
import gc
import math
import random
import time
from collections.abc import Callable

from figures import Figure, leave
from geopy.distance import geodesic

from restante.zones.fix import Fix
from restante.zones.geometry import CircleShape
from restante.zones.index import ZoneIndex
from restante.zones.members import _LAYOUT
from restante.zones.packed import Packed
from restante.zones.polygon import PolygonShape
from restante.zones.presence import Shape, State

RND = random.Random(20)
ROUNDS = 9
MANY = 100_000
IMPORTED = 20_000  #: zones of the largest file that is taken in


def fix_at(latitude: float, longitude: float) -> Fix:
    return Fix("+447700900001", latitude, longitude, 0.0, 0, 0, "push")


def best_us(ask: Callable[[Fix], object], fixes: list[Fix]) -> float:
    """Microseconds a question, best of some rounds: the machine is shared."""
    best = math.inf
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for fix in fixes:
            ask(fix)
        best = min(best, (time.perf_counter() - began) / len(fixes) * 1e6)
    return best


def star(latitude: float, longitude: float, metres: float, corners: int) -> PolygonShape:
    ring: list[tuple[float, float]] = []
    for index in range(corners):
        a, r = 2 * math.pi * index / corners, metres * RND.uniform(0.85, 1) / 111_195
        ring.append(
            (longitude + r * math.cos(a) / math.cos(math.radians(latitude)), latitude + r * math.sin(a))
        )
    return PolygonShape([[[*ring, ring[0]]]])


def mixed(count: int) -> list[Shape]:
    """Nine circles of 0.5 to 5 km to one town of 50 to 200 vertices, over a continent."""
    shapes: list[Shape] = []
    for index in range(count):
        place = RND.uniform(36, 60), RND.uniform(-10, 30)
        if index % 10:
            shapes.append(CircleShape(*place, RND.uniform(500, 5000)))
        else:
            shapes.append(star(*place, RND.uniform(1000, 10_000), RND.randrange(50, 200)))
    return shapes


async def stalls(index: ZoneIndex, more: list[CircleShape]) -> tuple[float, float, float, float]:
    """Milliseconds: 99th percentile and longest of adding a zone live, and the longest stall of the loop while many
    more come at once, as of an import: by the clock, and the loop's own processor time in it, because the machine is
    shared."""
    took: list[float] = []
    for number in range(MANY, MANY + 1000):
        shape = CircleShape(RND.uniform(36, 60), RND.uniform(-10, 30), 1000)
        began = time.thread_time()
        index.put(number, shape)
        took.append(time.thread_time() - began)
    longest, busiest, stop = 0.0, 0.0, asyncio.Event()

    async def heartbeat() -> None:
        nonlocal longest, busiest
        while not stop.is_set():
            began, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began - 0.001)
            busiest = max(busiest, time.thread_time() - worked)

    beat = asyncio.create_task(heartbeat())
    await asyncio.sleep(0.01)
    index.change((2 * MANY + number, shape) for number, shape in enumerate(more))
    await index.settled()
    stop.set()
    await beat
    took.sort()
    return took[len(took) * 99 // 100] * 1e3, took[-1] * 1e3, longest * 1e3, busiest * 1e3


def main() -> None:
    """Print the table. Long because a table has many rows."""
    near = [fix_at(50 + RND.uniform(-0.06, 0.06), 8 + RND.uniform(-0.09, 0.09)) for _ in range(3000)]
    few = near[:300]
    geo = best_us(lambda f: geodesic((50.0, 8.0), (f.latitude, f.longitude)), few)
    circle, town = CircleShape(50.0, 8.0, 3000), star(50.0, 8.0, 4000, 500)
    rows: list[tuple[str, float, str]] = [("geopy.geodesic, one distance", geo, "")]
    rows.append(("own circle, with radius", best_us(lambda f: circle.presence(f, 300), near), "1/50"))
    rows.append(("own polygon, 500 vertices, point", best_us(lambda f: town.presence(f, 0), near), ""))
    rows.append(("own polygon, 500 vertices, 800 m", best_us(lambda f: town.presence(f, 800), near), "1/4"))
    partial = [f for f in near if town.presence(f, 800).state is State.PARTIAL]
    rows.append(("  of these on the border", best_us(lambda f: town.presence(f, 800), partial), ""))
    shapes = mixed(MANY)
    began = time.perf_counter()
    index = ZoneIndex(enumerate(shapes))
    built = time.perf_counter() - began
    wide = [fix_at(RND.uniform(36, 60), RND.uniform(-10, 30)) for _ in range(3000)]
    rows.append((f"which of {MANY} zones, point", best_us(lambda f: index.containing(f), wide), "1/5"))
    packed = Packed(_LAYOUT)
    packed.load((447700000000 + n, (0, 1, 100, 0, 0, 1000, 0, 0)) for n in range(1_000_000))
    keys = [447700000000 + RND.randrange(2_000_000) for _ in range(len(near))]
    rows.append(
        ("memberships of a number among 1 M", best_us(lambda f: [packed.get(k) for k in keys[:1]], near), "")
    )
    print(f"{'question':40} {'µs':>8} {'of geopy':>10} {'target':>7}")
    for name, us, target in rows:
        print(f"{name:40} {us:8.2f} {'1/%.1f' % (geo / us):>10} {target:>7}")
    more = [CircleShape(RND.uniform(36, 60), RND.uniform(-10, 30), 1000) for _ in range(IMPORTED)]
    gc.collect()
    gc.freeze()  # as the center does when it has started
    high, most, stall, busy = asyncio.run(stalls(index, more))
    print(f"\nindex of {MANY} built in {built * 1e3:.0f} ms")
    print(f"adding a zone live: p99 {high:.3f} ms, longest of a thousand {most:.3f} ms (target 5 ms)")
    leave(
        *(
            Figure(f"{name}: times faster than geopy", geo / us, float(target[2:]))
            for name, us, target in rows
            if target
        ),
        Figure("adding a zone live, p99", high, 5.0, "ms", at_most=True),
        Figure(f"loop's work in one stall while {IMPORTED} zones come", busy, 20.0, "ms", at_most=True),
    )
    print(
        f"longest stall of the loop while {IMPORTED} more come: {stall:.1f} ms, {busy:.1f} of them work (target 20 ms)"
    )


if __name__ == "__main__":
    main()
