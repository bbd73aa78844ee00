"""Types that first bytes show."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.sniff import sniffed_type


class SniffTests(SynchronousTestCase):
    """sniffed_type."""

    def test_types(self) -> None:
        """The marks of the standard, and text for what has no binary byte."""
        for front, expected in (
            (b"", "text/plain; charset=utf-8"),
            (b"plain\x1btext\r\n", "text/plain; charset=utf-8"),
            ("grüß".encode(), "text/plain; charset=utf-8"),
            (b"\xef\xbb\xbf\0", "text/plain; charset=utf-8"),
            (b"\xff\xfea\0", "text/plain; charset=utf-16le"),
            (b" \n<!doctype html>", "text/html; charset=utf-8"),
            (b"<p>x", "text/html; charset=utf-8"),
            (b"<!-- x", "text/html; charset=utf-8"),
            (b"<pre>", "text/plain; charset=utf-8"),
            (b"\n<?xml version", "text/xml; charset=utf-8"),
            (b"%PDF-1.7\n\0", "application/pdf"),
            (b"GIF89a\0", "image/gif"),
            (b"\x89PNG\r\n\x1a\n\0", "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"RIFF\1\2\3\4WEBPVP8", "image/webp"),
            (b"RIFF\n\n\n\nWAVE", "audio/wave"),
            (b"\0\0\0\x18ftypmp42\0\0\0\0mp41isom", "video/mp4"),
            (b"\0\0\0\x18ftypxxxx\0\0\0\0xxxxyyyy", ""),
            (b"\0\0\0\x18ftypxxxxmp4xyyyyzzzz", ""),
            (b"\0\0\0\x19ftypmp42\0\0\0\0mp41isomx", ""),
            (b"PK\3\4", "application/zip"),
            (b"\x1f\x8b\x08", "application/x-gzip"),
            (bytes(34) + b"LP", "application/vnd.ms-fontobject"),
            (b"\0", ""),
            (b"\x01\x02", ""),
        ):
            with self.subTest(front):
                self.assertEqual(sniffed_type(front), expected)

    def test_no_more_than_512_bytes(self) -> None:
        """What comes later decides nothing."""
        self.assertEqual(sniffed_type(b"x" * 512 + b"\0"), "text/plain; charset=utf-8")
        self.assertEqual(sniffed_type(b"x" * 511 + b"\0"), "")

    @given(st.binary(max_size=600))
    def test_anything(self, front: bytes) -> None:
        """Any bytes have a type or none."""
        self.assertIsInstance(sniffed_type(front), str)
