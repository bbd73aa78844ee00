"""What is sent again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.again import without_own_fields

HEAD = (
    b"DKIM-Signature: v=1;\r\n b=abc\r\nFrom: a@b.example\r\nMessage-ID: <1@x>\r\n"
    b"BCC: x@y.example,\r\n\tz@y.example\r\nReferences: <0@x>\r\nIn-Reply-To: <0@x>\r\n"
    b"List-Unsubscribe: <https://x.example/unsubscribe/t>\r\nSubject: Message-ID: x\r\n"
)
BODY = b"\r\nMessage-ID: in the text\r\n"


class AgainTests(SynchronousTestCase):
    """``without_own_fields``."""

    def test_fields(self) -> None:
        """What was the first one's own goes, with its folded lines; the rest stays."""
        self.assertEqual(
            without_own_fields(HEAD + BODY),
            b"From: a@b.example\r\nReferences: <0@x>\r\nIn-Reply-To: <0@x>\r\n"
            b"List-Unsubscribe: <https://x.example/unsubscribe/t>\r\nSubject: Message-ID: x\r\n"
            + BODY,
        )

    def test_to_others(self) -> None:
        """They do not get a link that takes the first recipient off."""
        self.assertNotIn(b"nsubscribe", without_own_fields(HEAD + BODY, to_others=True))

    def test_no_header(self) -> None:
        """What is all body stays."""
        for content in (BODY, b"", b"\r\n", b"no header"):
            self.assertEqual(without_own_fields(content), content)

    @given(st.binary(max_size=300))
    def test_anything(self, content: bytes) -> None:
        """Nothing raises, nothing is added."""
        self.assertLessEqual(len(without_own_fields(content)), len(content))
