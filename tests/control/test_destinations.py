"""What is done to destinations of the running server."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.destinations import DestinationControl, LiveControl, LiveDestination
from mailrelay.control.queue_works import QueueChange
from mailrelay.control.works import Work, WorkState
from mailrelay.directory.model import Account, Directory
from mailrelay.queue.destination import Destination

WORK = Work(1, "queue retry", "{}", "op", WorkState.RUNNING, 0.0)


@define
class Asked:
    """LiveDestinations, the records' audit, and works; what was asked of each."""

    live: list[LiveDestination] = field(factory=list)
    resumed_keys: list[str] = field(factory=list)
    audited: list[tuple[str, str]] = field(factory=list)
    changes: list[QueueChange] = field(factory=list)

    def all(self) -> list[LiveDestination]:
        """See LiveDestinations."""
        return self.live

    def resume(self, key: str) -> None:
        """See LiveDestinations."""
        self.resumed_keys.append(key)

    def resumed(self, actor: str, key: str, now: float) -> Deferred[None]:
        """See DestinationRecords."""
        self.audited.append((actor, key))
        return succeed(None)

    async def all_that_fit(self, change: QueueChange) -> Work:
        """See QueueWorkControl."""
        self.changes.append(change)
        return WORK


class LiveControlTests(SynchronousTestCase):
    """``/admin/destinations``, below its pages."""

    def setUp(self) -> None:
        """A server with two accounts."""
        self.asked = Asked()
        asked: Any = self.asked
        directory = Directory(accounts={i: Account(i, f"a{i}") for i in (1, 2)})
        self.control = LiveControl(
            DestinationControl(asked, lambda: 50.0, "op"),
            asked,
            asked,
            lambda: directory,
        )

    def retried(self, key: str) -> QueueChange:
        """What is tried again when that destination is."""
        work = self.successResultOf(Deferred.fromCoroutine(self.control.try_now(key)))
        self.assertEqual(work, WORK)
        return self.asked.changes.pop()

    def test_domain(self) -> None:
        """All that waits for it, whatever its level of TLS."""
        for key in ("mx:x.test", "mx:x.test:encrypt"):
            change = self.retried(key)
            self.assertEqual((change.action, change.wanted.domain), ("retry", "x.test"))
            self.assertFalse(change.wanted.held)
        self.assertEqual(self.asked.resumed_keys, ["mx:x.test", "mx:x.test:encrypt"])
        self.assertEqual(self.asked.audited[0], ("op", "mx:x.test"))

    def test_relay_host(self) -> None:
        """What stands in its lanes: each account's, and nobody's."""
        key = "relay:hub.test:25:may"
        lanes = self.retried(key).wanted.lanes
        to = Destination(key, None)
        whose = (None, 1, 2)
        expected = {to.lane(one, urgent=urgent) for one in whose for urgent in (True, False)}
        self.assertEqual(set(lanes or ()), expected)

    def test_order_and_states(self) -> None:
        """Those in trouble first, then those with the most entries."""
        self.asked.live = [
            LiveDestination("idle", allowed=2),
            LiveDestination("open", waiting=1, active=1, allowed=2),
            LiveDestination("limited", waiting=9, active=2, allowed=2),
            LiveDestination("failing", failures=1, allowed=2),
            LiveDestination("backing off", failures=3, rests_for=9.0, allowed=1),
        ]
        found = self.control.all()
        order = ["backing off", "failing", "limited", "open", "idle"]
        self.assertEqual([one.key for one in found], order)
        self.assertEqual([one.state for one in found], order)
        self.assertEqual(self.control.get("open").waiting, 1)
        self.assertEqual(self.control.get("mx:nothing.test").state, "idle")
