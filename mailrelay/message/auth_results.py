"""Authentication-Results fields (RFC 8601): what is written of a message's authentication.  Pure.

Invariant: what is written is of ASCII, on lines of a bounded length, and no value ends early.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from attrs import frozen

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
