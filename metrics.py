"""The registry of metrics and their naming rules.

In charge of: one registry, names that all look alike, and counters cheap enough for the message path. Not in charge
of: counting, which stands where the thing counted happens, nor of serving /metrics (`api/health.py`).

Rules: `restante_<room>_<what>`; a counter ends in `_total`, durations are seconds and end in `_seconds`, sizes are
octets and end in `_bytes`; labels have few values, never a number, an address or an id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

__all__ = ["LATENCY_SECONDS", "REGISTRY", "SIZES", "Tally", "counter", "gauge", "histogram", "tally"]

#: Every metric of the center; tests may read it, nothing else is in it.
REGISTRY = CollectorRegistry(auto_describe=True)

#: Bucket bounds for durations between a memory access and a stuck disk.
LATENCY_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Bucket bounds for numbers of things handled together.
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def _name(room: str, what: str) -> str:
    return f"restante_{room}_{what}"


def counter(room: str, what: str, help: str, labels: Sequence[str] = ()) -> Counter:
    """Make a counter; `_total` is added to its name."""
    return Counter(_name(room, what), help, labels, registry=REGISTRY)


class Tally(Collector):
    """A counter for what happens several times a message: one dict operation each, a fifth of what `Counter` takes for
    its lock and its exemplars. Counted on the event loop only; read from anywhere."""

    def __init__(self, name: str, help: str, labels: Sequence[str]) -> None:
        """`name` without `_total`."""
        self._family = (name, help, tuple(labels))
        self._counts: dict[tuple[str, ...], int] = {}

    def count(self, *labels: str) -> None:
        """One more with these values of its labels, in their order."""
        counts = self._counts
        counts[labels] = counts.get(labels, 0) + 1

    def collect(self) -> Iterable[CounterMetricFamily]:
        """For the registry."""
        name, help, labels = self._family
        family = CounterMetricFamily(name, help, labels=labels)
        for values, number in self._counts.copy().items():
            family.add_metric(values, number)
        return [family]


def tally(room: str, what: str, help: str, labels: Sequence[str]) -> Tally:
    """Make a counter for the message path; `_total` is added to its name."""
    made = Tally(_name(room, what), help, labels)
    REGISTRY.register(made)
    return made


def gauge(room: str, what: str, help: str, labels: Sequence[str] = ()) -> Gauge:
    """Make a gauge."""
    return Gauge(_name(room, what), help, labels, registry=REGISTRY)


def histogram(
    room: str, what: str, help: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_SECONDS
) -> Histogram:
    """Make a histogram; name durations `…_seconds`."""
    return Histogram(_name(room, what), help, labels, registry=REGISTRY, buckets=tuple(buckets))
