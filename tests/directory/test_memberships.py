"""The aliases that an account gets mail by."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.memberships import memberships
from tests.directory.test_expansion import ALICE, BOB, alias, directory


class MembershipTests(SynchronousTestCase):
    """memberships."""

    def test_own_and_around(self) -> None:
        """Where it is listed by any address, and what leads there; round in a ring, once."""
        found = directory(
            alias(1, "own", "al"),
            alias(2, "outer", "own", "bob"),
            alias(3, "outermost", "outer", "ring"),
            alias(4, "ring", "outermost"),
            alias(5, "other", "bob"),
            alias(6, "off", "alice", disabled=True),
            alias(7, "around-off", "off"),
        )
        names = [one.localpart for one in memberships(found, ALICE)]
        self.assertEqual(names, ["off", "outer", "outermost", "own", "ring"])

    def test_catch_all(self) -> None:
        """A member that its catch-all gets is it; nobody else is."""
        found = directory(alias(1, "list", "any@all.example"))
        self.assertEqual([one.id for one in memberships(found, BOB)], [1])
        self.assertEqual(memberships(found, ALICE), [])
