"""What was said in an attempt, within a bound: every command and reply, content as its size."""

from __future__ import annotations

from attrs import define, field

MOST_BYTES = 16 * 1024


@define
class Transcript:
    """Lines ``C: ...`` and ``S: ...``, of one attempt.  AUTH is masked by whoever writes it."""

    _lines: list[str] = field(factory=list)
    _bytes: int = 0
    _full: bool = False

    def said(self, who: str, text: str) -> None:
        """Add a line, or several."""
        for line in text.split("\n"):
            self._add(f"{who}: {line}")

    def note(self, text: str) -> None:
        """Add a remark of ours, in parentheses."""
        self._add("(" + " ".join(text.split()) + ")")

    def _add(self, line: str) -> None:
        if self._full:
            return
        self._bytes += len(line.encode("utf-8", "replace")) + 1
        if self._bytes > MOST_BYTES - 40:
            self._full = True
            self._lines.append("... (the rest is left out)")
        else:
            self._lines.append(line)

    def lines(self) -> list[str]:
        """Everything so far."""
        return list(self._lines)
