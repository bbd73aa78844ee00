"""By which transport entries go, when an operator chooses it and not a route."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from mailrelay.control.errors import NoSuch
from mailrelay.control.queue import EntryFilter, QueueRecords, every_view
from mailrelay.queue.entry import Entry
from mailrelay.routing.router import Router


@frozen
class TransportControl:
    """What may be asked of transports, and by whom it was."""

    records: QueueRecords
    router: Router
    now: Callable[[], float]
    actor: str

    def names(self) -> Sequence[str]:
        """Those of the configuration."""
        return sorted(self.router.current().transports)

    def is_missing(self, entry: Entry) -> bool:
        """Whether the transport chosen for ``entry`` is not there any more: routes decide then."""
        return entry.transport is not None and self.router.current().chosen_for(entry) is None

    def check(self, transport: str | None) -> None:
        """Raises: NoSuch, when there is none of that name."""
        if transport is not None and transport not in self.router.current().transports:
            known = ", ".join(self.names()) or "there is none in the configuration"
            raise NoSuch(f"no transport {transport}: {known}")

    async def send_by(self, wanted: EntryFilter, transport: str | None) -> Sequence[int]:
        """Have what fits sent by ``transport``, or as routes say when that is None; the ids.

        Raises: NoSuch.
        """
        self.check(transport)
        now = self.now()
        lanes: dict[int, int] = {}
        async for view in every_view(self.records, wanted, now):
            lanes[view.entry.id] = self._lane(evolve(view.entry, transport=transport))
        return await self.records.send_by(self.actor, lanes, now, transport)

    def _lane(self, entry: Entry) -> int:
        return self.router(entry).lane(entry.account_id, urgent=entry.is_urgent)
