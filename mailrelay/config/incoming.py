"""What judges mail of strangers, checked: ``[dnsbl]``, ``[greylisting]`` and their neighbours."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from mailrelay.config.read import Reader, check_networks
from mailrelay.policy.blocklists import DNSBLSettings, ZoneSettings
from mailrelay.smtp.address import MalformedAddress, normal_domain

if TYPE_CHECKING:
    from mailrelay.config.settings import Settings

LONGEST_ZONE = 180
"""Characters: an IPv6 address in front of it still makes a domain name."""

_LOOPBACK = ip_network("127.0.0.0/8")


def check_incoming(settings: Settings, reader: Reader) -> None:
    """What types cannot say."""
    _check_dnsbl(settings.dnsbl, reader)
    greylisting = settings.greylisting
    check_networks("greylisting.skip_networks", greylisting.skip_networks, reader)
    if greylisting.delay >= greylisting.retry_within:
        reader.problem("greylisting.retry_within", "must be longer than delay")


def _check_dnsbl(dnsbl: DNSBLSettings, reader: Reader) -> None:
    check_networks("dnsbl.skip_networks", dnsbl.skip_networks, reader)
    for number, name in enumerate(dnsbl.watched, 1):
        _check_name(name, reader, f"dnsbl.watched[{number}]")
    if dnsbl.timeout <= 0:
        reader.problem("dnsbl.timeout", "must be more than 0 seconds")
    seen: set[str] = set()
    for number, zone in enumerate(dnsbl.zone, 1):
        place = f"dnsbl.zone[{number}]"
        _check_zone(zone, reader, place)
        if zone.zone in seen:
            reader.problem(f"{place}.zone", f"{zone.zone} is there twice")
        seen.add(zone.zone)


def _check_name(name: str, reader: Reader, place: str) -> None:
    try:
        normal = normal_domain(name)
    except MalformedAddress:
        normal = ""
    if normal != name or name.startswith("["):
        reader.problem(place, f"{name!r} is not a domain in lower case")
    elif len(name) > LONGEST_ZONE:
        reader.problem(place, f"must be of {LONGEST_ZONE} characters at the most")


def _check_zone(zone: ZoneSettings, reader: Reader, place: str) -> None:
    _check_name(zone.zone, reader, f"{place}.zone")
    for i, text in enumerate(zone.answers, 1):
        try:
            inside = ip_network(text).subnet_of(_LOOPBACK)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            inside = False
        if not inside:
            reader.problem(
                f"{place}.answers[{i}]", f"{text!r} is no address or network in 127.0.0.0/8"
            )
