"""The body of a hand-off as it is read."""

from __future__ import annotations

import hashlib
from itertools import pairwise

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.handoff.reading import Reading
from mailrelay.message.header import MAX_HEADER_BYTES
from tests.acceptance.test_content import KeptBody

HEADER = b"Subject: x\r\nReceived: a\r\n\tb\r\nreceived: c\r\n\r\n"


def read(*pieces: bytes) -> tuple[Reading, bytes]:
    """What becomes of a body that comes in pieces."""
    body = KeptBody()
    reading = Reading(lambda: body)
    for piece in pieces:
        reading.write(piece)
    reading.end()
    small = reading.content.small_body()
    if small is None:
        reading.content.finish()
        small = b"".join(body.written)
    return reading, small


@define
class SlowBody(KeptBody):
    """One whose writes wait."""

    waiting: list[Deferred[None]] = field(factory=list)

    def append(self, data: bytes) -> Deferred[None]:
        """See SpoolWriter."""
        self.waiting.append(Deferred())
        return self.waiting[-1]


class ReadingTests(SynchronousTestCase):
    """Reading."""

    def test_lines(self) -> None:
        """They end with CRLF, however they came; all else stays."""
        for given_, kept in (
            (b"a\nb\r\nc\rd\n", b"a\r\nb\r\nc\r\nd\r\n"),
            (b".a\n..\n\n.\n", b".a\r\n..\r\n\r\n.\r\n"),
            (b"no end", b"no end"),
            (b"\xff\xfe\n", b"\xff\xfe\r\n"),
            (b"", b""),
        ):
            self.assertEqual(read(given_)[1], kept)

    def test_mbox(self) -> None:
        """A first line of mbox goes, no other one; neither does one that only begins alike."""
        for given_, kept in (
            (b"From a@b Sat\nSubject: x\n\nFrom c\n", b"Subject: x\r\n\r\nFrom c\r\n"),
            (b"From a@b Sat\r\nSubject: x\r\n", b"Subject: x\r\n"),
            (b"From: a@b\n", b"From: a@b\r\n"),
            (b"From", b"From"),
            (b"From alone", b""),
        ):
            self.assertEqual(read(given_)[1], kept)

    @given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
    def test_pieces(self, end: bytes, cuts: list[int]) -> None:
        """However it is cut, the same comes of it."""
        whole = b"From x\nA: 1\r\nReceived: y\r\n\r\n" + end
        places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
        pieces = [whole[a:b] for a, b in pairwise(places)]
        one, kept = read(whole)
        other, also = read(*pieces)
        self.assertEqual(kept, also)
        self.assertEqual(
            (one.head, one.digest, one.has_nul), (other.head, other.digest, other.has_nul)
        )

    def test_digest(self) -> None:
        """Of all but the topmost Received."""
        left = b"Subject: x\r\nreceived: c\r\n\r\nReceived: in the body\r\n"
        reading, _ = read(HEADER, b"Received: in the body\r\n")
        self.assertEqual(reading.digest, hashlib.sha256(left).digest())
        self.assertEqual(reading.head, HEADER)

    def test_endless_header(self) -> None:
        """No more of it is kept than a header may have."""
        reading, kept = read(*[b"A: " + b"x" * 50_000 + b"\r\n"] * 8)
        self.assertLess(len(reading.head), MAX_HEADER_BYTES + 60_000)
        self.assertEqual(len(kept), 8 * 50_005)

    def test_waits_for_the_spool(self) -> None:
        """What comes faster than it can be written waits."""
        body = SlowBody()
        reading = Reading(lambda: body)
        waiting = None
        while waiting is None:
            waiting = reading.write(b"x\r\n" * 30_000)
        self.assertNoResult(waiting)
        for one in body.waiting:
            one.callback(None)
        self.successResultOf(waiting)
