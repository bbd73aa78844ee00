"""What one recipient's copy of a message differs in.  Pure.

The body of a message is never touched, and of its header nothing but what is named: a signature
that does not sign a changed field stays whole.
"""

from __future__ import annotations

from attrs import frozen

Stretch = tuple[int, int, bytes]
"""From, to, and what stands there instead."""


@frozen
class Edit:
    """Fields in ``front`` of all others, and stretches of the header that are replaced.

    Stretches are counted from the start of what came, behind what we put on top; they are in order
    and do not overlap.
    """

    front: bytes = b""
    stretches: tuple[Stretch, ...] = ()

    @property
    def reads_bytes(self) -> int:
        """How much of what came must be there to make the copy's start."""
        return self.stretches[-1][1] if self.stretches else 0

    @property
    def grows_bytes(self) -> int:
        """How much longer the copy is."""
        return len(self.front) + sum(len(new) - (end - at) for at, end, new in self.stretches)

    def edited(self, start: bytes) -> bytes:
        """What stands in place of ``start``: ``reads_bytes`` of what came, or more."""
        made, kept_to = [], 0
        for at, end, new in self.stretches:
            made += [start[kept_to:at], new]
            kept_to = end
        return b"".join([*made, start[kept_to:]])
