"""A Send request as a draft: sender, recipients, times, files."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Account, Directory, Domain
from mailrelay.message.draft import Draft
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.draft import (
    LONGEST_HOLD,
    People,
    Upload,
    draft_of,
    people_of,
    release_at,
    time_of,
)
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.types import File, SendRequest
from mailrelay.webhooks.types import NameAddress

ALICE = Account(1, "alice", full_name="Alice A.")
DIRECTORY = Directory(
    {
        "example.org": Domain(1, "example.org"),
        "off.example": Domain(2, "off.example", disabled=True),
    },
    {1: ALICE},
    {("alice", "example.org"): 1, ("alice", "off.example"): 1},
)
CALLER = Caller(ALICE, "alice+app@example.org", "192.0.2.1")
NOW = 1_800_000_000.0


def people(*addresses: str) -> list[NameAddress]:
    """Addresses without names."""
    return [NameAddress(address=one) for one in addresses]


def request(**fields: Any) -> SendRequest:
    """A request that is fine but for ``fields``."""
    return SendRequest(**{"to": people("joe@x.example"), "text": "hi", **fields})


def whom(asked: SendRequest, most: int = 10) -> People:
    """Its sender and recipients."""
    return people_of(asked, CALLER, DIRECTORY, most)


def draft(asked: SendRequest, *uploads: Upload) -> Draft:
    """What is composed of it."""
    return draft_of(
        asked,
        whom(asked),
        uploads,
        now=NOW,
        message_id="<made@mx>",
        user_agent="test",
        boundary=lambda: "b",
    )


class PeopleTests(SynchronousTestCase):
    """people_of."""

    def refused(self, **fields: Any) -> str:
        """The code with which a request is refused."""
        error: APIError = self.assertRaises(APIError, whom, request(**fields))
        return error.code

    def test_whom_it_is_from(self) -> None:
        """Without From it is the login as it was typed, with the account's name."""
        found = whom(request())
        self.assertEqual(
            (found.from_.name, str(found.from_.address)), ("Alice A.", "alice+app@example.org")
        )

    def test_recipients(self) -> None:
        """To, CC and BCC in order, as they were written, twice if they are there twice."""
        asked = request(
            to=people("A@X.example"), cc=people("b@x.example"), bcc=people("A@X.example")
        )
        told = [(text, str(address)) for text, address in whom(asked).recipients]
        self.assertEqual(
            told,
            [
                ("A@X.example", "A@x.example"),
                ("b@x.example", "b@x.example"),
                ("A@X.example", "A@x.example"),
            ],
        )

    def test_refused(self) -> None:
        """Each mistake has its code; the earlier step wins."""
        self.assertEqual(self.refused(text="", to=[]), "missingBody")
        self.assertEqual(self.refused(from_=people("a", "b")), "multipleFrom")
        self.assertEqual(
            self.refused(from_=people("bob@example.org"), to=people("x")), "badAddress"
        )
        self.assertEqual(self.refused(from_=people("bob@example.org"), to=[]), "badFrom")
        self.assertEqual(self.refused(from_=people("alice@off.example")), "domainDisabled")
        self.assertEqual(self.refused(to=[]), "noRecipients")
        self.assertEqual(self.refused(to=people(*["a@x.example"] * 11)), "user")
        self.assertEqual(
            self.refused(bcc=[NameAddress(name="a\rb", address="a@x.example")]), "user"
        )

    def test_smtputf8(self) -> None:
        """Only a localpart needs it: a domain is written in A-labels."""
        self.assertFalse(whom(request(to=people("a@bücher.example"))).needs_smtputf8)
        self.assertTrue(whom(request(bcc=people("ü@x.example"))).needs_smtputf8)


