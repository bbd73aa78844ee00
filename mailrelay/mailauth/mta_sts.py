"""MTA-STS (RFC 8461): a domain's record and policy, and the hosts that fit it.  Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

from mailrelay.directory.model import MTASTSMode as Mode

MOST_AGE = 31_557_600
"""Seconds (RFC 8461 section 3.2); more is this."""

MOST_HOSTS = 100
MOST_LINES = 500

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_AGE = re.compile(r"[0-9]{1,10}")
__all__ = ["MalformedPolicy", "Mode", "Policy", "parse_policy", "record_id"]

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


class MalformedPolicy(Exception):
    """The record or the policy is none; the message, one line, says why."""


@frozen
class Policy:
    """What a domain says of its mail hosts.  ``hosts`` are patterns in lower case."""

    mode: Mode
    hosts: tuple[str, ...]
    max_age: int  # seconds

    def fits(self, host: str) -> bool:
        """Whether ``host`` is one of them (RFC 8461 section 4.1)."""
        name = host.lower().removesuffix(".")
        first, _, rest = name.partition(".")
        return any(
            bool(first) and rest == pattern[2:] if pattern.startswith("*.") else name == pattern
            for pattern in self.hosts
        )

    def lines(self) -> tuple[str, ...]:
        """As it is published."""
        return (
            "version: STSv1",
            f"mode: {self.mode}",
            *(f"mx: {host}" for host in self.hosts),
            f"max_age: {self.max_age}",
        )

    def __str__(self) -> str:
        return "".join(f"{line}\r\n" for line in self.lines())


def record_id(records: Sequence[bytes]) -> str | None:
    """The id that the TXT records of ``_mta-sts.DOMAIN`` tell, None when there is no policy.

    Raises: MalformedPolicy, for several records or one that is not well-formed.
    """
    ours = [record for record in records if _is_ours(record)]
    if not ours:
        return None
    if len(ours) > 1:  # RFC 8461 section 3.1: no policy
        raise MalformedPolicy("there are several MTA-STS records")
    fields = [piece.strip(" \t") for piece in ours[0].decode("ascii", "replace").split(";")]
    found = None
    for piece in fields[1:]:
        name, equals, value = piece.partition("=")
        if not piece:
            continue
        if not equals or not _NAME.fullmatch(name):
            raise MalformedPolicy("the MTA-STS record has a field without name or value")
        if name == "id" and found is None:
            found = value
    if found is None or not _ID.fullmatch(found):
        raise MalformedPolicy("the MTA-STS record has no id of 1 to 32 letters and digits")
    return found


def _is_ours(record: bytes) -> bool:
    """RFC 8461 section 3.1: whatever does not begin with its version is another's."""
    return record[:8] == b"v=STSv1;" or record[:8].rstrip(b" \t") == b"v=STSv1"


def parse_policy(body: bytes) -> Policy:
    """The policy that a domain serves.  Raises: MalformedPolicy."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedPolicy("the policy is not UTF-8") from None
    values: dict[str, str] = {}
    hosts: list[str] = []
    lines = text.replace("\r\n", "\n").split("\n")
    if len(lines) > MOST_LINES:
        raise MalformedPolicy(f"the policy has more than {MOST_LINES} lines")
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.strip(" \t"), value.strip(" \t")
        if not line.strip(" \t"):
            continue
        if not colon or not _NAME.fullmatch(name):
            raise MalformedPolicy("the policy has a line that is no field")
        if name == "mx":
            hosts.append(_pattern(value))
        else:
            values.setdefault(name, value)  # RFC 8461 section 3.2: the first one counts
    return _policy(values, hosts)


def _policy(values: dict[str, str], hosts: list[str]) -> Policy:
    if values.get("version") != "STSv1":
        raise MalformedPolicy("the policy's version is not STSv1")
    try:
        mode = Mode(values.get("mode", ""))
    except ValueError:
        raise MalformedPolicy("the policy's mode is none of enforce, testing, none") from None
    age = values.get("max_age", "")
    if not _AGE.fullmatch(age):
        raise MalformedPolicy("the policy's max_age is no number of seconds")
    if len(hosts) > MOST_HOSTS:
        raise MalformedPolicy(f"the policy names more than {MOST_HOSTS} hosts")
    if not hosts and mode is not Mode.NONE:
        raise MalformedPolicy("the policy names no mx")
    return Policy(mode, tuple(dict.fromkeys(hosts)), min(int(age), MOST_AGE))


def _pattern(value: str) -> str:
    name = value.lower().removesuffix(".")
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(_HOST.fullmatch(label) for label in labels):
        raise MalformedPolicy("the policy has an mx that is no host name")
    return name
