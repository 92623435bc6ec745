"""The registry of metrics and their naming rules.

In charge of: one registry and names that all look alike. Not in charge of: counting, which stands where the thing
counted happens, nor of serving /metrics (`api/health.py`).

Rules: `restante_<room>_<what>`; a counter ends in `_total`, durations are seconds and end in `_seconds`, sizes are
octets and end in `_bytes`; labels have few values, never a number, an address or an id.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["LATENCY_SECONDS", "REGISTRY", "SIZES", "counter", "gauge", "histogram"]

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


def gauge(room: str, what: str, help: str, labels: Sequence[str] = ()) -> Gauge:
    """Make a gauge."""
    return Gauge(_name(room, what), help, labels, registry=REGISTRY)


def histogram(
    room: str, what: str, help: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_SECONDS
) -> Histogram:
    """Make a histogram; name durations `…_seconds`."""
    return Histogram(_name(room, what), help, labels, registry=REGISTRY, buckets=tuple(buckets))
