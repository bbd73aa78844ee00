"""docker-mailserver's files of relay hosts and credentials: read, and changed in place.  Pure.

Lines are kept as they are but for those that a change is about: comments, order and blank lines
stay.  What Postfix would take for something that nobody meant is an error here, with its line:
text behind a key that is no next hop, an indented line (which goes on with the one before), two
values of one key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from attrs import field, frozen

from mailrelay.routing.next_hop import MalformedNextHop, NextHop, parse_next_hops
from mailrelay.smtp.address import MalformedAddress, normal_domain

NULL_SENDER = "<>"


class RelayFile(Enum):
    """The files, and what is said elsewhere; the values are what problems call them."""

    RELAY_MAP = "relaymap"
    CREDENTIALS = "sasl_password"
    RECIPIENT_ROUTES = "recipient_routes"
    CONFIGURATION = "configuration"
    DIRECTORY = "directory"
    ENVIRONMENT = "env"

    @property
    def file_name(self) -> str:
        """Its name in docker-mailserver's configuration directory."""
        return _NAMES[self]

    @property
    def source(self) -> str:
        """How rules tell that they are from here."""
        return _SOURCES.get(self, "file")


_NAMES = {
    RelayFile.RELAY_MAP: "postfix-relaymap.cf",
    RelayFile.CREDENTIALS: "postfix-sasl-password.cf",
    RelayFile.RECIPIENT_ROUTES: "recipient routes",
    RelayFile.CONFIGURATION: "the configuration",
    RelayFile.DIRECTORY: "directory data",
    RelayFile.ENVIRONMENT: "the environment",
}

_SOURCES = {
    RelayFile.CONFIGURATION: "configuration",
    RelayFile.DIRECTORY: "directory",
    RelayFile.ENVIRONMENT: "environment",
}


@frozen
class RelayWarning:
    """What is allowed, and hardly meant.  ``line`` is 0 when it is of no line."""

    file: RelayFile
    line: int
    text: str

    def __str__(self) -> str:
        where = f", line {self.line}" if self.line else ""
        return f"{self.file.file_name}{where}: {self.text}"


class RelayProblem(Exception):
    """What cannot be used, with where it stands."""

    def __init__(self, file: RelayFile, line: int, text: str) -> None:
        self.warning = RelayWarning(file, line, text)
        super().__init__(str(self.warning))


@frozen
class RelayLine:
    """One entry: ``key`` as it is compared, ``value`` without blanks around it."""

    key: str
    value: str
    number: int


def read_lines(file: RelayFile, text: str) -> tuple[Sequence[RelayLine], Sequence[RelayWarning]]:
    """The entries of a file, each key once.  Raises: RelayProblem."""
    found: dict[str, RelayLine] = {}
    warnings: list[RelayWarning] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = _line(file, raw, number)
        if line is None:
            continue
        before = found.get(line.key)
        if before is None:
            found[line.key] = line
        elif before.value == line.value:
            said = f"{line.key} says the same as in line {before.number}: remove one of them"
            warnings.append(RelayWarning(file, number, said))
        else:
            said = f"{line.key} stands in line {before.number}, too, with another value"
            raise RelayProblem(file, number, said)
    return list(found.values()), warnings


def _line(file: RelayFile, raw: str, number: int) -> RelayLine | None:
    stripped = raw.strip()
    if not stripped or stripped.startswith("#"):
        return None
    if not stripped.isprintable() and not stripped.replace("\t", " ").isprintable():
        raise RelayProblem(file, number, "has a control character")
    if raw[0].isspace():
        said = "begins with a blank: Postfix takes such a line for more of the one before"
        raise RelayProblem(file, number, said)
    key, *rest = stripped.split(None, 1)
    return RelayLine(normal_key(key), rest[0] if rest else "", number)


@frozen
class RelayMap:
    """Which senders go by which next hops.  None for a key that says DUNNO."""

    hops: Mapping[str, Sequence[NextHop]] = field(factory=dict)
    opted_out: frozenset[str] = frozenset()  # ``@domain``


def read_relay_map(text: str) -> tuple[RelayMap, Sequence[RelayWarning]]:
    """The map that a file is.  Raises: RelayProblem."""
    file = RelayFile.RELAY_MAP
    lines, told = read_lines(file, text)
    warnings, hops, out = list(told), {}, set()
    for line in lines:
        if "@" not in line.key and line.key != NULL_SENDER:
            said = f"{line.key} fits no sender: write @{line.key} for the domain"
            warnings.append(RelayWarning(file, line.number, said))
        if line.value:
            hops[line.key] = _hops(file, line)
        elif line.key.startswith("@"):
            out.add(line.key)
        else:
            said = f"{line.key} has no next hop, and only @domain can opt out: it is not used"
            warnings.append(RelayWarning(file, line.number, said))
    return RelayMap(hops, frozenset(out)), warnings


def _hops(file: RelayFile, line: RelayLine) -> Sequence[NextHop]:
    try:
        return parse_next_hops(line.value)
    except MalformedNextHop as error:
        raise RelayProblem(file, line.number, str(error)) from None


@frozen
class Credentials:
    """Who one logs in as.  The password is shown to nobody who does not own the file."""

    username: str
    password: str = field(repr=False)


def read_credentials(text: str) -> tuple[Mapping[str, Credentials], Sequence[RelayWarning]]:
    """Credentials by sender, ``@domain``, host name or next hop.  Raises: RelayProblem."""
    file = RelayFile.CREDENTIALS
    lines, warnings = read_lines(file, text)
    found = {}
    for line in lines:
        try:
            found[line.key] = parse_login(line.value)
        except ValueError as error:
            raise RelayProblem(file, line.number, f"{line.key}: {error}") from None
    return found, warnings


def parse_login(text: str) -> Credentials:
    """``user:password``; the first colon divides them.  Raises: ValueError."""
    username, colon, password = text.partition(":")
    if not colon or not username or not password:
        raise ValueError("write user:password behind the key")
    return Credentials(username, password)


def with_line(text: str, key: str, value: str) -> str:
    """``text`` with ``key`` saying ``value``, in its old place if it had one."""
    return _changed(text, key, f"{key} {value}".rstrip())


def without_line(text: str, key: str) -> str:
    """``text`` without ``key``."""
    return _changed(text, key, None)


def _changed(text: str, key: str, new: str | None) -> str:
    lines, is_there = [], False
    for line in text.removesuffix("\n").split("\n") if text else ():
        if normal_key(line.split(None, 1)[0] if line.strip() else "") != key:
            lines.append(line)
        elif new is not None and not is_there:
            lines.append(new)
            is_there = True
    if new is not None and not is_there:
        lines.append(new)
    return "".join(f"{line}\n" for line in lines)


def normal_key(text: str) -> str:
    """A key as it is compared: in lower case, a domain behind an @ as it is looked up."""
    localpart, at, domain = text.lower().rpartition("@")
    try:
        return f"{localpart}@{normal_domain(domain)}" if at else domain
    except MalformedAddress:
        return text.lower()
