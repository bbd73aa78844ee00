"""What a message has to say, and to have, to be found."""

from __future__ import annotations

from email.message import EmailMessage

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailbox.searching import ContentQuery, fits


def message(*, html: bool = False, file: bool = False) -> bytes:
    """One with a text."""
    made = EmailMessage()
    made.set_content("The bill of Übersee,\nto be paid.\n")
    if html:
        made.add_alternative("<p>An <b>of</b>fer &amp; more</p>", subtype="html")
    if file:
        made.add_attachment(b"x", maintype="application", subtype="pdf", filename="a.pdf")
    return made.as_bytes().replace(b"\n", b"\r\n")


class FitsTests(SynchronousTestCase):
    """fits."""

    def test_text(self) -> None:
        """Within text and HTML as people read them, whatever the case and the line."""
        for text, has in {
            "BILL": True,
            "übersee, to be": True,
            "offer & more": True,
            "<b>": False,
            "Content-Type": False,
        }.items():
            self.assertEqual(fits(message(html=True), ContentQuery(text)), has, text)

    def test_attachment(self) -> None:
        """What is neither text nor HTML."""
        for content, has in ((message(html=True), False), (message(file=True), True), (b"", False)):
            for wanted in (True, False):
                found = fits(content, ContentQuery(has_attachment=wanted))
                self.assertEqual(found, has is wanted)
