"""Who may send where (threat 1, as far as policy decides)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Account, Directory, Domain
from mailrelay.policy.relay import (
    DOMAIN_DISABLED,
    NO_FROM,
    NO_SUCH_USER,
    NOT_YOUR_ADDRESS,
    NOT_YOUR_FROM,
    RELAYING_DENIED,
    Submitter,
    refuse_from,
    refuse_recipient,
    refuse_sender,
)
from mailrelay.smtp.address import Address

ALICE, BOB = Account(1, "alice"), Account(2, "bob")
DIRECTORY = Directory(
    domains={
        "example.org": Domain(1, "example.org"),
        "off.example": Domain(2, "off.example", disabled=True),
    },
    accounts={1: ALICE, 2: BOB},
    addresses={("alice", "example.org"): 1, ("bob", "example.org"): 2, ("x", "off.example"): 1},
    postmaster_id=1,
)
STRANGER, USER, NETWORK = Submitter(), Submitter(ALICE), Submitter(trusted=True)


def address(text: str) -> Address:
    """The address that ``text`` is."""
    return Address.parse(text)


class RecipientTests(SynchronousTestCase):
    """refuse_recipient."""

    def test_open_relay(self) -> None:
        """No trick in the localpart makes a stranger's mail go elsewhere."""
        for text in (
            "victim@foreign.example",
            "victim%foreign.example@foreign.example",
            '"victim@example.org"@foreign.example',
            "example.org!victim@foreign.example",
            "victim@[127.0.0.1]",
            "victim@[IPv6:::1]",
            "victim@sub.example.org",
            "victim@example.org.foreign.example",
            "alice@localhost",
        ):
            with self.subTest(text):
                self.assertEqual(
                    refuse_recipient(DIRECTORY, STRANGER, address(text)), RELAYING_DENIED
                )
                for submitter in (USER, NETWORK):
                    self.assertIsNone(refuse_recipient(DIRECTORY, submitter, address(text)))

    def test_hacks_at_our_domain(self) -> None:
        """At our own domain they are unknown users, for everybody."""
        for text in (
            "a%foreign.example@example.org",
            "f.example!a@example.org",
            '"a@f"@example.org',
        ):
            for submitter in (STRANGER, USER, NETWORK):
                self.assertEqual(
                    refuse_recipient(DIRECTORY, submitter, address(text)), NO_SUCH_USER
                )

    def test_local(self) -> None:
        """Known users are taken, those of a disabled domain later."""
        self.assertIsNone(refuse_recipient(DIRECTORY, STRANGER, address("Bob+x@EXAMPLE.org")))
        self.assertEqual(
            refuse_recipient(DIRECTORY, STRANGER, address("x@off.example")), DOMAIN_DISABLED
        )

    def test_postmaster(self) -> None:
        """postmaster without a domain is ours, or nobody's if there is none."""
        bare = Address("postmaster", "")
        self.assertIsNone(refuse_recipient(DIRECTORY, STRANGER, bare))
        self.assertEqual(refuse_recipient(Directory(), NETWORK, bare), RELAYING_DENIED)

    def test_may_relay(self) -> None:
        """Only a login or a listed network relays."""
        self.assertEqual([s.may_relay for s in (STRANGER, USER, NETWORK)], [False, True, True])


class SenderTests(SynchronousTestCase):
    """refuse_sender and refuse_from."""

    def test_sender(self) -> None:
        """A user sends as himself or null; strangers and networks as anybody."""
        bob = address("bob@example.org")
        self.assertIsNone(refuse_sender(DIRECTORY, USER, None))
        self.assertIsNone(refuse_sender(DIRECTORY, USER, address("alice+news@example.org")))
        self.assertEqual(refuse_sender(DIRECTORY, USER, bob), NOT_YOUR_ADDRESS)
        self.assertEqual(refuse_sender(DIRECTORY, USER, address("a@f.example")), NOT_YOUR_ADDRESS)
        self.assertIsNone(refuse_sender(DIRECTORY, STRANGER, bob))
        self.assertIsNone(refuse_sender(DIRECTORY, NETWORK, bob))

    def test_from(self) -> None:
        """Every From address must be the user's, and there must be one."""
        alice, bob = address("alice@example.org"), address("bob@example.org")
        self.assertIsNone(refuse_from(DIRECTORY, USER, [alice]))
        self.assertEqual(refuse_from(DIRECTORY, USER, []), NO_FROM)
        self.assertEqual(refuse_from(DIRECTORY, USER, [alice, bob]), NOT_YOUR_FROM)
        self.assertIsNone(refuse_from(DIRECTORY, STRANGER, []))
