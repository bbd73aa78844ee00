"""Whom a message that was handed in is for, and whom it is from.  Pure.

What the request says comes first, then what the mail server wrote in the header, then what the
author did.  The caller is authenticated; what somebody else may have written names nobody but
addresses of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from urllib.parse import unquote_to_bytes

from attrs import frozen

from mailrelay.message.header import Header, addresses_in
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.web.headers import Headers

RECIPIENT_FIELD = "x-mailrelay-rcpt-to"
SENDER_FIELD = "x-mailrelay-mail-from"
DELIVERED_FIELDS = ("delivered-to", "x-original-to", "envelope-to")

LONGEST_VALUE = 1000
_FOR = re.compile(r"(?:^|\s)for\s+<([^<>]{1,400})>", re.IGNORECASE)


class Unreadable(Exception):
    """The request names an address that is none."""


class NamedBy(Enum):
    """Where recipients were found."""

    REQUEST = "request"
    DELIVERED_TO = "delivered-to"
    RECEIVED = "received"
    AUTHOR = "author"  # To and Cc: each delivery of the message names all of them
    NOBODY = "nobody"


@frozen
class Recipients:
    """Who was found, in order and once each.  ``foreign`` was passed over."""

    addresses: Sequence[Address]
    by: NamedBy
    foreign: Sequence[Address] = ()


def recipients_of(
    headers: Headers,
    query: Mapping[str, Sequence[str]],
    header: Header,
    is_ours: Callable[[Address], bool],
) -> Recipients:
    """The first source that names somebody.  Raises: Unreadable."""
    asked = _asked(headers, RECIPIENT_FIELD, query, "rcpt")
    if asked:
        addresses = [_address("recipient", text) for text in asked]
        return Recipients(list(dict.fromkeys(addresses)), NamedBy.REQUEST)
    foreign: list[Address] = []
    for by, named in _sources(header):
        found = list(dict.fromkeys(named))
        ours = [address for address in found if is_ours(address)]
        if ours:
            return Recipients(ours, by)
        foreign += found
    return Recipients((), NamedBy.NOBODY, foreign)


def _sources(header: Header) -> Iterator[tuple[NamedBy, Iterable[Address]]]:
    for name in DELIVERED_FIELDS:
        yield NamedBy.DELIVERED_TO, addresses_in(header.first(name) or "")
    traced = _FOR.findall(header.first("received") or "")
    yield NamedBy.RECEIVED, [address for text in traced[-1:] for address in _parsed(text)]
    named = [
        address
        for name in ("to", "cc")
        for text in header.all(name)
        for address in addresses_in(text)
    ]
    yield NamedBy.AUTHOR, named


def sender_of(
    headers: Headers, query: Mapping[str, Sequence[str]], header: Header
) -> Address | None:
    """The reverse-path, None for the null one.  Raises: Unreadable."""
    asked = _asked(headers, SENDER_FIELD, query, "sender")
    if asked:
        return _address("sender", asked[0]) if asked[0].strip(" <>") else None
    if header.count("return-path"):
        return next(iter(_parsed((header.first("return-path") or "").strip(" <>"))), None)
    return next(iter(addresses_in(header.first("from") or "")), None)


def _asked(
    headers: Headers, name: str, query: Mapping[str, Sequence[str]], parameter: str
) -> Sequence[str]:
    """What the request says: of a header, whose bytes may be percent-encoded, or of the query."""
    values = headers.all(name)
    if not values:
        return query.get(parameter, ())
    try:
        return [unquote_to_bytes(text.encode("latin-1")).decode("utf-8") for text in values]
    except UnicodeError:
        raise Unreadable(f"{name} is not UTF-8") from None


def _address(what: str, text: str) -> Address:
    if len(text) > LONGEST_VALUE:
        raise Unreadable(f"the {what} is longer than {LONGEST_VALUE} characters")
    plain = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    try:
        return Address.parse(plain)
    except MalformedAddress as error:
        raise Unreadable(f"the {what} is no address: {error}") from None


def _parsed(text: str) -> Iterator[Address]:
    try:
        yield Address.parse(text)
    except MalformedAddress:
        return
