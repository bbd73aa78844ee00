"""What a server says in its EHLO answer (RFC 5321 section 4.1.1.1)."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from mailrelay.smtp.reply import Reply


@frozen
class Extensions:
    """Keyword to its arguments, keywords in upper case; empty after HELO."""

    offered: dict[str, tuple[str, ...]]

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.offered

    @property
    def size_bytes(self) -> int | None:
        """The largest message the server takes (RFC 1870), None when it names no limit."""
        words = self.offered.get("SIZE", ())
        return int(words[0]) or None if words and _is_number(words[0]) else None

    @property
    def auth_mechanisms(self) -> frozenset[str]:
        """SASL mechanisms in upper case (RFC 4954)."""
        return frozenset(word.upper() for word in self.offered.get("AUTH", ()))

    @property
    def max_recipients(self) -> int | None:
        """RCPTMAX of the LIMITS extension (RFC 9422), None when not named."""
        for word in self.offered.get("LIMITS", ()):
            name, _, value = word.partition("=")
            if name.upper() == "RCPTMAX" and _is_number(value):
                return int(value) or None
        return None

    @classmethod
    def parse(cls, answer: Reply) -> Extensions:
        """Read the reply to EHLO; its first line only greets."""
        return cls.of(answer.text.split("\n")[1:])

    @classmethod
    def of(cls, lines: Iterable[str]) -> Extensions:
        """Read extension lines.  ``AUTH=LOGIN`` of old servers is read as ``AUTH LOGIN``."""
        offered: dict[str, tuple[str, ...]] = {}
        for line in lines:
            words = line.replace("AUTH=", "AUTH ", 1).split()
            if words:
                keyword = words[0].upper()
                offered[keyword] = offered.get(keyword, ()) + tuple(words[1:])
        return cls(offered)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 15


NO_EXTENSIONS = Extensions({})
