"""SMTP replies (RFC 5321 section 4.2) and enhanced status codes (RFC 3463)."""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import field, frozen

MAX_REPLY_LINE_BYTES = 4096
"""A peer's line beyond this is refused; RFC 5321 section 4.5.3.1.5 allows 512."""

MAX_REPLY_LINES = 200
"""A peer's reply of more lines is refused: no real EHLO answer is near it."""


class MalformedReply(Exception):
    """The peer sent something that is not an SMTP reply."""


@frozen
class EnhancedStatus:
    """An RFC 3463 status code; ``str()`` gives the wire form, such as ``5.1.1``."""

    class_: int
    subject: int
    detail: int

    def __attrs_post_init__(self) -> None:
        if self.class_ not in (2, 4, 5) or not (0 <= self.subject <= 999 >= self.detail >= 0):
            raise ValueError(f"{self} is no enhanced status code")

    def __str__(self) -> str:
        return f"{self.class_}.{self.subject}.{self.detail}"

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, text: str) -> EnhancedStatus | None:
        """The status written in ``text``, or None when it is not one."""
        match = _STATUS.fullmatch(text)
        return cls(*(int(part) for part in match.groups())) if match else None


@frozen
class Reply:
    """One SMTP reply, ours or the peer's; lines of ``text`` are separated by ``\\n``."""

    code: int
    text: str
    status: EnhancedStatus | None = None
    _wire: bytes | None = field(default=None, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"{self.code} is no reply code")
        if self.status is not None and self.status.class_ != self.code // 100:
            raise ValueError(f"{self.code} and {self.status} disagree")

    @property
    def is_positive(self) -> bool:
        """Whether this is a 2yz reply."""
        return self.code < 300

    @property
    def is_transient(self) -> bool:
        """Whether this is a 4yz reply."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """Whether this is a 5yz reply."""
        return self.code >= 500

    def __str__(self) -> str:
        status = f"{self.status} " if self.status else ""
        return f"{self.code} {status}{self.text}"

    def to_wire(self) -> bytes:
        """The reply as sent, CRLF included; every line has the status (RFC 2034 section 4)."""
        if self._wire is None:  # most replies are constants, sent again and again
            object.__setattr__(self, "_wire", self._written())
        assert self._wire is not None
        return self._wire

    def _written(self) -> bytes:
        status = f"{self.status} " if self.status else ""
        lines = [printable(line) for line in self.text.split("\n")]
        first = "".join(f"{self.code}-{status}{line}\r\n" for line in lines[:-1])
        return f"{first}{self.code} {status}{lines[-1]}\r\n".encode()


def reply(code: int, status: str, text: str) -> Reply:
    """A reply of ours; ``status`` in its wire form, such as ``5.1.1``."""
    class_, subject, detail = (int(part) for part in status.split("."))
    return Reply(code, text, EnhancedStatus(class_, subject, detail))


def printable(text: str, limit: int = 480) -> str:
    """``text`` without control characters and cut at ``limit``: safe within one line."""
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


@frozen
class ReplyLine:
    """One line of a peer's reply; ``more`` when another follows."""

    code: int
    text: str
    more: bool

    @classmethod
    def parse(cls, line: bytes) -> ReplyLine:
        """Read ``line``, without its CRLF.

        Raises: MalformedReply when it is not ``DDD``, ``DDD text`` or ``DDD-text``.
        """
        match = _LINE.fullmatch(line)
        if match is None:
            raise MalformedReply(f"not an SMTP reply: {printable(line[:200].decode('latin-1'))}")
        code, mark, text = match.groups()
        return cls(int(code), printable((text or b"").decode("utf-8", "replace")), mark == b"-")


@lru_cache(maxsize=1024)
def parse_single(line: bytes) -> Reply | None:
    """The reply that ``line`` is alone, None when more lines follow.

    Peers say the same few things again and again: the last ones are remembered.

    Raises: MalformedReply.
    """
    parsed = ReplyLine.parse(line)
    return None if parsed.more else assemble([parsed])


def assemble(lines: list[ReplyLine]) -> Reply:
    """The reply that ``lines`` make; the enhanced status is taken from its first line.

    Raises: MalformedReply when the lines' codes differ.
    """
    code = lines[0].code
    if any(line.code != code for line in lines):
        raise MalformedReply(f"one reply with two codes, {code} and {lines[-1].code}")
    status: EnhancedStatus | None = None
    texts = []
    for line in lines:
        first, _, rest = line.text.partition(" ")
        found = EnhancedStatus.parse(first)
        if found is not None and found.class_ == code // 100:
            status = status or found
            texts.append(rest)
        else:
            texts.append(line.text)
    return Reply(code, "\n".join(texts), status)


_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])([^\r\n\0]*))?")
