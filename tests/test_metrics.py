"""Counters of the message path."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from restante.metrics import Tally


def test_a_tally_shows_what_was_counted_by_its_labels() -> None:
    tally = Tally("restante_test_things", "Things.", ("kind", "colour"))
    registry = CollectorRegistry(auto_describe=True)
    registry.register(tally)
    for labels in [("a", "red"), ("b", "blue"), ("a", "red"), ("a", "")]:
        tally.count(*labels)
    text = generate_latest(registry).decode()
    assert "# TYPE restante_test_things_total counter" in text
    assert 'restante_test_things_total{colour="red",kind="a"} 2.0' in text
    assert 'restante_test_things_total{colour="blue",kind="b"} 1.0' in text
    assert 'restante_test_things_total{colour="",kind="a"} 1.0' in text
