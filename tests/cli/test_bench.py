"""`restante bench` against a small center: figures, limits, refusals, exit codes."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_center import CenterSide, SmallCenter, small_center

from restante.cli.bench import percentile
from restante.smsc.smpp import pdu


def run_bench(center: SmallCenter, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command against this center."""

    async def story() -> tuple[int, str, str]:
        async with small_center(center):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "restante", "bench", "--target", f"127.0.0.1:{center.port}",
                "--system-id", "me", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                out, err = await asyncio.wait_for(process.communicate(), 60)
            except TimeoutError:
                process.kill()
                raise
            return process.returncode or 0, out.decode(), err.decode()

    return asyncio.run(story())


def receipt(side: CenterSide, submit: pdu.SubmitSm, message_id: str) -> None:
    if submit.registered_delivery:
        side.flush()
        side.deliver(pdu.DeliverSm(esm_class=4, short_message=f"id:{message_id} stat:DELIVRD".encode()))


def test_every_message_is_sent_measured_and_receipted() -> None:
    center = SmallCenter()
    center.on_submit = receipt
    code, out, err = run_bench(
        center,
        "-n",
        "500",
        "-b",
        "3",
        "-w",
        "20",
        "--size",
        "30",
        "--receipts",
        "--to",
        "+441,+442",
        "--json",
    )
    assert code == 0, err
    figures = json.loads(out)
    assert (figures["sent"], figures["accepted"], figures["receipts"]) == (500, 500, 500)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    assert figures["messages_per_second"] > 0
    assert center.binds == 3
    assert {submit.destination_addr for submit in center.submits} == {b"441", b"442"}
    assert {submit.short_message for submit in center.submits} == {b"x" * 30}


def test_a_rate_is_kept_and_time_is_bounded() -> None:
    center = SmallCenter()
    code, out, _ = run_bench(center, "-n", "100000", "--rate", "200", "--seconds", "1", "--json")
    figures = json.loads(out)
    assert 0 < figures["sent"] <= 220
    assert code == 0


def test_refusals_are_named_and_make_the_result_degraded() -> None:
    center = SmallCenter()
    center.status_of = lambda submit: 0x58 if len(center.submits) % 2 else 0
    code, out, _ = run_bench(center, "-n", "50")
    assert code == 3
    assert "ESME_RTHROTTLED" in out
    assert "25 of 50" in out


def test_nothing_accepted_is_a_failure() -> None:
    center = SmallCenter()
    center.status_of = lambda submit: 0x14
    code, out, _ = run_bench(center, "-n", "5", "--json")
    assert code == 1
    assert json.loads(out)["refused"] == {"ESME_RMSGQFUL": 5}


def test_a_refused_bind_and_a_missing_center_are_told_without_a_traceback() -> None:
    code, out, err = run_bench(SmallCenter({"me": "secret"}), "--password", "wrong")
    assert (code, out) == (1, "")
    assert "ESME_RBINDFAIL" in err
    assert "Traceback" not in err
    code, out, err = run_bench(SmallCenter(), "--target", "127.0.0.1:1", "--json")
    assert code == 1
    assert "127.0.0.1:1" in json.loads(out)["error"]


@pytest.mark.parametrize("target", ["nowhere", "host:", ":2775", "host:99999"])
def test_a_target_must_be_host_and_port(target: str) -> None:
    code, _, err = run_bench(SmallCenter(), "--target", target)
    assert code == 2
    assert "HOST:PORT" in err


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_percentile_by_its_definition(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert sum(value <= found for value in ordered) >= len(ordered) * percent / 100 - 1e-9
    below = [value for value in ordered if value < found]
    assert len(below) < len(ordered) * percent / 100 + 1e-9
