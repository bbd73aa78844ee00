"""Answers: to whom, about what, in which thread, and what they repeat."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailbox.model import MailboxMessage
from mailrelay.message.mailboxes import NamedAddress, list_text
from mailrelay.pages import answering
from mailrelay.pages.answering import Original, letter_of, original_of
from mailrelay.pages.letter import MOST_TEXT, How, Letter
from mailrelay.smtp.address import Address


def owns(address: Address) -> bool:
    """One address with its suffixes, and a catch-all."""
    return address.localpart.partition("+")[0] == "me" or address.domain == "catch.test"


def message(text: str = "Hello,\n> before\n\nbye\n", **fields: str) -> EmailMessage:
    """One that came in."""
    made = EmailMessage()
    given = {
        "From": "Ann <ann@example.net>",
        "To": "me@example.org",
        "Subject": "a bill",
        "Date": "Sun, 22 Nov 2026 10:00:00 +0200",
        "Message_ID": "<b@x>",
        **fields,
    }
    for name, value in given.items():
        if value:
            made[name.replace("_", "-")] = value
    made.set_content(text)
    return made


def original(made: EmailMessage) -> Original:
    """It, as it is read."""
    return original_of(made.as_bytes().replace(b"\n", b"\r\n"))


def answer(made: EmailMessage, how: How = How.REPLY, came_to: str = "me@example.org") -> Letter:
    """The form for it."""
    listed = MailboxMessage(7, 1, "Inbox", 1, 2, [], "ann@example.net", came_to, 0.0, 1, "x")
    return letter_of(original(made), listed, how, owns)


class RecipientTests(SynchronousTestCase):
    """Who gets an answer (RFC 5322 section 3.6.3)."""

    def to(self, made: EmailMessage, how: How = How.REPLY) -> tuple[str, str]:
        """To and Cc."""
        letter = answer(made, how)
        return letter.to, letter.cc

    def test_author(self) -> None:
        """Who wrote it, or where answers are wanted."""
        self.assertEqual(self.to(message()), ('"Ann" <ann@example.net>', ""))
        self.assertEqual(self.to(message(Reply_To="list@x.test"))[0], "list@x.test")

    def test_all(self) -> None:
        """The others too, once, and never oneself."""
        made = message(
            To='me+a@example.org, "B, C" <b@x.test>, ann@example.net',
            Cc="b@x.test, x@catch.test, d@xn--bcher-kva.example",
        )
        self.assertEqual(
            self.to(made, How.REPLY_ALL),
            ('"Ann" <ann@example.net>', '"B, C" <b@x.test>, d@bücher.example'),
        )

    def test_own(self) -> None:
        """A letter of one's own is followed up to whom it went to; to oneself alone, to oneself."""
        self.assertEqual(self.to(message(From="me@example.org", To="b@x.test"))[0], "b@x.test")
        self.assertEqual(self.to(message(From="me@example.org"))[0], "me@example.org")

    def test_many(self) -> None:
        """A list that is longer than the field is cut between two."""
        made = message(To=", ".join(f"{'x' * 50}{n}@example.net" for n in range(300)))
        found = self.to(made, How.REPLY_ALL)[1]
        self.assertLessEqual(len(found), 10_000)
        self.assertTrue(found.endswith("@example.net"))

    def test_each_once(self) -> None:
        """Each is written out once, however many do not fit: long domains take time."""
        written: list[NamedAddress] = []

        def noted(people: Sequence[NamedAddress]) -> str:
            written.extend(people)
            return list_text(people)

        self.patch(answering, "list_text", noted)
        domain = ".".join(["xn--mnchen-3ya"] * 10)
        made = message(To=", ".join(f"{'x' * 50}{n}@{domain}" for n in range(300)))
        self.assertTrue(self.to(made, How.REPLY_ALL)[1].endswith(".münchen"))
        self.assertLessEqual(len(written), 300)

    def test_forward(self) -> None:
        """Nobody, so far."""
        self.assertEqual(self.to(message(), How.FORWARD), ("", ""))


