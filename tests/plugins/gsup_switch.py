"""The GSUP side of a switch, as far as tests of registers need one.

In charge of: introducing itself, attaching and purging subscribers. Not in charge of: short messages.
"""

from __future__ import annotations

import asyncio

from restante.signaling import gsup, ipa
from restante.signaling.gsup import Gsup, MessageType


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
        tags = ipa.requested_tags(request.payload)
        switch.writer.write(ipa.identity_response(ipa.identity_of(name), tags))
        return switch

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
            pass
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

    async def purge(self, imsi: str) -> None:
        """Forget a subscriber and say so."""
        purge = Gsup(MessageType.PURGE_MS, gsup.update_location(imsi).elements)
        assert (await self.exchange(purge)).type == MessageType.PURGE_MS_RESULT
