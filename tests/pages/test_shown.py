"""A message as it is shown."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.pages.shown import ShownPerson, shown_message


class ShownTests(SynchronousTestCase):
    """``shown_message``."""

    def test_people(self) -> None:
        """As people read them already: the page has nothing to decode, which takes time."""
        shown = shown_message(
            b"From: =?utf-8?q?J=C3=B6?= <j@xn--bcher-kva.example>\r\n"
            b"To: a@x.test, b@x.test\r\nReply-To: c@x.test\r\n\r\nhello\r\n"
        )
        self.assertEqual(shown.from_, [ShownPerson("Jö", "j@bücher.example")])
        self.assertEqual([one.address for one in shown.to], ["a@x.test", "b@x.test"])
        self.assertEqual([one.address for one in shown.reply_to], ["c@x.test"])
        self.assertEqual(shown.cc, [])
