"""What was said on a connection, within a bound: every command and reply, content as its size."""

from __future__ import annotations

from attrs import define, field

MOST_BYTES = 16 * 1024


@define
class Transcript:
    """Lines ``C: ...`` and ``S: ...``.  AUTH is masked by whoever writes it."""

    _lines: list[str] = field(factory=list)
    _bytes: int = 0
    _full: bool = False

    def said(self, who: str, text: str) -> None:
        """Add a line, or several."""
        if self._full:
            return
        for line in text.split("\n"):
            self._bytes += len(line) + 4
            if self._bytes > MOST_BYTES - 40:
                self._full = True
                self._lines.append("... (the rest is left out)")
                return
            self._lines.append(f"{who}: {line}")

    def lines(self) -> list[str]:
        """Everything so far."""
        return list(self._lines)
