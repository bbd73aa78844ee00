"""Content-Transfer-Encoding undone, at once and piece by piece."""

from __future__ import annotations

from base64 import b64encode
from quopri import encodestring

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.encodings import (
    BASE64,
    MOST_KEPT_BYTES,
    QUOTED_PRINTABLE,
    Decoder,
    decoded_bytes,
    decoded_size,
)

HOSTILE = st.lists(
    st.sampled_from([b"=", b"==", b"\r", b"\n", b"\r\n", b"4", b"A", b"=3D", b" ", b"-", b"xyz"]),
    max_size=40,
).map(b"".join)


def in_pieces(data: bytes, encoding: str, size: int) -> bytes:
    """``data`` decoded, fed ``size`` bytes at a time."""
    decoder = Decoder(encoding)
    pieces = [decoder.fed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join([*pieces, decoder.ended()])


class DecoderTests(SynchronousTestCase):
    """Decoder."""

    @given(HOSTILE, st.sampled_from([BASE64, QUOTED_PRINTABLE, ""]), st.integers(1, 9))
    def test_as_at_once(self, data: bytes, encoding: str, size: int) -> None:
        """However it is cut, the same comes out, and as much as its size says."""
        whole = decoded_bytes(data, encoding)
        self.assertEqual(in_pieces(data, encoding, size), whole)
        self.assertEqual(decoded_size(data, 0, len(data), encoding), len(whole))

    @given(st.binary(max_size=300), st.integers(1, 80))
    def test_round_trip(self, data: bytes, size: int) -> None:
        """What was encoded comes back."""
        lines = b64encode(data)
        folded = b"\r\n".join(lines[at : at + 76] for at in range(0, len(lines), 76))
        self.assertEqual(in_pieces(folded, BASE64, size), data)
        self.assertEqual(in_pieces(encodestring(data), QUOTED_PRINTABLE, size), data)

    def test_endless_line(self) -> None:
        """A line without an end is not collected."""
        decoder, fed = Decoder(QUOTED_PRINTABLE), 0
        for _ in range(10):
            fed += len(decoder.fed(b"=41" * MOST_KEPT_BYTES))
            self.assertLessEqual(len(decoder._kept), MOST_KEPT_BYTES)
        self.assertEqual(fed + len(decoder.ended()), 10 * MOST_KEPT_BYTES)
