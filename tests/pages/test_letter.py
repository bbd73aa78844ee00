"""What is typed for a message: read, bounded, and answered beside the field."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.pages.letter import Letter, NotSent, ready_letter
from mailrelay.smtp.address import Address

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z


def owns(address: Address) -> bool:
    """One address, and a suffix."""
    return str(address) in ("me@example.org", "me+x@example.org")


def typed(**fields: Any) -> Letter:
    """A letter that can be sent, but for ``fields``."""
    given = {"from_": "me@example.org", "to": "ann@example.net", "subject": "hi", "text": "yes"}
    return Letter(**{**given, **fields})


class LetterTests(SynchronousTestCase):
    """ready_letter."""

    def problems(self, **fields: Any) -> dict[str, str]:
        """What is wrong with such a letter."""
        with self.assertRaises(NotSent) as caught:
            ready_letter(typed(**fields), owns, NOW)
        return dict(caught.exception.problems)

    def test_people(self) -> None:
        """Lists are read as RFC 5322 has them, in any script."""
        to = 'Ann <ann@example.org>, "B, C" <b@x.test>; joe@bücher.example'
        ready = ready_letter(typed(to=to, cc="用户@例え.jp", bcc="x@y.test"), owns, NOW)
        self.assertEqual(
            [(one.name, str(one.address)) for one in (*ready.to, *ready.cc, *ready.bcc)],
            [
                ("Ann", "ann@example.org"),
                ("B, C", "b@x.test"),
                ("", "joe@xn--bcher-kva.example"),
                ("", "用户@xn--r8jz45g.jp"),
                ("", "x@y.test"),
            ],
        )

    def test_no_address(self) -> None:
        """What is none is named; nothing is left out silently."""
        for text, named in {
            "nobody": "nobody",
            "ann@example.org, joe": "joe",
            "ann@example.org joe@example.org": "ann@example.org joe@example.org",
            "Ann <ann@example.org> <joe@example.org>": "Ann <ann@example.org> <joe",
            "Ann <ann@>": "ann@",
            "Ann <ann@example.org": "Ann ann@example.org",
        }.items():
            self.assertIn(f"“{named}", self.problems(to=text)["to"], text)

    def test_all_at_once(self) -> None:
        """Each mistake is told by its field."""
        found = self.problems(
            from_="you@example.net", to="x", cc="y", bcc="z", reply_to="w", at="tomorrow"
        )
        self.assertEqual(set(found), {"from", "to", "cc", "bcc", "reply_to", "at"})
        self.assertEqual(set(self.problems(to="", subject="a\nb")), {"subject"})
        self.assertEqual(set(self.problems(to="")), {"to"})
        self.assertEqual(set(self.problems(other_from="me")), {"other_from"})
        self.assertEqual(set(self.problems(from_="")), {"from"})

    def test_bounds(self) -> None:
        """No field is without end, and none is cut silently."""
        long = "x" * 100_001
        for field in ("to", "cc", "bcc", "reply_to", "subject", "text"):
            self.assertIn("longer than", self.problems(**{field: long})[field], field)
        for character in "\r\n\0\x85\u2028\ud800":
            for field in ("to", "subject"):
                self.assertIn(field, self.problems(**{field: f"a{character}b@x"}))

    def test_sender(self) -> None:
        """Any form of an address that is one's own; one that is typed wins."""
        ready = ready_letter(typed(from_="no@x.test", other_from="me+x@example.org"), owns, NOW)
        self.assertEqual(str(ready.from_), "me+x@example.org")

    def test_time(self) -> None:
        """In UTC, from now on for 60 days."""
        self.assertIsNone(ready_letter(typed(), owns, NOW).at)
        ready = ready_letter(typed(at="2026-11-18T12:06"), owns, NOW)
        self.assertEqual(ready.at, NOW + 3600 - 40)
        for text, said in {
            "2026-11-18T10:06": "over",
            "2027-11-18T10:06": "60 days",
            "2026-13-18T10:06": "no such",
            "2026-11-18T10:06Z": "no time",
            "9" * 50: "no time",
        }.items():
            self.assertIn(said, self.problems(at=text)["at"], text)

    def test_text(self) -> None:
        """A form's line ends are the message's; an empty text is one line."""
        self.assertEqual(ready_letter(typed(text="a\r\nb\r\n\r\n"), owns, NOW).text, "a\nb\n")
        self.assertEqual(ready_letter(typed(text=""), owns, NOW).text, "\n")
