"""The queue as operators see and change it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch
from mailrelay.observe.events import Event
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Entry, EntryState
from mailrelay.queue.outcome import PermanentFailure
from mailrelay.queue.report import Reporter
from mailrelay.queue.schedule import RetryProfile
from mailrelay.queue.settle import Rules, settle
from mailrelay.queue.store import QueueStore
from mailrelay.queue.transport import Attempt, Job, Result, without_lost
from mailrelay.smtp.reply import reply

FAILED_BY_OPERATOR = reply(550, "5.7.0", "delivery was ended by the operator")


@frozen
class EntryFilter:
    """Which entries; None is any, and all that is given must fit.

    ``sender``, ``recipient`` and ``subject`` fit as substrings, ``domain`` is the recipient's whole
    one, ages are seconds, ``received_by`` is a time since the epoch.
    """

    ids: Sequence[int] | None = None
    account: str | None = None
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    older_than: float | None = None
    newer_than: float | None = None
    held: bool | None = None
    retired: bool = False
    outcome: str | None = None  # of retired ones, as delivered or failed
    limit: int = 1000
    after_id: int = 0
    before_id: int | None = None
    subject: str | None = None
    message_id: str | None = None  # the header's
    messages: Sequence[int] | None = None  # by their ids
    transport: str | None = None  # that an operator chose
    lanes: Sequence[int] | None = None
    received_by: float | None = None

    @property
    def names_something(self) -> bool:
        """Whether anything narrows it: what changes the queue asks for that."""
        given = (self.ids, self.account, self.sender, self.recipient, self.domain)
        ages = (self.older_than, self.newer_than, self.held)
        others = (self.subject, self.message_id, self.messages, self.transport, self.lanes)
        return any(one is not None for one in (*given, *ages, *others))


@frozen
class EntryView:
    """An entry as shown.  Times are seconds since the epoch."""

    entry: Entry
    account: str | None
    outcome: str | None = None
    keep_until: float | None = None
    claimed: bool = False


@frozen
class Looked:
    """What fits in a part of the queue, of which ``fitting`` are there, also beyond the limit.

    The part goes on to ``to_id``; with ``is_end`` there is nothing behind it.
    """

    views: Sequence[EntryView]
    to_id: int
    is_end: bool
    fitting: int


@frozen
class History:
    """Everything that happened to an entry's message that concerns the entry."""

    view: EntryView
    events: Sequence[Event] = field(factory=list)


class QueueRecords(Protocol):
    """The queue's rows as operators need them.  Methods may fail with StoreUnavailable.

    Those that change something answer the ids that they changed, record an event for each and
    tell running processes, in one transaction.
    """

    def find(self, wanted: EntryFilter, now: float) -> Deferred[Sequence[EntryView]]:
        """Entries, by id."""

    def look(
        self,
        wanted: EntryFilter,
        now: float,
        most: int,
        *,
        backwards: bool = False,
        counts: bool = False,
    ) -> Deferred[Looked]:
        """Look at up to ``most`` entries from ``after_id`` on, or backwards from ``before_id``.

        It costs the same however few fit.  ``fitting`` is of all of the part if it ``counts``.
        """

    def events(self, message_id: int) -> Deferred[Sequence[Event]]:
        """A message's events, in order."""

    def hold(self, actor: str, ids: Sequence[int], now: float) -> Deferred[Sequence[int]]:
        """Keep ready entries from being attempted."""

    def release(self, actor: str, ids: Sequence[int], now: float) -> Deferred[Sequence[int]]:
        """Let held entries be attempted again: now, or when a first attempt was asked for."""

    def reschedule(
        self, actor: str, ids: Sequence[int], now: float, at: float
    ) -> Deferred[Sequence[int]]:
        """Attempt ready entries next at ``at``; the life of what was never tried begins then."""

    def drop(
        self,
        actor: str,
        ids: Sequence[int],
        now: float,
        keep_until: float,
        content_kept_until: float | None = None,
    ) -> Deferred[Sequence[int]]:
        """Retire entries without a DSN; what is an account's may be sent again until then."""

    def send_by(
        self, actor: str, lanes: Mapping[int, int], now: float, transport: str | None
    ) -> Deferred[Sequence[int]]:
        """Have living entries sent by ``transport``; ``lanes`` has their new ones by their ids."""

    def take(self, ids: Sequence[int]) -> Deferred[Sequence[Entry]]:
        """Claim living entries for us, whoever has them: a running attempt loses its claim."""

    def told(self, actor: str, action: str, ids: Sequence[int], now: float) -> Deferred[None]:
        """Audit a change that was made by other means, and tell running processes."""