class SenderTests(SynchronousTestCase):
    """The address that it came to, as far as one may send as that."""

    def test_sender(self) -> None:
        """Its own form, suffix and all; else one that it names; else the account's first."""
        for came_to, to, expected in (
            ("me+shop@example.org", "x@y.test", "me+shop@example.org"),
            ("any@catch.test", "x@y.test", "any@catch.test"),
            ("list@example.org", "x@y.test, me@example.org", "me@example.org"),
            ("list@example.org", "list@example.org", ""),
            ("", "x@y.test", ""),
        ):
            self.assertEqual(answer(message(To=to), came_to=came_to).from_, expected, came_to)


class TextTests(SynchronousTestCase):
    """Subject, thread, and what is repeated."""

    def test_subject(self) -> None:
        """Re: and Fwd: once."""
        for subject, how, expected in (
            ("a bill", How.REPLY, "Re: a bill"),
            ("RE: a bill", How.REPLY_ALL, "RE: a bill"),
            ("Re: a bill", How.FORWARD, "Fwd: Re: a bill"),
            ("Fw: a bill", How.FORWARD, "Fw: a bill"),
            ("", How.REPLY, "Re: "),
        ):
            self.assertEqual(answer(message(Subject=subject), how).subject, expected)

    def test_thread(self) -> None:
        """RFC 5322 section 3.6.4; without an id of its own there is no thread."""
        self.assertEqual(original(message()).references, ["<b@x>"])
        made = message(References="<1@x> <2@x>", In_Reply_To="<2@x>")
        self.assertEqual(original(made).references, ["<1@x>", "<2@x>", "<b@x>"])
        self.assertEqual(original(message(In_Reply_To="<9@x>")).references, ["<9@x>", "<b@x>"])
        self.assertEqual(original(message(Message_ID="", References="<1@x>")).references, [])
        many = message(References=" ".join(f"<{n}@x>" for n in range(200)))
        found = original(many).references
        self.assertEqual((len(found), found[0], found[-2]), (22, "<0@x>", "<199@x>"))

    def test_quoted(self) -> None:
        """Who wrote what, and when."""
        text = answer(message()).text
        self.assertEqual(
            text, "\n\nOn 2026-11-22 08:00 UTC Ann wrote:\n> Hello,\n>> before\n>\n> bye\n"
        )

    def test_html_alone(self) -> None:
        """HTML is quoted as text."""
        made = message()
        made.set_content("<p>Hello <b>you</b><script>x</script>", subtype="html")
        self.assertIn("> Hello you\n", answer(made).text)

    def test_long(self) -> None:
        """There is room for one's own words."""
        for line in ("word " * 9 + "\n", "\n", "x"):
            letter = answer(message(line * 30_000))
            self.assertLess(len(letter.text), MOST_TEXT)

    def test_forwarded(self) -> None:
        """What its header says, its text, and its attachments."""
        made = message(Cc="c@x.test")
        made.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
        letter = answer(made, How.FORWARD)
        self.assertIn('From: "Ann" <ann@example.net>\nDate: 2026-11-22 08:00 UTC\n', letter.text)
        self.assertIn("Subject: a bill\nTo: me@example.org\nCc: c@x.test\n\nHello,\n", letter.text)
        self.assertEqual(letter.parts, ["1"])
        self.assertEqual(answer(made).parts, ())

    def test_anything(self) -> None:
        """Whatever came, there is an answer to it."""
        for content in (
            b"",
            b"\r\n",
            b"\xff\x00",
            b"From: \r\n x\r\n\r\n",
            b"Content-Type: x/y\r\n",
        ):
            listed = MailboxMessage(7, 1, "Inbox", 1, 2, [], "", "", 0.0, 1, "x")
            for how in How:
                letter_of(original_of(content), listed, how, owns)
