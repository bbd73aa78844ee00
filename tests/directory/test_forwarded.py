"""Where mail of accounts goes that goes elsewhere."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.expansion import forwarded
from mailrelay.directory.model import Directory
from mailrelay.smtp.address import Address
from tests.directory.test_expansion import ALICE, ANN, BOB, PLAIN

AT_ALICE, AT_BOB = Address("alice", "example.org"), Address("bob", "example.org")


def going(alice: Address, bob: Address | None = None, *, keeps_copy: bool = False) -> Directory:
    """Where mail of the two goes."""
    first = evolve(ALICE, forward_to=alice, forward_keeps_copy=keeps_copy)
    return evolve(PLAIN, accounts={1: first, 2: evolve(BOB, forward_to=bob)})


def reached(directory: Directory) -> list[str]:
    """Who gets mail for Alice."""
    found = forwarded(directory, directory.accounts[1], AT_ALICE)
    return [str(member.address) for member in found.members]


class ForwardedTests(SynchronousTestCase):
    """forwarded."""

    def test_goes_on(self) -> None:
        """To the end of the way, and a copy stays where that is wished for."""
        self.assertEqual(reached(going(ANN)), [str(ANN)])
        self.assertEqual(reached(going(AT_BOB, ANN)), [str(ANN)])
        self.assertEqual(reached(going(ANN, keeps_copy=True)), [str(AT_ALICE), str(ANN)])

    def test_is_never_lost(self) -> None:
        """What would go round, or to nobody, stays in the last mailbox."""
        self.assertEqual(reached(going(AT_BOB, AT_ALICE)), [str(AT_BOB)])
        self.assertEqual(reached(going(AT_ALICE)), [str(AT_ALICE)])
        self.assertEqual(reached(going(Address("gone", "example.org"))), [str(AT_ALICE)])
