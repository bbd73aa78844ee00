"""SPF records, read whole before anything in them is looked up (RFC 7208).  Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from attrs import field, frozen

from mailrelay.mailauth.spf_macros import MalformedMacro, check_macros

VERSION = "v=spf1"

_QUALIFIERS = "+-?~"
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)", re.DOTALL)
_MECHANISM = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)(.*)", re.DOTALL)
_CIDRS = re.compile(r"(?:/(0|[1-9][0-9]{0,2}))?(?://(0|[1-9][0-9]{0,2}))?")
_BOTH_LENGTHS = re.compile(r"(.*?)((?:/[0-9]+)?(?://[0-9]+)?)", re.DOTALL)
_TOP_LABEL = re.compile(r"(?=.*[A-Za-z-])[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


class MalformedRecord(Exception):
    """The record says nothing: its domain has a permanent error (RFC 7208 section 4.6)."""


@frozen
class Mechanism:
    """What may match.  ``domain`` is as written, with its macros; "" where it is left out."""

    qualifier: str
    name: str
    domain: str = ""
    network: IPv4Network | IPv6Network | None = None
    ipv4_bits: int = 32
    ipv6_bits: int = 128


@frozen
class Record:
    """A record that can be evaluated."""

    mechanisms: Sequence[Mechanism] = ()
    redirect: str | None = None
    explanation: str | None = field(default=None)


def is_record(text: bytes) -> bool:
    """Whether a TXT record is one of SPF."""
    version, _, _ = text.partition(b" ")
    return version.lower() == VERSION.encode()


def parse_record(text: bytes) -> Record:
    """Raises: MalformedRecord."""
    try:
        terms = text.decode("ascii").split(" ")[1:]
    except UnicodeDecodeError:
        raise MalformedRecord("it is not ASCII") from None
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in filter(None, terms):
        modifier = _MODIFIER.fullmatch(term)
        if modifier is None:
            mechanisms.append(_mechanism(term))
            continue
        name, value = modifier[1].lower(), modifier[2]
        if name in modifiers and name in ("redirect", "exp"):
            raise MalformedRecord(f"{name}= is there twice")
        modifiers[name] = value
        if name in ("redirect", "exp"):
            _check_domain(value)
        else:
            _check_text(value)
    return Record(mechanisms, modifiers.get("redirect"), modifiers.get("exp"))


def _mechanism(term: str) -> Mechanism:
    qualifier, rest = (term[0], term[1:]) if term[0] in _QUALIFIERS else ("+", term)
    found = _MECHANISM.fullmatch(rest)
    if found is None:
        raise MalformedRecord(f"{term!r} is no mechanism")
    name, argument = found[1].lower(), found[2]
    if name == "all" and not argument:
        return Mechanism(qualifier, name)
    if name in ("ip4", "ip6") and argument.startswith(":"):
        return Mechanism(qualifier, name, network=_network(name, argument[1:]))
    if name in ("include", "exists") and argument.startswith(":"):
        _check_domain(argument[1:])
        return Mechanism(qualifier, name, argument[1:])
    if name == "ptr" and (not argument or argument.startswith(":")):
        if argument:
            _check_domain(argument[1:])
        return Mechanism(qualifier, name, argument[1:])
    if name in ("a", "mx"):
        return _with_lengths(qualifier, name, argument)
    raise MalformedRecord(f"{term!r} is no mechanism")


def _with_lengths(qualifier: str, name: str, argument: str) -> Mechanism:
    split = _BOTH_LENGTHS.fullmatch(argument)
    lengths = _CIDRS.fullmatch(split[2]) if split else None
    if split is None or lengths is None:
        raise MalformedRecord(f"{argument!r} has no prefix lengths")
    domain = split[1]
    if domain:
        if not domain.startswith(":"):
            raise MalformedRecord(f"{name}{argument} is no mechanism")
        _check_domain(domain[1:])
    ipv4, ipv6 = int(lengths[1] or 32), int(lengths[2] or 128)
    if ipv4 > 32 or ipv6 > 128:
        raise MalformedRecord(f"{argument!r}: a prefix is too long")
    return Mechanism(qualifier, name, domain[1:], ipv4_bits=ipv4, ipv6_bits=ipv6)


def _network(name: str, text: str) -> IPv4Network | IPv6Network:
    address, slash, bits = text.partition("/")
    if slash and not re.fullmatch("0|[1-9][0-9]{0,2}", bits):
        raise MalformedRecord(f"{text!r} has no prefix length")
    try:
        kind = IPv4Network if name == "ip4" else IPv6Network
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise MalformedRecord(str(error)) from None
    if not isinstance(network, kind) or "%" in address:
        raise MalformedRecord(f"{text!r} is of the other family")
    return network


def _check_text(text: str) -> None:
    try:
        check_macros(text)
    except MalformedMacro as error:
        raise MalformedRecord(str(error)) from None


def _check_domain(text: str) -> None:
    """A domain-spec ends with a macro, or in a top label."""
    _check_text(text)
    if not text or any(not "!" <= char <= "~" for char in text):
        raise MalformedRecord(f"{text!r} is no domain")
    if re.search(r"%\{[^}]*\}$", text):
        return
    _, dot, top = text.removesuffix(".").rpartition(".")
    if not dot or not _TOP_LABEL.fullmatch(top):
        raise MalformedRecord(f"{text!r} is no domain")
