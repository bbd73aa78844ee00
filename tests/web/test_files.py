"""Names of files, as a response's header has them."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.web.files import disposition
from mailrelay.web.headers import field_lines


class DispositionTests(SynchronousTestCase):
    """disposition."""

    def test_names(self) -> None:
        """Without folders, without what ends a string, in two spellings beyond ASCII."""
        for name, told in (
            ("a b.pdf", 'filename="a b.pdf"'),
            ("../../etc/passwd", 'filename="passwd"'),
            ("C:\\x\\y.exe", 'filename="y.exe"'),
            ('a".html', 'filename="a_.html"'),
            ("a\r\nX: y", 'filename="a__X_ y"'),
            ("", 'filename="part"'),
            ("..", 'filename="part"'),
            ("50%.txt", "filename=\"50_.txt\"; filename*=UTF-8''50%25.txt"),
            ("bär", "filename=\"b_r\"; filename*=UTF-8''b%C3%A4r"),
            ("exe.\u202etxt", 'filename="exe._txt"'),
        ):
            self.assertEqual(disposition(name), f"attachment; {told}")

    @given(st.text(max_size=400))
    def test_any_name(self, name: str) -> None:
        """It is one field, which says a name and nothing else."""
        told = disposition(name)
        [line] = field_lines([("Content-Disposition", told)])
        self.assertEqual(line.count(b"\r\n"), 1)
        self.assertIn(told.count('"'), (2,))
        self.assertNotIn("/", unquote(told.partition("''")[2]))
