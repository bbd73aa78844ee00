"""What messages are made of before they are written."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.draft import PIECE_CHARACTERS, base64_file


class Base64FileTests(SynchronousTestCase):
    """base64_file."""

    def test_pieces(self) -> None:
        """All of it, in pieces, and from the beginning again; its size is that of what it means."""
        for length in (0, 4, PIECE_CHARACTERS, PIECE_CHARACTERS + 4, 3 * PIECE_CHARACTERS):
            file = base64_file("a", "text/plain", "", "QUJD" * (length // 4))
            for _ in range(2):
                pieces = list(file.read())
                self.assertEqual(b"".join(pieces), b"QUJD" * (length // 4))
                self.assertTrue(all(len(piece) <= PIECE_CHARACTERS for piece in pieces))
            self.assertEqual((file.size_bytes, file.is_base64), (length // 4 * 3, True))

    def test_no_base64(self) -> None:
        """What is not ASCII is left to whoever decodes it, and raises nothing here."""
        self.assertEqual(list(base64_file("a", "", "", "\ud800\u00fc").read()), [b"?\xc3\xbc"])
