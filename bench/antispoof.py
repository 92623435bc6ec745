"""What judging a sender costs: remembered, judged anew from memory, and with a question to a real OsmoHLR.

Rows: the check of a sender who is known against one whose verdict must be made anew, and against one who must be
asked about; checks a second at a stated hit ratio with an OsmoHLR behind the memory; and how many questions a flood of
unknown senders causes. OsmoHLR is Debian's; without it the rows that need it are left out and said.
"""

from __future__ import annotations

import asyncio
import gc
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "plugins"))

from gsup_switch import GsupSwitch
from osmo_hlr import OsmoHlr
from spoof_center import ANNA, A, Bench, a_message, a_policy, book

from restante.antispoof.policy import Policies
from restante.check import Stage, Verdict
from restante.signaling.affiliations import Affiliations, AffiliationSettings
from restante.signaling.ctrl import Ctrl
from restante.signaling.osmohlr import OsmoHlr as Register
from restante.signaling.registers import Who

ROUNDS = 15
MESSAGES = 20_000
SUBSCRIBERS = 2_000
HIT_RATIO = 0.95
SECONDS = 5.0


def cached_us(bench: Bench) -> float:
    """Microseconds of a check that memory answers, best of some rounds: the machine is shared."""
    ingress, message, examine = bench.ingress(A), a_message(), bench.check.examine
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(MESSAGES):
            examine(message, ingress, Stage.SUBMIT)
        best = min(best, (time.process_time_ns() - began) / MESSAGES / 1000)
    return best