@frozen
class QueueControl:
    """What may be asked of the queue, and by whom it was."""

    records: QueueRecords
    store: QueueStore
    reporter: Reporter
    now: Callable[[], float]
    retired_kept_for: float
    actor: str
    account_kept_for: Callable[[int | None], float | None] = field(default=lambda account_id: None)
    content_kept_for: float = 0.0

    async def find(self, wanted: EntryFilter) -> Sequence[EntryView]:
        """The entries that ``wanted`` fits."""
        return await self.records.find(wanted, self.now())

    async def history(self, entry_id: int) -> History:
        """An entry and its events, retired or not.  Raises: NoSuch."""
        for retired in (False, True):
            found = await self.find(EntryFilter(ids=[entry_id], retired=retired))
            if found:
                events = await self.records.events(found[0].entry.message.id)
                mine = [e for e in events if e.entry_id in (None, entry_id)]
                return History(found[0], mine)
        raise NoSuch(f"no entry {entry_id}: it never was, or is swept after its retention")

    async def hold(self, wanted: EntryFilter) -> Sequence[int]:
        """Hold what fits; the ids."""
        ids = await self._ids(evolve(wanted, held=False))
        return await self.records.hold(self.actor, ids, self.now())

    async def release(self, wanted: EntryFilter) -> Sequence[int]:
        """Release what fits; the ids."""
        ids = await self._ids(evolve(wanted, held=True))
        return await self.records.release(self.actor, ids, self.now())

    async def retry(self, wanted: EntryFilter) -> Sequence[int]:
        """Have what fits attempted now; the ids."""
        return await self.reschedule(wanted, self.now())

    async def reschedule(self, wanted: EntryFilter, at: float) -> Sequence[int]:
        """Have what fits attempted next at ``at``, seconds since the epoch; the ids."""
        ids = await self._ids(evolve(wanted, held=False))
        return await self.records.reschedule(self.actor, ids, self.now(), at)

    async def drop(self, wanted: EntryFilter) -> Sequence[int]:
        """Retire what fits, and tell no sender; the ids."""
        now, rules = self.now(), self._rules
        by_retention: dict[float, list[int]] = {}
        for id_, account_id in await self._found(wanted):
            by_retention.setdefault(rules.kept_for(account_id), []).append(id_)
        dropped: list[int] = []
        for kept_for, ids in by_retention.items():
            until = now + self.content_kept_for if self.content_kept_for > 0 else None
            dropped += await self.records.drop(self.actor, ids, now, now + kept_for, until)
        return dropped

    async def fail(self, wanted: EntryFilter) -> Sequence[int]:
        """End what fits as failed, with the DSNs that go with it; the ids."""
        taken = await self.records.take(await self._ids(wanted))
        failed: list[int] = []
        by_message: dict[int, list[Entry]] = {}
        for entry in taken:
            by_message.setdefault(entry.message.id, []).append(entry)
        for entries in by_message.values():
            failed += await self._fail_message(entries)
        await self.records.told(self.actor, "queue fail", failed, self.now())
        return failed

    async def _fail_message(self, entries: Sequence[Entry]) -> list[int]:
        now = self.now()
        message = entries[0].message
        result = Result([PermanentFailure(FAILED_BY_OPERATOR)] * len(entries), Attempt(now, now))
        result.notes["by"] = self.actor
        job = Job(Destination("operator", None), message, entries)
        while job.entries:
            settlement = settle(job, result, self._rules, now, 0.0)
            reports = await self.reporter.of(message, settlement, None)
            recorded = await self.store.finish_attempts(settlement.finished, reports)
            if all(recorded) or not reports:
                return [e.id for e, was in zip(job.entries, recorded, strict=True) if was]
            job, result = without_lost(job, result, recorded)  # the DSN told of what was lost
        return []

    @property
    def _rules(self) -> Rules:
        kept_for = self.retired_kept_for
        return Rules(RetryProfile(), kept_for, self.account_kept_for, self.content_kept_for)

    async def _ids(self, wanted: EntryFilter) -> list[int]:
        return [id_ for id_, _ in await self._found(wanted)]

    async def _found(self, wanted: EntryFilter) -> list[tuple[int, int | None]]:
        """Every id that fits and whose it is."""
        views = every_view(self.records, wanted, self.now())
        return [(view.entry.id, view.entry.message.account_id) async for view in views]


async def every_view(
    records: QueueRecords, wanted: EntryFilter, now: float
) -> AsyncIterator[EntryView]:
    """All entries that ``wanted`` fits, page by page."""
    page = evolve(wanted, limit=5000)
    while views := await records.find(page, now):
        for view in views:
            yield view
        page = evolve(page, after_id=views[-1].entry.id)


Change = Callable[[QueueControl, EntryFilter], Awaitable[Sequence[int]]]
"""Something that is done to entries; the ids of those that it changed."""


def state_word(view: EntryView) -> str:
    """One word for where an entry stands."""
    entry = view.entry
    return word_of(entry.state, view.outcome, claimed=view.claimed, tried=entry.attempts > 0)


def word_of(state: EntryState, outcome: str | None, *, claimed: bool, tried: bool) -> str:
    """One word for entries of which this is so."""
    if state is EntryState.RETIRED:
        return outcome or "retired"
    if state is EntryState.HELD:
        return "held"
    return "active" if claimed else "waiting" if tried else "ready"
