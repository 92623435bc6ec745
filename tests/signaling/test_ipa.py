"""Frames cut anywhere, and introductions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.signaling import ipa
from restante.signaling.ipa import BadIpa, Extension, Framer, IdentityTag, Protocol

frames = st.lists(
    st.builds(ipa.osmo_frame, st.integers(0, 255), st.binary(max_size=60))
    | st.builds(
        ipa.frame, st.integers(0, 255).filter(lambda p: p not in (0xEE, 0xFE)), st.binary(max_size=60)
    )
    | st.builds(ipa.frame, st.just(Protocol.CCM), st.binary(min_size=1, max_size=20)),
    max_size=6,
)


@given(frames, st.lists(st.integers(0, 400), max_size=8))
def test_frames_come_out_however_they_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(sent)
    framer = Framer()
    read: list[bytes] = []
    start = 0
    for end in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        read += [frame.octets for frame in framer.feed(stream[start:end])]
        start = end
    assert read == sent
    assert framer.waiting == 0


def test_a_frame_in_its_parts() -> None:
    (frame,) = Framer().feed(ipa.osmo_frame(Extension.GSUP, b"message"))
    assert (frame.protocol, frame.extension, frame.payload, frame.is_ccm) == (0xEE, 5, b"message", False)
    (frame,) = Framer().feed(ipa.PING)
    assert (frame.protocol, frame.extension, frame.payload, frame.is_ccm) == (0xFE, -1, b"\0", True)


@pytest.mark.parametrize("octets", [b"\0\0\xee", b"\0\0\xfe"])
def test_frames_that_lack_their_first_octet(octets: bytes) -> None:
    with pytest.raises(BadIpa):
        Framer().feed(octets)


def test_a_long_frame_waits_within_its_bound() -> None:
    framer = Framer()
    assert framer.feed(b"\xff\xff\x00" + bytes(65534)) == []
    assert framer.waiting == 65537
    assert len(framer.feed(b"\0")) == 1


def test_a_payload_that_is_too_long() -> None:
    with pytest.raises(BadIpa, match="65536"):
        ipa.frame(Protocol.CCM, bytes(65536))


@given(st.dictionaries(st.integers(0, 255), st.text("MSC-AB 0/", max_size=20), max_size=5))
def test_identity_there_and_back(identity: dict[int, str]) -> None:
    (frame,) = Framer().feed(ipa.identity_response(identity))
    assert ipa.read_identity(frame.payload) == identity


def test_only_what_was_asked_is_told() -> None:
    (request,) = Framer().feed(ipa.identity_request((IdentityTag.UNIT_ID, IdentityTag.SERIAL_NUMBER, 0x55)))
    tags = ipa.requested_tags(request.payload)
    assert tags == (8, 0, 0x55)
    (response,) = Framer().feed(ipa.identity_response(ipa.identity_of("MSC-A"), tags))
    assert ipa.read_identity(response.payload) == {8: "0/0/0", 0: "MSC-A"}


def test_the_request_that_osmo_hlr_sends() -> None:
    assert ipa.requested_tags(bytes.fromhex("0401080107010201030104010501010100")) == (8, 7, 2, 3, 4, 5, 1, 0)


@given(st.binary(max_size=40))
def test_any_octets_are_read_or_refused(payload: bytes) -> None:
    for read in (ipa.requested_tags, ipa.read_identity):
        try:
            read(b"\x04" + payload)
        except BadIpa:
            pass


@given(st.binary(max_size=200))
def test_any_stream_is_framed_or_refused(stream: bytes) -> None:
    framer = Framer()
    try:
        read = framer.feed(stream)
    except BadIpa:
        return
    assert b"".join(frame.octets for frame in read) == stream[: len(stream) - framer.waiting]
