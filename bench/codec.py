"""CPU per PDU of our codec against smpplib's, in one run.

In charge of: two ratios with a limit (decode submit_sm with three TLVs, encode submit_sm_resp) and some without, and
what a session adds to the codec.
Not in charge of: anything with a socket or a store. Exits 1 when a limit is missed.

"encode submit_sm_resp" goes from a sequence number and an id to octets. smpplib makes a PDU object on that way and we
need not; the two lines below it say what an object costs, and what octets cost both when it is there already.

Each case runs in turn with all others, round after round, and its best round counts: what else the machine does
then hits every case alike. Times are CPU time of the thread.

    python bench/codec.py [--rounds N]
"""

import argparse
import logging
import time
from collections.abc import Callable
from typing import Any

from figures import Figure, leave
from smpplib import smpp

from restante.smsc.smpp.events import BindRequest, Request
from restante.smsc.smpp.pdu import (
    BindTransceiver,
    BindTransceiverResp,
    DeliverSm,
    SubmitSm,
    SubmitSmResp,
    decode,
)
from restante.smsc.smpp.session import Session
from restante.smsc.smpp.session_settings import SessionSettings
from restante.smsc.smpp.tlv import Tag

#: name, ours, theirs (smpplib), limit of ours / theirs or None, repetitions of ours in a round
Case = tuple[str, Callable[[], object], Callable[[], object], float | None, int]

TEXT = b"A message of exactly one hundred octets is what the notes measured, so this one has one hundred too."
RECEIPT = b"id:1234567890123 sub:001 dlvrd:001 submit date:2611220930 done date:2611220931 stat:DELIVRD err:000 text:hi"


class _Client:
    """What smpplib's PDUs want of a client."""

    sequence = 77

    def next_sequence(self) -> int:
        return self.sequence


def submit_sm() -> bytes:
    """What an ESME typically sends, with three TLVs."""
    pdu = SubmitSm(
        sequence_number=77,
        source_addr_ton=5,
        source_addr=b"Restante",
        dest_addr_ton=1,
        dest_addr_npi=1,
        destination_addr=b"49170123456",
        registered_delivery=1,
        short_message=TEXT,
    )
    pdu.add_tlv(Tag.user_message_reference, 77).add_tlv(Tag.source_port, 1).add_tlv(Tag.destination_port, 2)
    return pdu.encode()


def receipt() -> DeliverSm:
    """A delivery receipt."""
    pdu = DeliverSm(
        sequence_number=7,
        source_addr=b"49170123456",
        destination_addr=b"Restante",
        esm_class=4,
        short_message=RECEIPT,
    )
    return pdu.add_tlv(Tag.receipted_message_id, b"1234567890123\0").add_tlv(Tag.message_state, 2)


def cases() -> list[Case]:
    """Long because it is a table; each line calls ours and theirs."""
    submit = submit_sm()
    end = len(submit)
    resp = SubmitSmResp(sequence_number=77, message_id=b"1234567890123")
    resp_octets = resp.encode()
    deliver = receipt()
    client = _Client()
    their_deliver = smpp.make_pdu(
        "deliver_sm",
        client=client,
        source_addr="49170123456",
        destination_addr="Restante",
        esm_class=4,
        short_message=RECEIPT,
        receipted_message_id="1234567890123",
        message_state=2,
    )
    decode_submit = SubmitSm.decode_body

    def their_decode() -> object:
        return smpp.parse_pdu(submit, client=client, allow_unknown_opt_params=True)

    def their_decode_resp() -> object:
        return smpp.parse_pdu(resp_octets, client=client)

    def new_resp() -> SubmitSmResp:
        return SubmitSmResp(sequence_number=77, message_id=b"1234567890123")

    def their_new_resp() -> Any:
        return smpp.make_pdu("submit_sm_resp", client=client, message_id="1234567890123")

    their_resp = their_new_resp()
    return [
        (
            "decode submit_sm, 3 TLVs",
            lambda: decode_submit(submit, 0, end, 0, 77),
            their_decode,
            1 / 15,
            4000,
        ),
        (
            "encode submit_sm_resp",
            lambda: SubmitSmResp.octets(77, b"1234567890123"),
            lambda: their_new_resp().generate(),
            1 / 20,
            10000,
        ),
        ("  by an object each", lambda: new_resp().encode(), lambda: their_new_resp().generate(), None, 6000),
        ("  object ready made", resp.encode, their_resp.generate, None, 6000),
        ("decode submit_sm_resp", lambda: decode(resp_octets), their_decode_resp, None, 6000),
        ("encode deliver_sm, ready made", deliver.encode, their_deliver.generate, None, 4000),
    ]


def cpu_per_call(call: Callable[[], object], repetitions: int) -> float:
    """Microseconds of CPU."""
    start = time.thread_time_ns()
    for _ in range(repetitions):
        call()
    return (time.thread_time_ns() - start) / repetitions / 1000


def session_cost(rounds: int) -> float:
    """Microseconds of CPU for a submit_sm read, decoded, accepted and its response written, 100 in one read."""
    session = Session("SMSC", SessionSettings(), 0.0)
    (bind,) = session.feed(BindTransceiver(system_id=b"esme").encode(), 0.0)
    assert isinstance(bind, BindRequest)
    session.respond(bind.pdu, BindTransceiverResp(system_id=b"SC"))
    read = submit_sm() * 100

    def one_read() -> None:
        for event in session.feed(read, 0.0):
            assert isinstance(event, Request)
            session.accept_message(event.pdu, b"1234567890123")
        session.take_output()

    return min(cpu_per_call(one_read, 50) for _ in range(rounds)) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    logging.disable(logging.CRITICAL)  # smpplib would spend its time on debug records
    best: dict[str, tuple[float, float]] = {}
    table = cases()
    for _ in range(rounds):
        for name, ours, theirs, _, repetitions in table:
            mine = cpu_per_call(ours, repetitions)
            their = cpu_per_call(theirs, max(repetitions // 15, 100))
            before = best.get(name, (mine, their))
            best[name] = (min(before[0], mine), min(before[1], their))
    print(
        f"{'µs CPU per PDU, best of ' + str(rounds):34} {'ours':>8} {'smpplib':>8} {'ratio':>8} {'limit':>8}"
    )
    for name, _, _, limit, _ in table:
        mine, their = best[name]
        wanted = f"1/{1 / limit:.0f}" if limit else "-"
        verdict = "" if limit is None else "  ok" if mine / their <= limit else "  MISSED"
        if limit is not None:
            leave(Figure(f"{name.strip()}: times faster than smpplib", their / mine, 1 / limit))
        print(
            f"{name:34} {mine:8.2f} {their:8.2f} {'1/' + format(their / mine, '.1f'):>8} {wanted:>8}{verdict}"
        )
    print(f"{'session and codec, submit_sm + resp':34} {session_cost(rounds):8.2f}")


if __name__ == "__main__":
    main()
