"""Replies by what they begin with: a code, an enhanced status, or both.  Pure."""

from __future__ import annotations

from attrs import frozen

from mailrelay.smtp.reply import EnhancedStatus, Reply


class MalformedPattern(ValueError):
    """The text fits no reply; the message says how to write it."""


@frozen
class ReplyPattern:
    """Fits replies that refuse, and have what it names.  One of the two is there."""

    code: int | None
    status: EnhancedStatus | None

    @classmethod
    def parse(cls, text: str) -> ReplyPattern:
        """Read ``421``, ``4.7.1`` or ``550 5.7.1``.  Raises: MalformedPattern."""
        first, *rest = text.split() or [""]
        is_code = len(first) == 3 and first.isascii() and first.isdigit()
        code = int(first) if is_code else None
        written = rest if is_code else [first, *rest]
        status = EnhancedStatus.parse(written[0]) if len(written) == 1 else None
        classes = {code // 100} if code is not None else set()
        classes |= {status.class_} if status is not None else set()
        if (written and status is None) or len(classes) != 1 or not classes <= {4, 5}:
            said = "is no reply that refuses: write 421, 4.7.1 or 550 5.7.1"
            raise MalformedPattern(f"{text!r} {said}")
        return cls(code, status)

    def fits(self, reply: Reply) -> bool:
        """Whether ``reply`` is meant."""
        if self.code is not None and reply.code != self.code:
            return False
        return self.status is None or reply.status == self.status

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.code, self.status) if part is not None)
