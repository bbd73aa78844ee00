"""Authentication-Results fields (RFC 8601): what is written of a message's authentication.  Pure.

Invariant: what is written is of ASCII, on lines of a bounded length, and no value ends early.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from mailrelay.message.places import any_fields
from mailrelay.smtp.address import MalformedAddress, normal_domain
from mailrelay.smtp.reply import printable

FIELD = "authentication-results"
MAX_VALUE = 255

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")
_MAILBOX = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]*@[A-Za-z0-9.-]+")
_SPECIAL = re.compile(r'(["\\])')


@frozen
class MethodResult:
    """One method's: ``properties`` are such as ("smtp.mailfrom", "a@b.example"), as they came."""

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """The resinfo of RFC 8601 section 2.2."""
        said = [f"{self.method}={self.result}"]
        if self.reason:
            said.append(f"reason={quoted(self.reason)}")
        said += [f"{name}={pvalue(value)}" for name, value in self.properties if value]
        return " ".join(said)


def payload(authserv_id: str, results: Sequence[MethodResult]) -> bytes:
    """What follows the name of the field, or ``i=`` of an ARC set's, without the last CRLF."""
    lines: Iterable[str] = map(str, results) if results else ["none"]
    return ";\r\n\t".join([authserv_id, *lines]).encode("ascii")


def authentication_results(said: bytes) -> bytes:
    """The whole field; ``said`` is its ``payload``."""
    return b"Authentication-Results: " + said + b"\r\n"


def pvalue(value: str) -> str:
    """A property's value: bare if it may be, else in quotes."""
    value = _safe(value)
    if _TOKEN.fullmatch(value) or _MAILBOX.fullmatch(value):
        return value
    return quoted(value)


def quoted(value: str) -> str:
    """``value`` as a quoted string."""
    return '"' + _SPECIAL.sub(r"\\\1", _safe(value)) + '"'


def _safe(value: str) -> str:
    return printable(value, MAX_VALUE).encode("ascii", "replace").decode()


# Of others


def claiming(head: bytes, authserv_id: str) -> Iterator[tuple[int, int]]:
    """Where in a header section fields stand that say they are of ``authserv_id``, or do not say.

    Whoever relies on our name must not find another's field under it (RFC 8601 section 5).
    """
    for name, at, end in any_fields(head):
        if name == FIELD and _claims(head[at:end].partition(b":")[2], authserv_id):
            yield at, end


def _claims(body: bytes, authserv_id: str) -> bool:
    found = _server_in(body.replace(b"\r\n", b"").decode("utf-8", "replace"))
    if not found:
        return True
    try:
        return normal_domain(found.rstrip(".")) == authserv_id.lower()
    except MalformedAddress:  # no name, which some reader may take for ours
        return authserv_id.lower() in found.lower()


def _server_in(text: str) -> str:
    """The authserv-id at the front, "" where none can be read."""
    at = _after_comments(text)
    match = _QUOTED.match(text, at) or _SERVER.match(text, at)
    if match is None:
        return ""
    return _ESCAPED.sub(r"\1", match[1])


def _after_comments(text: str) -> int:
    """Where comments and space at the front end; comments nest."""
    depth = 0
    for match in _IN_COMMENT.finditer(text):
        token = match.group()
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth < 0 or (depth == 0 and not token.isspace() and token != ")"):
            return match.start()
    return len(text)


_IN_COMMENT = re.compile(r"\\.|[ \t]+|.", re.DOTALL)
_QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_SERVER = re.compile(r"([^\s;()\"/=]+)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
