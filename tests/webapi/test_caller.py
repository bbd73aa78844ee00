"""Who calls, as the audit has it."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.keys import APIKey
from mailrelay.directory.model import Account
from mailrelay.webapi.caller import Caller

KEY = APIKey(7, 1, "shop", b"", frozenset(), created_at=0.0)


class CallerTests(SynchronousTestCase):
    """Caller.actor."""

    def test_actor(self) -> None:
        """A login as it was typed, a key by its number; never longer than what is kept."""
        caller = Caller(Account(1, "joe"), "joe@a.example", "192.0.2.1")
        self.assertEqual(caller.actor("webapi"), "webapi:joe@a.example")
        by_key = evolve(caller, account=evolve(caller.account, key=KEY), login="")
        self.assertEqual(by_key.actor("api"), "api:key 7")
        self.assertEqual(len(evolve(caller, login="x" * 300).actor("api")), 255)
