"""Our dictionary against Wireshark's, which others keep."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from restante.signaling.diameter.dictionary import AVPS, BY_NAME, Format

#: What Wireshark calls our formats. It has looser words for some, and ENUMERATED for numbers whose values it names.
THEIRS = {
    Format.ADDRESS: {"IPAddress"},
    Format.UNSIGNED32: {"Unsigned32", "Enumerated", "AppId", "VendorId"},
    Format.TEXT: {"UTF8String", "OctetString"},
    Format.IDENTITY: {"DiameterIdentity", "UTF8String"},
    Format.OCTETS: {"OctetString", "UTF8String"},
}
AVP = re.compile(r'<avp\s+name="([^"]+)"\s+code="(\d+)"([^>]*)>(.*?)</avp>', re.DOTALL)


def test_names_and_codes_are_unique() -> None:
    assert len(BY_NAME) == len(AVPS)


def test_it_agrees_with_wiresharks(component: Callable[[str, str], str]) -> None:
    folder = Path(component("tshark", "tshark")).parent.parent / "share/wireshark/diameter"
    theirs: dict[tuple[bool, int], tuple[str, str]] = {}
    for file in ("dictionary.xml", "TGPP.xml"):
        for name, code, attributes, body in AVP.findall((folder / file).read_text(errors="replace")):
            kind = re.search(r'type-name="(\w+)"', body)
            form = "Grouped" if "<grouped" in body else kind.group(1) if kind else ""
            if "vendor-id" not in attributes or 'vendor-id="TGPP"' in attributes:
                theirs["vendor-id" in attributes, int(code)] = (name, form)
    known = {key: theirs[bool(key[0]), key[1]] for key in AVPS if (bool(key[0]), key[1]) in theirs}
    wrong = [
        (AVPS[key], found)
        for key, found in known.items()
        if found[0] != AVPS[key].name
        or found[1] not in THEIRS.get(AVPS[key].format, {AVPS[key].format.value})
    ]
    assert not wrong
    unknown = sorted(AVPS[key].name for key in set(AVPS) - set(known))
    assert len(unknown) < 10, unknown
