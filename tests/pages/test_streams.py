"""Pages that wait for a new message."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailbox.access import MailboxPage
from mailrelay.observe.bell import Bell
from mailrelay.pages.arrivals import KEEP_ALIVE_EVERY, MOST_OF_ACCOUNT, MOST_STREAMS, Arrivals


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

    def test_end_of_session(self) -> None:
        """Who is logged out is told of nothing more, also where there is always news."""
        clock, ids = Clock(), count(1)
        told: list[bytes] = []
        sessions = SimpleNamespace(find=lambda token: succeed("visitor"))
        doors: Any = SimpleNamespace(sessions=sessions)
        store: Any = SimpleNamespace(
            find=lambda *_: succeed(MailboxPage([SimpleNamespace(id=next(ids))], None))  # type: ignore[list-item]
        )
        pages = Arrivals(doors, store, Bell(clock))

        async def tell() -> None:
            async for part in pages._arrivals(7, "token", 0):
                told.append(part)

        telling = Deferred.fromCoroutine(tell())
        clock.pump([1.0] * int(2 * KEEP_ALIVE_EVERY))
        self.assertNoResult(telling)
        self.assertGreater(len(told), KEEP_ALIVE_EVERY)
        sessions.find = lambda token: succeed(None)
        clock.pump([1.0] * int(KEEP_ALIVE_EVERY))
        self.successResultOf(telling)

    def test_of_account(self) -> None:
        """An account has so many, and leaves room for others."""
        waiting = [7] * MOST_OF_ACCOUNT
        self.assertEqual(self.status(7, *waiting[1:]), 200)
        self.assertEqual(self.status(7, *waiting), 503)
        self.assertEqual(self.status(8, *waiting), 200)

    def test_of_all(self) -> None:
        """All together have so many."""
        self.assertEqual(self.status(8, *range(100, 100 + MOST_STREAMS)), 503)
