"""What the network knows of where its phones are, told to the center as a probe of a real network would.

In charge of: reporting places over the center's REST interface, when a phone moves and now and then besides. Not in
charge of: where the phones are (`phone.py`), or what the center makes of it.

A report that fails is made again with the next round: places grow old, and the center knows how old they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httpx

from .phone import Phone

__all__ = ["Probe"]

REPORT_S = 120.0  #: between two rounds; well within the age that zone policies allow
TIMEOUT_S = 10.0
ACCURACY_M = 50.0  #: what a good fix of a phone may be off


class Probe:
    """Tells one center where phones are."""

    def __init__(self, url: str, api_key: str) -> None:
        """`url`: scheme, host and port of the center; the key's owner may tell locations."""
        headers = {"Authorization": f"Bearer {api_key}"}
        base = f"{url}/api/v1/admin/locations/"
        self._http = httpx.AsyncClient(base_url=base, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    async def report(self, phone: Phone) -> bool:
        """Tell where a phone is; False if the center did not take it. A phone without a place is not told of."""
        if phone.place is None:
            return True
        place = {"latitude": phone.place.latitude, "longitude": phone.place.longitude}
        try:
            answer = await self._http.put(phone.number, json={**place, "accuracy_m": ACCURACY_M})
        except httpx.HTTPError:
            return False
        return answer.is_success

    async def run(self, stop: asyncio.Event, phones: Iterable[Phone]) -> None:
        """Tell of all phones again and again until `stop`."""
        listed = list(phones)
        while not stop.is_set():
            for phone in listed:
                await self.report(phone)
            try:
                await asyncio.wait_for(stop.wait(), REPORT_S)
            except TimeoutError:
                continue
        await self._http.aclose()