class TimeTests(SynchronousTestCase):
    """time_of and release_at."""

    def test_times(self) -> None:
        """RFC 3339 with an offset; Go's zero time is none."""
        for text, at in (
            ("2027-01-15T08:00:00Z", NOW),
            ("2027-01-15T09:00:00+01:00", NOW),
            ("2027-01-15T08:00:00.123456789Z", NOW + 0.123456),
        ):
            time = time_of("Date", text)
            assert time is not None
            self.assertAlmostEqual(time.timestamp(), at, places=5)
        for none in (None, "0001-01-01T00:00:00Z"):
            self.assertIsNone(time_of("Date", none))

    def test_no_times(self) -> None:
        """Anything else is a protocol error that names the field."""
        for text in ("", "now", "2027-01-15", "2027-01-15 08:00:00Z", "2027-01-15T08:00:00"):
            self.refused(text)
        for text in ("2027-13-15T08:00:00Z", "20270115T080000Z", "2027-01-15T08:00:00\rZ"):
            self.refused(text)
        self.refused("٢٠٢٧-01-15T08:00:00Z")

    @given(st.text(max_size=30))
    def test_only_one_error(self, text: str) -> None:
        """Whatever comes, only the declared exception leaves."""
        try:
            time_of("Date", text)
        except APIError as error:
            self.assertEqual(error.code, "protocol")

    def refused(self, text: str) -> None:
        """It must be."""
        error = self.assertRaises(APIError, time_of, "Date", text)
        self.assertEqual(error.code, "protocol")
        self.assertIn("Date", error.message)

    def test_release(self) -> None:
        """Up to 60 days ahead, and any time that is past."""
        self.assertIsNone(release_at(request(), NOW))
        past = request(future_release="2001-01-01T00:00:00Z")
        self.assertLess(release_at(past, NOW) or NOW, NOW)
        last = request(future_release="2027-03-16T08:00:00Z")
        self.assertEqual(release_at(last, NOW), NOW + LONGEST_HOLD)
        late = request(future_release="2027-03-16T08:00:01Z")
        self.assertEqual(self.assertRaises(APIError, release_at, late, NOW).code, "user")


class DraftTests(SynchronousTestCase):
    """draft_of."""

    def test_defaults(self) -> None:
        """Date is now and the id is made."""
        made = draft(request())
        self.assertEqual(
            (made.date, made.message_id), ("Fri, 15 Jan 2027 08:00:00 +0000", "<made@mx>")
        )

    def test_own(self) -> None:
        """What is given is kept."""
        made = draft(
            request(
                message_id="<own@x>",
                date="2001-02-03T04:05:06-07:00",
                references=["<a@b>"],
                headers=[["X-A", "b"]],
                reply_to=people("ü@x.example"),
            )
        )
        self.assertEqual(made.date, "Sat, 03 Feb 2001 04:05:06 -0700")
        self.assertEqual((made.message_id, made.headers), ("<own@x>", [("X-A", "b")]))
        self.assertTrue(made.smtputf8)

    def test_require_tls(self) -> None:
        """False is neither true nor null: it is said in the message, once."""
        no = ("TLS-Required", "No")
        for require_tls, headers, expected in (
            (None, [], []),
            (True, [], []),
            (False, [], [no]),
            (False, [["X-A", "b"]], [("X-A", "b"), no]),
            (False, [["tls-required", "No"]], [("tls-required", "No")]),
        ):
            made = draft(request(require_tls=require_tls, headers=headers))
            self.assertEqual(made.headers, expected)

    def test_refused(self) -> None:
        """An id without brackets, a header that is no pair, a bad ReplyTo."""
        for fields, code in (
            ({"message_id": "own@x"}, "malformedMessageID"),
            ({"headers": [["X-A"]]}, "protocol"),
            ({"reply_to": people("x")}, "badAddress"),
        ):
            error = self.assertRaises(APIError, draft, request(**fields))
            self.assertEqual(error.code, code)

    def test_files(self) -> None:
        """Those of the JSON, then the uploads of that field; base64 goes on as it came."""
        uploads = [
            Upload(field, field, "", "", 3, lambda: iter([b"abc"]))
            for field in ("attachedfile", "inlinefile", "other")
        ]
        made = draft(request(attached_files=[File(name="json", data="YWJj")]), *uploads)
        names = [(file.name, file.is_base64) for file in made.attached_files]
        self.assertEqual(names, [("json", True), ("attachedfile", False)])
        self.assertEqual(b"".join(made.attached_files[0].read()), b"YWJj")
        self.assertEqual([file.name for file in made.inline_files], ["inlinefile"])
        self.assertEqual(made.alternative_files, [])
