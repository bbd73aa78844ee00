"""The directory as a snapshot: whose mail it is, who logs in, who owns an address."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import (
    CATCH_ALL,
    Account,
    Directory,
    Domain,
    DomainDisabled,
    Foreign,
    NoSuchUser,
    Resolution,
    matched_localpart,
)
from mailrelay.smtp.address import Address

ALICE, BOB, ROOT = Account(1, "alice"), Account(2, "bob"), Account(3, "root")
DIRECTORY = Directory(
    domains={
        "example.org": Domain(1, "example.org"),
        "dash.example": Domain(2, "dash.example", separator="-"),
        "plain.example": Domain(3, "plain.example", separator="", case_sensitive=True),
        "all.example": Domain(4, "all.example"),
        "off.example": Domain(5, "off.example", disabled=True),
    },
    accounts={1: ALICE, 2: BOB, 3: ROOT},
    addresses={
        ("alice", "example.org"): 1,
        ("bob", "dash.example"): 2,
        ("Bob+x", "plain.example"): 2,
        (CATCH_ALL, "all.example"): 2,
        ("alice", "all.example"): 1,
        ("alice", "off.example"): 1,
        ("gone", "example.org"): 99,
    },
    postmaster_id=3,
)


def whose(text: str, directory: Directory = DIRECTORY) -> Resolution:
    """Whose mail for ``text`` is."""
    return directory.resolve(Address.parse(text))


class ResolveTests(SynchronousTestCase):
    """Directory.resolve."""

    def test_each(self) -> None:
        """Case, suffixes, catch-all, unknown, disabled and foreign."""
        for text, expected in {
            "alice@example.org": ALICE,
            "ALICE+tag@EXAMPLE.org": ALICE,
            "alice-tag@example.org": NoSuchUser(),
            "bob-tag@dash.example": BOB,
            "bob+tag@dash.example": NoSuchUser(),
            "Bob+x@plain.example": BOB,
            "bob+x@plain.example": NoSuchUser(),
            "anybody@all.example": BOB,
            "alice@all.example": ALICE,
            '""@all.example': BOB,
            "+@example.org": NoSuchUser(),
            "+alice@example.org": NoSuchUser(),
            "gone@example.org": NoSuchUser(),
            "alice@off.example": DomainDisabled(),
            "alice@foreign.example": Foreign(),
            "alice@sub.example.org": Foreign(),
            "alice@[192.0.2.1]": Foreign(),
        }.items():
            with self.subTest(text):
                self.assertEqual(whose(text), expected)

    def test_always_accepted(self) -> None:
        """They reach somebody (RFC 5321 section 4.5.1, RFC 2142 section 4), and so do reports."""
        reports = ("DMARC-reports@example.org", "tls-reports@dash.example")
        for text in ("postmaster@example.org", "Abuse@dash.example", *reports):
            self.assertEqual(whose(text), ROOT)
            self.assertEqual(whose(text, evolve(DIRECTORY, postmaster_id=None)), NoSuchUser())
        self.assertEqual(DIRECTORY.resolve(Address("postmaster", "")), ROOT)
        self.assertEqual(Directory().resolve(Address("postmaster", "")), Foreign())
        self.assertEqual(whose("postmaster@all.example"), BOB)

    def test_localserve(self) -> None:
        """Where everything is one account's, foreign and unknown recipients are too."""
        local = evolve(DIRECTORY, everything_to=1)
        for text in ("x@foreign.example", "x@example.org"):
            self.assertEqual(whose(text, local), ALICE)
        self.assertEqual(whose("bob@dash.example", local), BOB)
        self.assertEqual(whose("x@off.example", local), DomainDisabled())


class LoginTests(SynchronousTestCase):
    """Directory.login and owns."""

    def test_login(self) -> None:
        """Any address of the account logs in, a catch-all's other addresses do not."""
        for identity, expected in {
            "alice@example.org": ALICE,
            "Alice+x@example.org": ALICE,
            "alice": None,
            "": None,
            "alice@foreign.example": None,
            "alice@off.example": None,
            "anybody@all.example": None,
            "gone@example.org": None,
            "alice@example.org\0": None,
        }.items():
            with self.subTest(identity):
                self.assertEqual(DIRECTORY.login(identity), expected)

    def test_owns(self) -> None:
        """An account sends as its addresses and what its catch-all takes, no other's."""
        for text, owner in {
            "alice+x@example.org": ALICE,
            "anybody@all.example": BOB,
            "alice@all.example": ALICE,
        }.items():
            for account in (ALICE, BOB):
                address = Address.parse(text)
                self.assertEqual(DIRECTORY.owns(account, address), account == owner, text)
        self.assertFalse(DIRECTORY.owns(ALICE, Address.parse("alice@foreign.example")))

    def test_owns_across_a_change(self) -> None:
        """Who logged in before a setting of the account changed goes on owning its addresses."""
        before = evolve(ALICE, is_called_for_outgoing=True)
        self.assertTrue(DIRECTORY.owns(before, Address.parse("alice@example.org")))

    def test_addresses_of(self) -> None:
        """They are listed as written, a catch-all as its domain."""
        self.assertEqual(
            DIRECTORY.addresses_of(BOB), ["@all.example", "Bob+x@plain.example", "bob@dash.example"]
        )

    def test_senders_of(self) -> None:
        """What is a whole domain is no sender."""
        self.assertEqual(DIRECTORY.senders_of(BOB), ["Bob+x@plain.example", "bob@dash.example"])

    def test_secrets(self) -> None:
        """An account's repr shows no hash and no verifier (threat 21)."""
        shown = repr(Account(1, "a", password_hash="$argon2id$x", scram_verifier="1$2$3$4"))
        self.assertNotIn("argon2", shown)
        self.assertNotIn("1$2", shown)

    @given(st.text(max_size=20))
    def test_any_identity(self, identity: str) -> None:
        """No identity makes it raise."""
        DIRECTORY.login(identity)

    @given(st.text("ab+-", max_size=8))
    def test_matching_is_stable(self, localpart: str) -> None:
        """What is matched once matches itself."""
        domain = Domain(1, "example.org")
        once = matched_localpart(localpart, domain)
        if not once.startswith("+"):
            self.assertEqual(matched_localpart(once, domain), once)
