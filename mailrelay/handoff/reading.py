"""The body of a hand-off on its way in: made what SMTP would have brought, in constant memory.

It is never a form, whatever its Content-Type says: curl calls everything one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from twisted.internet.defer import Deferred

from mailrelay.acceptance.content import IncomingContent, SpoolWriter
from mailrelay.message.header import MAX_HEADER_BYTES
from mailrelay.smtp.content import NewlineRepair

MBOX = b"From "
"""What begins the line that mbox has between messages."""

# Disjoint classes, no backtracking.
_TOP_RECEIVED = re.compile(rb"^received[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.M)


class Reading:
    """Puts into ``content`` what comes, with lines ended by CRLF and without a line of mbox.

    After ``end``, ``head`` is the header section and ``digest`` the SHA-256 of all but its topmost
    Received field: a caller that tries again from elsewhere sends the same.
    """

    def __init__(self, open_spool: Callable[[], SpoolWriter]) -> None:
        self.content = IncomingContent(open_spool, self._caught_up)
        self.head = b""
        self.has_nul = False
        self._repair = NewlineRepair()
        self._start: bytes | None = b""  # until it is known whether it is a line of mbox
        self._skips_line = False
        self._head = bytearray()
        self._in_head = True
        self._hash = hashlib.sha256()
        self._waiting: list[Deferred[None]] = []

    def write(self, data: bytes) -> Deferred[None] | None:
        """Take the next bytes; what to wait for before those that follow."""
        self.has_nul = self.has_nul or b"\0" in data
        self._take(self._repair.chunk(self._without_mbox(data)))
        if not self.content.is_behind:
            return None
        self._waiting.append(Deferred())
        return self._waiting[-1]

    def _caught_up(self) -> None:
        """The spool took what waited."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def end(self) -> None:
        """All has come."""
        if self._start:
            self._take(self._repair.chunk(self._start))
        self._take(self._repair.end())
        if self._in_head:
            self._head_is_whole(len(self._head))

    @property
    def digest(self) -> bytes:
        """See Reading."""
        return self._hash.digest()

    def _without_mbox(self, data: bytes) -> bytes:
        if self._start is not None:
            data = self._start + data
            if len(data) < len(MBOX) and MBOX.startswith(data):
                self._start = data
                return b""
            self._start, self._skips_line = None, data.startswith(MBOX)
        if self._skips_line:
            _, newline, data = data.partition(b"\n")
            self._skips_line = not newline
        return data

    def _take(self, data: bytes) -> None:
        if not data:
            return
        self.content.write(data)
        if not self._in_head:
            self._hash.update(data)
            return
        searched = max(0, len(self._head) - 3)
        self._head += data
        end = 2 if self._head.startswith(b"\r\n") else self._head.find(b"\r\n\r\n", searched) + 4
        if end >= 4 or self._head.startswith(b"\r\n"):
            self._head_is_whole(end)
        elif len(self._head) > MAX_HEADER_BYTES + 4:
            self._head_is_whole(len(self._head))

    def _head_is_whole(self, end: int) -> None:
        self._in_head = False
        self.head = bytes(self._head[:end])
        self._hash.update(_TOP_RECEIVED.sub(b"", self.head, count=1))
        self._hash.update(bytes(self._head[end:]))
        self._head = bytearray()
