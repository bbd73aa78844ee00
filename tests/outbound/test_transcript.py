"""Transcripts, within their bound."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.outbound.transcript import MOST_BYTES, Transcript


class TranscriptTests(SynchronousTestCase):
    """Transcript."""

    def test_lines(self) -> None:
        """Each line names who said it; remarks stand in parentheses on one line."""
        transcript = Transcript()
        transcript.said("S", "250-a\n250 b")
        transcript.said("C", "QUIT")
        transcript.note("content,\n 7 bytes")
        self.assertEqual(
            transcript.lines(), ["S: 250-a", "S: 250 b", "C: QUIT", "(content, 7 bytes)"]
        )

    def test_bound(self) -> None:
        """What is too much is left out, said once; bytes count, not characters."""
        for text in ("x" * 1000, "\U0001f4e7" * 250, "y"):
            transcript = Transcript()
            for _ in range(20_000):
                transcript.said("S", text)
            transcript.note("after")
            lines = transcript.lines()
            self.assertLessEqual(sum(len(line.encode()) + 1 for line in lines), MOST_BYTES)
            self.assertEqual(lines[-1], "... (the rest is left out)")
            self.assertEqual(lines.count(lines[-1]), 1)

    def test_one_huge_line(self) -> None:
        """A line larger than the bound is left out whole."""
        transcript = Transcript()
        transcript.said("S", "x" * 1_000_000)
        self.assertEqual(transcript.lines(), ["... (the rest is left out)"])

    def test_a_copy(self) -> None:
        """What was handed out does not change."""
        transcript = Transcript()
        lines = transcript.lines()
        transcript.said("C", "NOOP")
        self.assertEqual(lines, [])
