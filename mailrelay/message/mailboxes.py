"""Address lists of header fields (RFC 5322 section 3.4), read as senders write them.

In linear time and without recursion, however deep comments are nested; never raising.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from attrs import define, field, frozen

from mailrelay.message.words import shown_text
from mailrelay.smtp.address import Address, MalformedAddress


@frozen
class NamedAddress:
    """An address with its display name, which may be empty."""

    name: str
    address: Address


def mailboxes_in(text: str) -> list[NamedAddress]:
    """The mailboxes of an unfolded address list, those of groups among them.

    What is no address is left out; a name may stand in a comment behind its address.
    """
    return list(_read(text).found)


@frozen
class AddressList:
    """What an address list that a person typed has, and what in it is no address."""

    found: Sequence[NamedAddress]
    missed: Sequence[str]


def read_list(text: str) -> AddressList:
    """``text`` as ``mailboxes_in`` reads it, telling of what that leaves out."""
    read = _read(text)
    missed = read.missed or ((text,) if read.hides_address else ())
    return AddressList(read.found, missed)


BETWEEN = ", "


def list_text(people: Iterable[NamedAddress]) -> str:
    """``people`` as they are typed, which ``read_list`` reads back; domains in U-labels."""
    return BETWEEN.join(map(_person_text, people))


def _person_text(person: NamedAddress) -> str:
    if not person.name:
        return person.address.unicode
    name = _TO_ESCAPE.sub(r"\\\g<0>", person.name)
    return f'"{name}" <{person.address.unicode}>'


def hides_address(text: str) -> bool:
    """Whether another reader may find an address in the list that ``mailboxes_in`` leaves out."""
    return _read(text).hides_address


@frozen
class _Read:
    found: tuple[NamedAddress, ...]
    missed: tuple[str, ...]
    hides_address: bool


def _read(text: str) -> _Read:
    """Those who send much write the same From each time: it is read once."""
    return _remembered(text) if len(text) <= MOST_REMEMBERED else _read_anew(text)


def _read_anew(text: str) -> _Read:
    reader = _Reader(text)
    while reader.position < len(text):
        reader.step()
    reader.finish_mailbox()
    return _Read(tuple(reader.found), tuple(reader.missed), reader.hides_address)


MOST_REMEMBERED = 320
"""Characters of a list that is remembered, one of 256."""
_remembered = lru_cache(maxsize=256)(_read_anew)


@define
class _Reader:
    """``words`` are the phrase or bare address so far, as meant; ``written`` as they stand."""

    text: str
    position: int = 0
    words: list[str] = field(factory=list)
    written: list[str] = field(factory=list)
    comment: str = ""
    spec: str | None = None  # what stood in angle brackets
    hides_address: bool = False
    found: list[NamedAddress] = field(factory=list)
    missed: list[str] = field(factory=list)

    def step(self) -> None:
        """Read what is at ``position``."""
        character = self.text[self.position]
        if character in ",;":
            self.finish_mailbox()
            self.position += 1
        elif character == ":":  # what was before is a group's name
            self.hides_address |= "@" in "".join(self.written)
            self._start_mailbox()
            self.position += 1
        elif character == "(":
            self._read_comment()
        elif character == "<":
            self._read_angle()
        else:
            self._read_word()

    def finish_mailbox(self) -> None:
        """Keep the mailbox that was read, if it is one."""
        name = "".join(self.words).strip(" \t")
        spec = self.spec
        if spec is None:
            name, spec = "", "".join(self.written)
        elif spec.startswith("@"):  # a source route, RFC 5322 section 4.4
            spec = spec.rpartition(":")[2]
        try:
            address = Address.parse(spec.strip())
        except MalformedAddress:
            self.hides_address |= "@" in spec
            if name or spec.strip():
                self.missed.append(spec.strip() or name)
        else:
            self.found.append(NamedAddress(shown_text(name or self.comment.strip()), address))
        self._start_mailbox()

    def _start_mailbox(self) -> None:
        self.words, self.written = [], []
        self.comment, self.spec = "", None

    def _read_comment(self) -> None:
        """What nests; the last comment may be a name."""
        depth = 0
        start = self.position
        for match in _IN_COMMENT.finditer(self.text, start):
            depth += {"(": 1, ")": -1}.get(match.group(), 0)
            if depth == 0:
                self.position = match.end()
                self.comment = _ESCAPED.sub(r"\1", self.text[start + 1 : match.start()])
                return
        self.position = len(self.text)

    def _read_angle(self) -> None:
        match = _ANGLE.match(self.text, self.position)
        if match is not None and self.spec is None:
            self.spec = match.group(1)
        elif match is not None:
            self.hides_address |= "@" in match.group(1)
        self.position = self.position + 1 if match is None else match.end()

    def _read_word(self) -> None:
        match = _QUOTED.match(self.text, self.position)
        if match is not None:
            self.words.append(_ESCAPED.sub(r"\1", match.group(1)))
        else:
            match = _ATOMS.match(self.text, self.position)
            assert match is not None  # whatever is not above is in it
            word = _SPACES.sub(" ", match.group())
            spaced = bool(self.words) and self.words[-1].endswith(" ")
            self.words.append(word.removeprefix(" ") if spaced else word)
        self.written.append(match.group())
        self.hides_address |= self.spec is not None and "@" in match.group()
        self.position = match.end()


# No backtracking: what a quoted string or comment lacks at its end is found at the text's.
_IN_QUOTES = r'[^"\\]*(?:\\.[^"\\]*)*'
_QUOTED = re.compile(rf'"({_IN_QUOTES})(?:"|\\?\Z)', re.DOTALL)
_ANGLE = re.compile(rf'<((?:[^<>"]|"{_IN_QUOTES}")*)>', re.DOTALL)
_ATOMS = re.compile(r'(?:[^"(),:;<>\[]|\[[^\[\]]*\])+|[)>\[]')
_IN_COMMENT = re.compile(r"\\.|[()]", re.DOTALL)
_SPACES = re.compile(r"[ \t]+")
_TO_ESCAPE = re.compile(r'["\\]')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
