"""What an account may be set to."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.account import (
    LONGEST_RETENTION,
    EndpointChange,
    Unset,
    checked_endpoint,
    checked_logins,
    checked_retention,
)
from mailrelay.control.errors import Refusal
from mailrelay.directory.model import Account, Directory, Domain
from mailrelay.webhooks.call import EndpointKind

DIRECTORY = Directory(
    {
        "example.org": Domain(1, "example.org"),
        "plain.example": Domain(2, "plain.example", separator=""),
    },
    {1: Account(1, "anna"), 2: Account(2, "bert")},
    {
        ("anna", "example.org"): 1,
        ("bert", "example.org"): 2,
        ("anna", "plain.example"): 1,
        ("", "example.org"): 1,
    },
)


class EndpointTests(SynchronousTestCase):
    """Webhooks."""

    def test_urls(self) -> None:
        """An http or https URL with a host, and nothing that could be read in two ways."""
        for url in ("http://127.0.0.1:8025/out", "https://app.example.org/a?b=c%20d"):
            change = EndpointChange(EndpointKind.OUTGOING, url)
            self.assertEqual(checked_endpoint(change), change)
        for url in (
            "",
            "app.example.org/out",
            "ftp://app.example.org/",
            "https:///out",
            "https://user:secret@app.example.org/",
            "https://app.example.org/a b",
            "https://app.example.org/\r\nX: y",
            "https://app.example.org:0/",
            "https://bücher.example/",
            "https://app.example.org/" + "x" * 2000,
        ):
            error = self.assertRaises(
                Refusal, checked_endpoint, EndpointChange(EndpointKind.INCOMING, url)
            )
            self.assertIn("URL", str(error))

    def test_authorization(self) -> None:
        """It fits in a header field, and is not repeated when it does not."""
        for value in ("a\r\nb", "a\nb", "a\0b", "sécret", "secret" * 200):
            change = EndpointChange(EndpointKind.OUTGOING, authorization=value)
            error = self.assertRaises(Refusal, checked_endpoint, change)
            self.assertNotIn(value, str(error))
            self.assertNotIn(value, repr(change))
        fits = EndpointChange(EndpointKind.OUTGOING, authorization="Bearer a b=")
        self.assertEqual(checked_endpoint(fits), fits)

    def test_events(self) -> None:
        """Events are those that are told of, each once."""
        change = EndpointChange(EndpointKind.OUTGOING, events=["failed", "delivered", "failed"])
        self.assertEqual(checked_endpoint(change).events, ["delivered", "failed"])
        for event in ("incoming", "accepted", "Delivered", ""):
            wrong = EndpointChange(EndpointKind.OUTGOING, events=["failed", event])
            error = self.assertRaises(Refusal, checked_endpoint, wrong)
            self.assertIn("delivered, suppressed", str(error))


class LoginTests(SynchronousTestCase):
    """Logins whose mail gets FromIDs."""

    def test_own(self) -> None:
        """An account's own addresses with or without suffix, each once, as they are matched."""
        given = ["anna+api@EXAMPLE.org", "anna@example.org", "anna@example.org"]
        stored = json.loads(checked_logins(DIRECTORY, "anna", given))
        self.assertEqual(stored, ["anna+api@example.org", "anna@example.org"])
        self.assertEqual(checked_logins(DIRECTORY, "anna", []), "[]")

    def test_refused(self) -> None:
        """Others' addresses, catch-alls and domains without separator."""
        for login, said in (
            ("bert@example.org", "no address of anna"),
            ("anyone@example.org", "no address of anna"),
            ("anna@elsewhere.example", "no address of anna"),
            ("anna@plain.example", "no separator"),
            ("anna", "no address"),
        ):
            error = self.assertRaises(Refusal, checked_logins, DIRECTORY, "anna", [login])
            self.assertIn(said, str(error))


class RetentionTests(SynchronousTestCase):
    """How long what is retired is kept."""

    def test_bounds(self) -> None:
        """From not at all to ten years; or as the server says."""
        for given in (0.0, 259200.0, LONGEST_RETENTION):
            self.assertEqual(checked_retention("calls", given), given)
        self.assertIsNone(checked_retention("calls", Unset.SERVERS))
        for given in (-1.0, LONGEST_RETENTION + 1.0, float("nan")):
            self.assertRaises(Refusal, checked_retention, "calls", given)
