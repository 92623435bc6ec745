"""Which realm a host is in."""

from __future__ import annotations

from restante.signaling.diameter.realms import Realms


def test_what_was_said_goes_before_what_the_name_says() -> None:
    realms = Realms("Home.net")
    mme = "mmec01.mmegi0001.mme.epc.mnc001.mcc001.3gppnetwork.org"
    assert realms.of(mme.upper()) == "epc.mnc001.mcc001.3gppnetwork.org"
    assert realms.of("mme.far.net") == "far.net"
    assert realms.of("mme") == "home.net"
    realms.learn("MME.far.net", "Roaming.far.net")
    realms.learn("mme", "")
    realms.learn("", "nobody.net")
    assert realms.of("mme.far.net") == "roaming.far.net"
    assert realms.of("mme") == "home.net"


def test_memory_is_bounded() -> None:
    realms = Realms("home.net", entries=2)
    for number in range(3):
        realms.learn(f"m{number}.far.net", "other.net")
    assert [realms.of(f"m{number}.far.net") for number in range(3)] == ["far.net", "other.net", "other.net"]
