"""Addresses as SMTP writes them (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

A domain is kept as it is looked up: lower case, A-labels; an address literal keeps its brackets.
A localpart is kept as it means: unquoted, case untouched.  Both are made safe for the wire here
and nowhere else.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

import idna
from attrs import field, frozen

MAX_LOCALPART_BYTES = 64  # RFC 5321 section 4.5.3.1.1
MAX_DOMAIN_BYTES = 255  # RFC 5321 section 4.5.3.1.2
MAX_PATH_BYTES = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets


class MalformedAddress(ValueError):
    """The text is no address; the message says what is wrong with it."""


@frozen
class Address:
    """A mailbox: ``localpart`` unquoted, ``domain`` in lower-case A-labels or a literal."""

    localpart: str
    domain: str
    _text: str = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_text", f"{quote_localpart(self.localpart)}@{self.domain}")

    def __str__(self) -> str:
        return self._text

    @property
    def is_ascii(self) -> bool:
        """Whether a server without SMTPUTF8 can take it (the domain always is)."""
        return self.localpart.isascii()

    @property
    def unicode(self) -> str:
        """The address for people: U-labels in the domain."""
        return f"{quote_localpart(self.localpart)}@{unicode_domain(self.domain)}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that ``text`` is, whole.

        Raises: MalformedAddress.
        """
        localpart, rest = _split_localpart(text)
        if not rest.startswith("@"):
            raise MalformedAddress("no domain after the localpart")
        return _checked(localpart, normal_domain(rest[1:]))


def _checked(localpart: str, domain: str) -> Address:
    if not localpart.isprintable():
        raise MalformedAddress("localpart has control or formatting characters")
    size = len(localpart.encode("utf-8", "surrogateescape"))
    if size > MAX_LOCALPART_BYTES and not _REWRITTEN.match(localpart):
        raise MalformedAddress("localpart longer than 64 bytes")
    address = Address(localpart, domain)
    if len(str(address).encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise MalformedAddress("address longer than 254 bytes")
    return address


def parse_path(text: str) -> tuple[Address | None, str]:
    """Split ``<path>`` off the front of ``text``: its address, None for ``<>``, and what follows.

    A source route is read and dropped, as RFC 5321 appendix C says.

    Raises: MalformedAddress.
    """
    if not text.startswith("<"):
        raise MalformedAddress("path must stand in angle brackets")
    if text.startswith("<>"):
        return None, text[2:]
    inner = text[1:]
    if inner.startswith("@"):
        route, colon, inner = inner.partition(":")
        if not colon or not all(_ROUTE.fullmatch(hop) for hop in route.split(",")):
            raise MalformedAddress("malformed source route")
    localpart, rest = _split_localpart(inner)
    if rest.startswith(">"):  # only "<postmaster>" may do without (RFC 5321 section 4.1.1.3)
        if localpart.lower() != "postmaster":
            raise MalformedAddress("no domain after the localpart")
        return Address(localpart, ""), rest[1:]
    domain, bracket, rest = rest.partition(">")
    if not bracket or not domain.startswith("@"):
        raise MalformedAddress("malformed path")
    return _checked(localpart, normal_domain(domain[1:])), rest


def _split_localpart(text: str) -> tuple[str, str]:
    """The unquoted localpart at the front of ``text``, and the rest."""
    if text.startswith('"'):
        match = _QUOTED.match(text)
        if match is None:
            raise MalformedAddress("malformed quoted localpart")
        return _ESCAPED.sub(r"\1", match.group(1)), text[match.end() :]
    match = _DOT_STRING.match(text)
    if match is None:
        raise MalformedAddress("malformed localpart")
    return match.group(), text[match.end() :]


def quote_localpart(localpart: str) -> str:
    """``localpart`` as written before the ``@``: quoted only where it must be."""
    if _DOT_STRING.fullmatch(localpart):
        return localpart
    escaped = localpart.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@lru_cache(maxsize=4096)
def normal_domain(text: str) -> str:
    """The look-up form of a domain name or address literal.

    Raises: MalformedAddress.
    """
    if text.startswith("["):
        return _normal_literal(text)
    if not text or len(text) > MAX_DOMAIN_BYTES:
        raise MalformedAddress("domain empty or longer than 255 bytes")
    if _DOMAIN.fullmatch(text):
        domain = text.lower()
        if "xn--" not in domain:
            return domain
    try:
        encoded = idna.encode(text, uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise MalformedAddress("domain is not a host name") from error
    if len(encoded) > MAX_DOMAIN_BYTES or not _DOMAIN.fullmatch(encoded):
        raise MalformedAddress("domain is not a host name")
    return encoded


def _normal_literal(text: str) -> str:
    match = _LITERAL.fullmatch(text)
    if match is None:
        raise MalformedAddress("malformed address literal")
    try:
        address = ip_address(match.group(2))
    except ValueError as error:
        raise MalformedAddress("malformed address literal") from error
    if isinstance(address, IPv6Address) != bool(match.group(1)):
        raise MalformedAddress("an IPv6 literal is written [IPv6:...]")
    return f"[IPv6:{address}]" if isinstance(address, IPv6Address) else f"[{address}]"


def literal_ip(domain: str) -> str | None:
    """The IP address that a normalised literal names, None for a domain name."""
    return domain.strip("[]").removeprefix("IPv6:") if domain.startswith("[") else None


def unicode_domain(domain: str) -> str:
    """The U-label form of a normalised domain, for people."""
    if "xn--" not in domain:
        return domain
    try:
        return idna.decode(domain)
    except (idna.IDNAError, UnicodeError):
        return domain


# RFC 5321 section 4.1.2 with RFC 6531's UTF-8: no backtracking, every class is disjoint.
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u00a1-\ud7ff\uf900-\ufffd\U00010000-\U0010fffd]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED = re.compile(
    r'"((?:[ !#-\[\]-~\u00a1-\ud7ff\uf900-\ufffd\U00010000-\U0010fffd]|\\[ -~])*)"'
)
_ESCAPED = re.compile(r"\\(.)")
# What forwarders make of a reverse-path has another address in it: RFC 5321 section 4.5.3.1 would
# have no limits where one can do without.
_REWRITTEN = re.compile(r"SRS[01][=+-]", re.IGNORECASE)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ROUTE = re.compile(rf"@{_LABEL}(?:\.{_LABEL})*")
_LITERAL = re.compile(r"\[(IPv6:)?([0-9A-Fa-f:.]{2,45})\]", re.IGNORECASE)
