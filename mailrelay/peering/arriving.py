"""A message as a peer sends it: a line of meta, then its bytes, checked as they stream.

What is wrong with it is told when the whole of it has been read and verified; from then on nothing
of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from mailrelay.acceptance.content import IncomingContent, SpoolWriter
from mailrelay.directory.peers import FromPolicy, PeerOptions
from mailrelay.message.header import MAX_HEADER_BYTES
from mailrelay.peering.door import Refusal
from mailrelay.peering.from_policy import refuse_from_of_peer, with_own_from
from mailrelay.peering.offer import LONGEST_META
from mailrelay.smtp.address import Address
from mailrelay.smtp.reader import has_bare

BARE = "5.6.0 bare CR or LF: lines end with CRLF (RFC 5321 section 2.3.8)"
WITH_NUL = "5.6.0 content must not have NUL"
NO_META = "the body does not begin with a line of JSON"
_HEADER_END = b"\r\n\r\n"


class Arriving:
    """Takes a body in pieces; ``most_bytes`` of content at the most."""

    def __init__(
        self, open_spool: Callable[[], SpoolWriter], options: PeerOptions, most_bytes: int
    ) -> None:
        self.content = IncomingContent(open_spool, self._caught_up)
        self.refusal: Refusal | None = None
        self._options, self._most_bytes = options, most_bytes
        self._looks_at_from = bool(options.from_domains) or _rewrites(options)
        self._line: bytearray | None = bytearray()
        self.meta = b""
        self._head: bytearray | None = bytearray() if self._looks_at_from else None
        self._ends_in_cr = False
        self._size = 0
        self._waiting: Deferred[None] | None = None

    def write(self, data: bytes) -> Deferred[None] | None:
        """The next piece; what is returned fires when there is room for more."""
        if self.refusal is not None:
            return None
        if self._line is not None:
            data = self._after_meta(data)
        if data:
            self._take(data)
        if self.refusal is None and self.content.is_behind:
            self._waiting = Deferred()
            return self._waiting
        return None

    def end(self) -> None:
        """All of it came."""
        if self.refusal is not None:
            return
        if self._line is not None:
            self._refuse(Refusal(400, NO_META))
        elif self._ends_in_cr:
            self._refuse(Refusal(422, BARE))
        elif self._head is not None:
            self._pass_head(len(self._head))

    def abandon(self) -> None:
        """Forget all of it."""
        self.content.abandon()

    def _refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.content.abandon()

    def _caught_up(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _after_meta(self, data: bytes) -> bytes:
        """What of ``data`` is content."""
        assert self._line is not None
        end = data.find(b"\n")
        self._line += data if end < 0 else data[:end]
        if len(self._line) > LONGEST_META:
            self._refuse(Refusal(400, f"the first line is longer than {LONGEST_META} bytes"))
        elif end >= 0:
            self.meta, self._line = bytes(self._line), None
            return data[end + 1 :]
        return b""

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._most_bytes:
            self._refuse(Refusal(413, f"5.3.4 the message is larger than {self._most_bytes} bytes"))
            return
        whole = b"\r" + data if self._ends_in_cr else data
        self._ends_in_cr = data.endswith(b"\r")
        if has_bare(whole[:-1] if self._ends_in_cr else whole):
            self._refuse(Refusal(422, BARE))
        elif b"\0" in data:
            self._refuse(Refusal(422, WITH_NUL))
        elif self._head is None:
            self.content.write(data)
        else:
            searched = max(0, len(self._head) - len(_HEADER_END) + 1)
            self._head += data
            self._look_for_end(searched)

    def _look_for_end(self, searched: int) -> None:
        """Judge the header section if its end came, which is nowhere before ``searched``."""
        assert self._head is not None
        if self._head.startswith(b"\r\n"):
            self._pass_head(0)
            return
        end = self._head.find(_HEADER_END, searched)
        if end >= 0:
            self._pass_head(end + len(_HEADER_END))
        elif len(self._head) > MAX_HEADER_BYTES:
            self._refuse(Refusal(422, "5.3.4 header section is larger than 256 KiB"))

    def _pass_head(self, size: int) -> None:
        """The header section is there: judge its From, and have it rewritten."""
        assert self._head is not None
        head, rest = bytes(self._head[:size]), bytes(self._head[size:])
        self._head = None
        refused = refuse_from_of_peer(head, self._options)
        if refused is not None:
            self._refuse(Refusal(422, f"{refused.status} {refused.text}"))
            return
        if _rewrites(self._options):
            head = with_own_from(head, Address.parse(self._options.from_address))
        self.content.write(head + rest)


def _rewrites(options: PeerOptions) -> bool:
    return options.from_policy is FromPolicy.REWRITE
