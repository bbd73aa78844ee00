"""What judges mail of strangers, checked: ``[dnsbl]``, ``[greylisting]`` and their neighbours."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from mailrelay.acceptance.rspamd import RspamdSettings
from mailrelay.config.read import Reader, check_networks, from_file
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.policy.blocklists import DNSBLSettings, ZoneSettings
from mailrelay.smtp.address import MalformedAddress, normal_domain

if TYPE_CHECKING:
    from mailrelay.config.settings import Settings

LONGEST_ZONE = 180
"""Characters: an IPv6 address in front of it still makes a domain name."""

_LOOPBACK = ip_network("127.0.0.0/8")


LONGEST_DELAY = 300.0
"""Seconds: clients wait 10 minutes for the answer (RFC 5321 section 4.5.3.2.6), at their best."""


def completed_rspamd(section: RspamdSettings, reader: Reader, base: Path) -> RspamdSettings:
    """With the password read from its file."""
    password = from_file(section.password, section.password_file, reader, base, "rspamd.password")
    return evolve(section, password=password)


def check_incoming(settings: Settings, reader: Reader) -> None:
    """What types cannot say."""
    _check_dnsbl(settings.dnsbl, reader)
    greylisting = settings.greylisting
    check_networks("greylisting.skip_networks", greylisting.skip_networks, reader)
    if greylisting.delay >= greylisting.retry_within:
        reader.problem("greylisting.retry_within", "must be longer than delay")
    if settings.first_time_senders.delay > LONGEST_DELAY:
        most = f"{LONGEST_DELAY:g}"
        reader.problem("first_time_senders.delay", f"must be {most} seconds at the most")
    if not any(listener.judge for listener in settings.listener):
        for place, value in (
            ("first_time_senders.delay", settings.first_time_senders.delay),
            ("sender_limits.messages_per_domain", settings.sender_limits.messages_per_domain),
        ):
            if value:
                reader.problem(place, "needs a listener with judge = true")
    if greylisting.skip_known and not settings.first_time_senders.delay:
        reader.problem("greylisting.skip_known", "needs [first_time_senders] delay: it knows them")
    _check_rspamd(settings.rspamd, reader)


def _check_rspamd(section: RspamdSettings, reader: Reader) -> None:
    if not section.url:
        return
    try:
        is_base = parse_url(section.url).path == "/"
    except UnusableURL:
        is_base = False
    if not is_base:
        reader.problem("rspamd.url", f"{section.url!r} is not as http://127.0.0.1:11333")
    if section.timeout <= 0:
        reader.problem("rspamd.timeout", "must be more than 0 seconds")
    if not section.password.isascii() or not section.password.isprintable():
        reader.problem("rspamd.password", "must be printable ASCII")


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
