"""What may be done to a recipient's entry while it waits: hold, release, retry, cancel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from attrs import evolve, frozen

from mailrelay.control.answers import Inside, settled
from mailrelay.control.history import AccountHistory
from mailrelay.control.queue import Change, EntryFilter, QueueControl
from mailrelay.directory.keys import Scope
from mailrelay.webapi.v1.history import EntryOut, entry_out, no_such
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, Kind, Problem
from mailrelay.webapi.v1.times import Time

WRONG_STATE = Kind("wrong_state", 409, "It is not in a state for this")
LONGEST_AHEAD = 366 * 86400.0
"""How far ahead an attempt may be put, in seconds."""


class RescheduleIn(Strict, frozen=True):
    """When the next attempt is to be made."""

    at: Time


@frozen
class EntryOperations:
    """``/entries``.  ``control`` makes the queue's for whoever is named in the audit."""

    history: AccountHistory
    control: Callable[[str], QueueControl]
    now: Callable[[], float]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        get = Operation(
            name="entry_get",
            method="GET",
            path="/entries/{id}",
            about="One recipient of a message, and where it stands.",
            work=self.get,
            answers={200: EntryOut},
            scope=Scope.READ,
        )
        reschedule = Operation(
            name="entry_reschedule",
            method="POST",
            path="/entries/{id}/reschedule",
            about="Have the next attempt made at another time, up to a year ahead.",
            work=self.reschedule,
            answers={200: EntryOut},
            scope=Scope.MANAGE,
            body=RescheduleIn,
            problems=[WRONG_STATE],
        )
        return [get, reschedule, *(self._changing(*change) for change in _CHANGES)]

    def _changing(self, name: str, about: str, change: Change) -> Operation:
        async def work(call: Call) -> Answer:
            return await self._changed(call, change)

        return Operation(
            name=f"entry_{name}",
            method="POST",
            path=f"/entries/{{id}}/{name}",
            about=about,
            work=work,
            answers={200: EntryOut},
            scope=Scope.MANAGE,
            problems=[WRONG_STATE],
        )

    async def get(self, call: Call) -> Answer:
        """One entry."""
        found = await self.history.entry(call.caller.account.id, call.id)
        if found is None:
            raise no_such()
        return Answer(200, entry_out(found))

    async def reschedule(self, call: Call) -> Answer:
        """Another time for the next attempt."""
        body: RescheduleIn = call.body
        at = max(body.at.timestamp(), 0.0)  # long ago is now, and a time that can be told
        if at > self.now() + LONGEST_AHEAD:
            raise Problem(INVALID_FIELD, "is more than a year ahead", "at")
        return await self._changed(call, lambda queue, wanted: queue.reschedule(wanted, at))

    async def _changed(self, call: Call, change: Change) -> Answer:
        await self.get(call)  # another's, and nobody's, is not there
        control = self.control(call.caller.actor("api"))
        control = evolve(
            control, records=call.with_answer(control.records, partial(self._told, call))
        )
        wanted = EntryFilter(ids=[call.id], account=call.caller.account.name)
        if not await change(control, wanted):
            raise Problem(WRONG_STATE, "the entry is over, or already as you want it")
        return call.kept or await self.get(call)

    def _told(self, call: Call, changed: Sequence[int], inside: Inside) -> Answer | None:
        """How the entry is after the change."""
        if call.id not in changed:
            return None
        found = settled(inside(self.history).entry(call.caller.account.id, call.id))
        return None if found is None else Answer(200, entry_out(found))


_CHANGES: Sequence[tuple[str, str, Change]] = (
    ("hold", "Keep a waiting entry from being attempted.", QueueControl.hold),
    ("release", "Have a held entry attempted.", QueueControl.release),
    ("retry", "Have a waiting entry attempted now.", QueueControl.retry),
    ("cancel", "End an entry; its sender is not told, but by webhook.", QueueControl.drop),
)
