"""The GSUP side of a switch, as far as tests of registers need one.

In charge of: introducing itself, attaching and purging subscribers, taking what comes for their handsets. Not in charge
of: what handsets send.
"""

from __future__ import annotations

import asyncio
import contextlib

from restante.signaling import gsup, ipa
from restante.signaling.gsup import Gsup, MessageType
from restante.signaling.tpdu import Deliver, decode_to_handset


class GsupSwitch:
    """One switch, connected to a register."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self.reader = reader
        self.writer = writer
        self.framer = ipa.Framer()
        self.frames: list[ipa.Frame] = []

    @classmethod
    async def connect(cls, name: str, address: str, port: int) -> GsupSwitch:
        """Connect and say who it is."""
        switch = cls(name, *await asyncio.open_connection(address, port))
        request = await switch.frame()
        assert request.payload[0] == ipa.Ccm.ID_GET
        switch.manage(request)
        return switch

    def manage(self, frame: ipa.Frame) -> None:
        """Answer what is about the link itself: the register behind the center asks for the name as well."""
        if frame.payload[0] == ipa.Ccm.ID_GET:
            tags = ipa.requested_tags(frame.payload)
            self.writer.write(ipa.identity_response(ipa.identity_of(self.name), tags))
        elif frame.payload[0] == ipa.Ccm.PING:
            self.writer.write(ipa.PONG)

    async def frame(self) -> ipa.Frame:
        """The next frame."""
        async with asyncio.timeout(30):
            while not self.frames:
                data = await self.reader.read(65536)
                assert data, "the register closed the link"
                self.frames += self.framer.feed(data)
        return self.frames.pop(0)

    async def exchange(self, message: Gsup) -> Gsup:
        """Send a message and read the next one; what is read is written again the same."""
        self.writer.write(ipa.osmo_frame(ipa.Extension.GSUP, message.encode()))
        while (frame := await self.frame()).is_ccm:
            self.manage(frame)
        answer = Gsup.decode(frame.payload)
        assert answer.encode() == frame.payload
        return answer

    async def attach(self, imsi: str) -> Gsup:
        """Update the location and take the subscriber's data; answers the data."""
        data = await self.exchange(gsup.update_location(imsi))
        assert data.type == MessageType.INSERT_DATA, data
        result = await self.exchange(gsup.answer(data))
        assert (result.type, result.imsi) == (MessageType.UPDATE_LOCATION_RESULT, imsi)
        return data

    async def take_all(self, texts: list[str]) -> None:
        """Acknowledge every message for a handset, and note its text, until the link ends."""
        with contextlib.suppress(AssertionError, OSError, TimeoutError):
            while True:
                frame = await self.frame()
                if frame.is_ccm:
                    self.manage(frame)
                    continue
                request = Gsup.decode(frame.payload)
                if request.type == MessageType.MT_FORWARD_SM:
                    deliver = decode_to_handset(request.tpdu)
                    assert isinstance(deliver, Deliver), deliver
                    texts.append(deliver.ud.payload.decode("ascii"))
                    answer = gsup.answer(request)
                    self.writer.write(ipa.osmo_frame(ipa.Extension.GSUP, answer.encode()))

    async def purge(self, imsi: str) -> None:
        """Forget a subscriber and say so."""
        purge = Gsup(MessageType.PURGE_MS, gsup.update_location(imsi).elements)
        assert (await self.exchange(purge)).type == MessageType.PURGE_MS_RESULT