def anew_us(bench: Bench) -> float:
    """The same with nothing but the register's answer remembered."""
    ingress, message, best = bench.ingress(A), a_message(), float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(MESSAGES // 20):
            bench.check._known.clear()
            bench.check.examine(message, ingress, Stage.SUBMIT)
        best = min(best, (time.process_time_ns() - began) / (MESSAGES // 20) / 1000)
    return best


async def uncached_us(bench: Bench) -> float:
    """With a question to a register that answers at once: all of our own work, none of its."""
    costs: list[float] = []
    for round in range(ROUNDS):
        began = time.process_time_ns()
        for number in range(500):
            sender = f"+4477{round * 500 + number:08}"
            bench.register.serving[sender[1:]] = A
            answer = bench.check.examine(a_message(sender), bench.ingress(A), Stage.SUBMIT)
            assert not isinstance(answer, Verdict), (number, sender, answer)
            await answer
        costs.append((time.process_time_ns() - began) / 500 / 1000)
    return min(costs)


async def with_hlr(program: str, folder: Path) -> tuple[float, float, float, float, float, int]:
    """Checks a second, the same of our own CPU time, 99th percentile (ms), µs a question, hit ratio, questions."""
    hlr = OsmoHlr(program, folder)
    hlr.start()
    ctrl = Ctrl(hlr.address)
    ctrl.open()
    while not ctrl.connected:
        await asyncio.sleep(0.01)
    try:
        switch = await GsupSwitch.connect("MSC-A", hlr.address, hlr.gsup_port)
        for n in range(SUBSCRIBERS):
            imsi = f"00101{n:010}"
            await ctrl.set("subscriber.create", imsi, 30)
            await ctrl.set(f"subscriber.by-imsi-{imsi}.msisdn", f"4477{n:08}", 30)
            await switch.attach(imsi)
        bench = Bench(policies=Policies([a_policy(fall_back_share=0)]))
        bench.clock.monotonic = time.monotonic  # type: ignore[method-assign]
        register = Register(ctrl, now_ms=lambda: int(time.time() * 1000))
        settings = AffiliationSettings(
            ttl_s=3600, entries=2 * SUBSCRIBERS + 10, link_rate=1e6, link_burst=1_000_000
        )
        bench.affiliations = Affiliations(register, settings, now_ms=lambda: int(time.time() * 1000))
        bench.check._affiliations = bench.affiliations
        bench.check._current = bench.affiliations.current
        bench.check._monotonic_ns = time.monotonic_ns
        return await _drive(bench)
    finally:
        await ctrl.close()
        hlr.stop()


async def _drive(bench: Bench) -> tuple[float, float, float, float, float, int]:
    ingress, examine = bench.ingress(A), bench.check.examine
    messages = [a_message(f"+4477{n:08}") for n in range(SUBSCRIBERS)]
    asked = 0

    async def ask(answer: Awaitable[Verdict]) -> None:
        await answer

    took: list[float] = []
    began = time.perf_counter()
    for message in messages[:500]:
        await cast("Awaitable[Verdict]", examine(message, ingress, Stage.SUBMIT))
    question_us = (time.perf_counter() - began) / 500 * 1e6
    for message in messages[500:]:
        await cast("Awaitable[Verdict]", examine(message, ingress, Stage.SUBMIT))
    done, began, open_tasks = 0, time.perf_counter(), set[asyncio.Task[None]]()
    began_cpu = time.process_time()
    while time.perf_counter() - began < SECONDS:
        for _ in range(200):
            message = messages[random.randrange(SUBSCRIBERS)]
            if random.random() > HIT_RATIO:
                bench.affiliations.forget(Who(message.sender[1:]))
            start = time.perf_counter()
            answer = examine(message, ingress, Stage.SUBMIT)
            took.append(time.perf_counter() - start)
            done += 1
            if not isinstance(answer, Verdict):
                asked += 1
                task = asyncio.ensure_future(ask(answer))
                open_tasks.add(task)
                task.add_done_callback(open_tasks.discard)
        if len(open_tasks) > 400:
            await asyncio.wait(open_tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
    await asyncio.gather(*open_tasks)
    seconds = time.perf_counter() - began
    spoofed = [one for one in bench.records if one["verdict"] == "spoofed"]
    assert not spoofed, spoofed[:1]
    p99 = statistics.quantiles(took, n=100)[98] * 1e3
    return done / seconds, done / (time.process_time() - began_cpu), p99, question_us, 1 - asked / done, asked


async def flood(bench: Bench, seconds: int, per_second: int) -> int:
    """Questions that a flood of unknown senders over one link causes."""
    for _ in range(seconds):
        for _ in range(per_second):
            bench.clock.seconds += 1 / per_second
            answer = bench.check.examine(
                a_message(f"+4477{random.randrange(10**8):08}"), bench.ingress(A), Stage.SUBMIT
            )
            if not isinstance(answer, Verdict):
                await answer
    return len(bench.register.asked)


async def _main() -> None:
    said = book({"one": [A], "two": ["ipa_name:MSC-B"]})
    bench = Bench(said=said, policies=Policies([a_policy(fall_back_share=0)]))
    bench.register.serving[ANNA[1:]] = A
    await bench.verdict()
    gc.disable()
    cached, anew = cached_us(bench), anew_us(bench)
    asking = await uncached_us(Bench(said=said, policies=bench.policies))
    gc.enable()
    print(f"{'check of a sender that is remembered':52}{cached:8.2f} µs   (at most 2)")
    print(f"{'judged anew, the answer remembered':52}{anew:8.2f} µs")
    print(f"{'asked about, a register that answers at once':52}{asking:8.2f} µs")
    print(f"{'remembered against asked about':52}{cached / asking:8.4f}      (at most 0.1)")
    program = shutil.which("osmo-hlr")
    if program is None:
        print("osmo-hlr is not installed: apt-get install osmo-hlr")
    else:
        with tempfile.TemporaryDirectory() as folder:
            rate, of_cpu, p99, question, hits, asked = await with_hlr(program, Path(folder))
        print(
            f"{f'checks a second, OsmoHLR behind, {hits:.1%} from memory':52}{rate:8.0f}      (at least 10 000)"
        )
        print(f"{'  the same for a second of our own CPU time':52}{of_cpu:8.0f}")
        print(f"{'  99th percentile of examine()':52}{p99:8.3f} ms")
        print(f"{f'  one question to OsmoHLR ({asked} were asked)':52}{question:8.0f} µs")
    limited = Bench(said=said, affiliation_settings={"link_rate": 200, "link_burst": 400})
    asked = await flood(limited, 10, 2000)
    print(f"{'questions of 20 000 unknown senders in 10 s':52}{asked:8}      (at most 200 × 10 + 400)")


def main() -> None:
    """Print the table."""
    asyncio.run(_main())


if __name__ == "__main__":
    main()
