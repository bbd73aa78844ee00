"""Content on its way out."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.content import DotStuffer, NewlineRepair, canonical
from mailrelay.smtp.reader import has_bare
from tests.smtp.strategies import content, cut


class DotStufferTests(SynchronousTestCase):
    """DotStuffer: the cut must not show."""

    @given(st.data())
    def test_any_cut(self, data: st.DataObject) -> None:
        """Chunks give what the whole gives, and the end is complete."""
        whole = canonical(data.draw(content))
        pieces = DotStuffer()
        sent = b"".join(pieces.chunk(piece) for piece in data.draw(cut(whole))) + pieces.end()
        self.assertEqual(sent, re.sub(rb"(\A|\r\n)\.", rb"\1..", whole) + b".\r\n")

    @given(st.data())
    def test_one_end_only(self, data: st.DataObject) -> None:
        """CRLF.CRLF is sent once, at the very end, and nothing before it ends content."""
        whole = canonical(data.draw(content))
        stuffer = DotStuffer()
        sent = b"".join(stuffer.chunk(piece) for piece in data.draw(cut(whole))) + stuffer.end()
        self.assertEqual((b"\r\n" + sent).find(b"\r\n.\r\n"), len(sent) - 3)

    def test_missing_last_line_end(self) -> None:
        """Content without a last CRLF gets one before the dot."""
        stuffer = DotStuffer()
        self.assertEqual(stuffer.chunk(b"a") + stuffer.chunk(b"") + stuffer.end(), b"a\r\n.\r\n")

    def test_nothing(self) -> None:
        """Empty content is a dot."""
        self.assertEqual(DotStuffer().end(), b".\r\n")


class CanonicalTests(SynchronousTestCase):
    """canonical and NewlineRepair."""

    @given(content)
    def test_canonical(self, data: bytes) -> None:
        """The result has only CRLF, ends in one, and is its own canonical form."""
        lines = canonical(data)
        self.assertFalse(has_bare(lines))
        self.assertTrue(not lines or lines.endswith(b"\r\n"))
        self.assertEqual(canonical(lines), lines)

    @given(st.data())
    def test_repair_in_chunks(self, data: st.DataObject) -> None:
        """Repaired in chunks is repaired whole; a CRLF that was cut stays one."""
        whole = data.draw(content)
        repair = NewlineRepair()
        done = b"".join(repair.chunk(piece) for piece in data.draw(cut(whole))) + repair.end()
        self.assertEqual(done, re.sub(rb"\r\n|\r|\n", b"\r\n", whole))

    def test_examples(self) -> None:
        """Each kind of line end becomes a CRLF; nothing stays nothing."""
        self.assertEqual(canonical(b"a\nb\rc\r\nd"), b"a\r\nb\r\nc\r\nd\r\n")
        self.assertEqual(canonical(b""), b"")
