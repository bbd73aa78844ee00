"""Pages that wait for a new message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.pages.arrivals import MOST_OF_ACCOUNT, MOST_STREAMS, Arrivals


class StreamsTests(SynchronousTestCase):
    """How many wait at once."""

    def status(self, account_id: int, *waiting: int) -> int:
        """What the next page of an account is answered, while those of others wait."""
        nothing: Any = None
        pages = Arrivals(nothing, nothing, nothing, list(waiting))
        visitor = SimpleNamespace(token="x")
        asked: Any = SimpleNamespace(
            account_id=account_id, visitor=visitor, number=lambda name: None
        )
        return self.successResultOf(Deferred.fromCoroutine(pages.arrivals(asked))).status

    def test_of_account(self) -> None:
        """An account has so many, and leaves room for others."""
        waiting = [7] * MOST_OF_ACCOUNT
        self.assertEqual(self.status(7, *waiting[1:]), 200)
        self.assertEqual(self.status(7, *waiting), 503)
        self.assertEqual(self.status(8, *waiting), 200)

    def test_of_all(self) -> None:
        """All together have so many."""
        self.assertEqual(self.status(8, *range(100, 100 + MOST_STREAMS)), 503)
