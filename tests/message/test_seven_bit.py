"""Messages in seven bits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.seven_bit import seven_bit
from mailrelay.message.structure import decoded, read_structure, walk

MIXED = (
    "From: a@b.test\r\nSubject: Gr\u00fc\u00dfe\r\nMIME-Version: 1.0\r\n"
    "Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    "--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    "h\u00e4llo = w\u00f6rld \r\nzwei" + "\u00fc" * 90 + "\r\n--x\r\n"
    "Content-Type: application/pdf\r\n\r\n\u00ff\u0001bin\r\n--x\r\n"
    "Content-Type: text/plain\r\n\r\nplain = as it was \r\n--x\r\n"
    "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nb\u00f6dy\r\n--x--\r\n"
).encode()

SIGNED = (
    b"Subject: s\r\nContent-Type: multipart/signed; boundary=y\r\n\r\n--y\r\n\r\n"
    b"signed \xc3\xbc\r\n--y--\r\n"
)


class SevenBitTests(SynchronousTestCase):
    """What has eight bits is encoded, and means the same."""

    def leaves(self, content: bytes) -> list[tuple[str, bytes]]:
        """Type and decoded content of what has no parts."""
        found = [part for _, part in walk(read_structure(content)) if not part.parts]
        return [(part.content_type, decoded(content, part)) for part in found]

    def test_parts(self) -> None:
        """Each part with eight bits is encoded, one in a message in it too; the others are not."""
        made = seven_bit(MIXED)
        self.assertTrue(made.partition(b"\r\n\r\n")[2].isascii(), made)
        self.assertEqual(self.leaves(made)[:3], self.leaves(MIXED)[:3])
        self.assertIn(b"\r\n\r\nplain = as it was \r\n--x", made)
        self.assertEqual(
            self.leaves(self.leaves(made)[3][1]), [("text/plain", "b\u00f6dy".encode())]
        )
        self.assertEqual(made.count(b"8bit"), 1)
        self.assertIn("Subject: Gr\u00fc\u00dfe".encode(), made)
        self.assertLessEqual(max(map(len, made.split(b"\r\n"))), 76)

    def test_what_must_not_change(self) -> None:
        """ASCII stays to the byte, and what is signed stays whatever it is."""
        for content in (b"", b"a\r\n", b"Subject: x\r\n\r\n=C3 \r\n", SIGNED):
            self.assertEqual(seven_bit(content), content)

    def test_without_header(self) -> None:
        """A message that says nothing of itself is told to be UTF-8, when it is."""
        for content in ("h\u00f6\r\n", "\r\nh\u00f6\r\n"):
            made = seven_bit(content.encode())
            self.assertIn(b"Content-Type: text/plain; charset=utf-8\r\n", made)
            self.assertTrue(made.endswith(b"\r\n\r\nh=C3=B6\r\n"), made)
        self.assertNotIn(b"utf-8", seven_bit(b"Subject: x\r\n\r\n\xff"))

    def test_field_in_latin_1(self) -> None:
        """A field of another age is UTF-8 then."""
        self.assertIn("Subject: \u00fc".encode(), seven_bit(b"Subject: \xfc\r\n\r\nhi"))

    @given(st.binary(max_size=300))
    def test_anything(self, body: bytes) -> None:
        """Whatever the bytes, a text's come back."""
        content = b"Content-Type: text/plain\r\nMIME-Version: 1.0\r\n\r\n" + body
        self.assertEqual(self.leaves(seven_bit(content)), [("text/plain", body)])

    @given(st.binary(max_size=400))
    def test_hostile(self, content: bytes) -> None:
        """Nothing raises."""
        seven_bit(content)
