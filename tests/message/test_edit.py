"""What one recipient's copy differs in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.edit import Edit

CONTENT = b"From: a\r\nReply-To: b\r\nTo: c\r\n\r\nbody"


class EditTests(SynchronousTestCase):
    """Edit."""

    def test_nothing(self) -> None:
        """Without stretches nothing is read, and nothing changes."""
        edit = Edit(b"X: y\r\n")
        self.assertEqual((edit.reads_bytes, edit.grows_bytes), (0, 6))
        self.assertEqual(edit.edited(b""), b"")

    def test_stretches(self) -> None:
        """Each is replaced, and the rest stays; the sizes are right."""
        edit = Edit(b"F: f\r\n", ((0, 9, b"From: other\r\n"), (9, 22, b"")))
        self.assertEqual(edit.reads_bytes, 22)
        whole = edit.edited(CONTENT)
        self.assertEqual(whole, b"From: other\r\nTo: c\r\n\r\nbody")
        self.assertEqual(len(edit.front) + len(whole), len(CONTENT) + edit.grows_bytes)
        self.assertEqual(edit.edited(CONTENT[:22]), b"From: other\r\n")
