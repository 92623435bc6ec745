"""What nodes give out of one account's throughput: together as much as one alone would."""

from __future__ import annotations

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from restante.access.accounts import Account, AccountModel
from restante.smsc.limits import Throttles
from restante.smsc.shares import EVERY_S, FORGET_S, Shares
from restante.store.bus import LocalBus

S = 1_000_000_000
RATE = 50
ACCOUNT = Account(1, AccountModel(system_id="shop", throughput=RATE, burst=10))


class Center:
    """Some nodes on one bus, and a clock that a test steps by a second."""

    def __init__(self, nodes: int) -> None:
        self.now = 100.0
        self.bus = LocalBus()
        self.throttles = [Throttles() for _ in range(nodes)]
        self.shares = [self._make(epoch) for epoch in range(1, nodes + 1)]

    def _make(self, epoch: int) -> Shares:
        made = Shares(
            self.bus, self.throttles[epoch - 1], epoch=lambda: epoch, nodes=lambda: len(self.throttles),
            monotonic=lambda: self.now,
        )  # fmt: skip
        made.start()
        return made

    def second(self, asked: list[int], silent: int = -1) -> list[int]:
        """One second in which each node is asked so often; what each gave. `silent`: a node that does not tell."""
        given = [0] * len(asked)
        for step in range(100):
            at = int((self.now + step / 100) * S)
            for node, number in enumerate(asked):
                for _ in range(number * (step + 1) // 100 - number * step // 100):
                    given[node] += self.throttles[node].of(ACCOUNT).take(at) == 0
        self.now += EVERY_S
        for node, shares in enumerate(self.shares):
            if node != silent:
                shares.turn()
        return given


def steady(asked: list[int]) -> tuple[int, Center]:
    """What the nodes gave in ten seconds of this demand, after they got to know it."""

    async def run() -> tuple[int, Center]:
        center = Center(len(asked))
        for _ in range(3):
            center.second(asked)
        given = sum(sum(center.second(asked)) for _ in range(10))
        for shares in center.shares:
            await shares.close()
        return given, center

    return asyncio.run(run())


@given(st.lists(st.integers(0, 300), min_size=1, max_size=4).filter(lambda asked: sum(asked) >= 2 * RATE))
@example([300, 12, 12, 12])
@settings(max_examples=25, deadline=None)
def test_together_they_give_what_one_would(asked: list[int]) -> None:
    """Whoever is asked for more gives more; nobody is refused because others could be asked."""
    given, _ = steady(asked)
    assert 0.88 * 10 * RATE <= given <= 1.1 * 10 * RATE + 10, asked


def test_who_uses_one_node_only_has_all_of_it_there() -> None:
    given, _ = steady([500, 0, 0])
    assert 10 * RATE - 10 <= given <= 10 * RATE + 10


def test_a_new_node_gives_a_fifth_at_most_before_it_is_known() -> None:
    async def run() -> None:
        center = Center(2)
        for _ in range(5):
            center.second([200, 0])
        center.second([200, 1])  # it is asked for the first time
        first = center.second([200, 200])
        assert sum(first) <= 1.3 * RATE + 10
        last = first
        for _ in range(3):
            last = center.second([200, 200])
        assert sum(last) <= 1.1 * RATE
        assert abs(last[0] - last[1]) <= 0.2 * RATE
        for shares in center.shares:
            await shares.close()

    asyncio.run(run())


def test_without_news_nobody_gives_more_than_its_part() -> None:
    """The bus is away: after a while each takes its part of the number of live nodes."""

    async def run() -> None:
        center = Center(2)
        for _ in range(3):
            center.second([200, 200])
        for shares in center.shares:
            shares._stop()
        center.now += FORGET_S
        for _ in range(2):
            center.second([200, 200])
        assert sum(sum(center.second([200, 200])) for _ in range(10)) <= 10 * RATE + 20
        for shares in center.shares:
            await shares.close()

    asyncio.run(run())


def test_what_is_no_demand_is_left_alone() -> None:
    async def run() -> None:
        center = Center(2)
        center.second([200, 200])
        for payload in (
            b"",
            b"[]",
            b"{}",
            b'["x", []]',
            b"[1, [[1]]]",
            b"[2, 7]",
            b'[9, [["a", 1]]]',
        ):
            center.bus.publish("demand", payload)
        assert sum(center.second([200, 200])) <= 2 * RATE
        for shares in center.shares:
            await shares.close()

    asyncio.run(run())
