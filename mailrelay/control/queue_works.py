"""Works on the queue: one change of all entries that fit a filter, as they were when it began."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from attrs import asdict, evolve, frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.queue import EntryFilter, EntryView, QueueControl
from mailrelay.control.transports import TransportControl
from mailrelay.control.works import CHANGED, Doer, Piece, Work, WorkControl, WorkResult
from mailrelay.queue.entry import EntryState

PIECE = 200
"""Entries that are changed in one go."""

LOOK = 20_000
"""Entries that are looked at in one go for those that fit."""

AT_ONCE = 100
"""Entries that are changed while who asked waits."""

CLAIMED, GONE, HELD, NOT_HELD = "claimed", "gone", "held", "not held"


@frozen
class QueueChange:
    """What is done, and to which entries; ``transport`` is of ``send_by`` alone."""

    action: str
    wanted: EntryFilter
    transport: str | None = None

    def encoded(self) -> str:
        """As works keep it."""
        given = {name: value for name, value in asdict(self.wanted).items() if value is not None}
        value = {"filter": given, "transport": self.transport}
        return msgspec.json.encode(value).decode()

    @classmethod
    def of(cls, work: Work) -> QueueChange:
        """What a work does."""
        value = msgspec.json.decode(work.wanted)
        action = work.kind.removeprefix(KIND)
        return cls(action, EntryFilter(**value["filter"]), value["transport"])


KIND, SEND_BY = "queue ", "send_by"


@frozen
class QueueChanger:
    """Makes changes by whoever is named in the audit."""

    queue: QueueControl
    transports: TransportControl

    def check(self, change: QueueChange) -> None:
        """Raises: Refusal, when it can never be made."""
        if change.action != SEND_BY and change.action not in ACTIONS:
            raise NoSuch("that is nothing that can be done with an entry")
        self.transports.check(change.transport)

    async def make(self, change: QueueChange) -> Sequence[int]:
        """The ids of what was changed.  Raises: Refusal."""
        self.check(change)
        if change.action == SEND_BY:
            return await self.transports.send_by(change.wanted, change.transport)
        return await ACTIONS[change.action](self.queue, change.wanted)

    async def results(
        self, change: QueueChange, views: Sequence[EntryView]
    ) -> Sequence[WorkResult]:
        """What became of each of ``views`` when the change was made to it."""
        ids = [view.entry.id for view in views]
        if not ids:
            return []
        changed = set(await self.make(evolve(change, wanted=EntryFilter(ids=ids))))
        left = [id_ for id_ in ids if id_ not in changed]
        why: dict[int, str] = {}
        if left:
            now = await self.queue.find(EntryFilter(ids=left))
            why = {view.entry.id: _unchanged(view) for view in now}
        outcomes = {id_: CHANGED if id_ in changed else why.get(id_, GONE) for id_ in ids}
        return [WorkResult(id_, outcome) for id_, outcome in outcomes.items()]


def _unchanged(view: EntryView) -> str:
    if view.claimed:
        return CLAIMED
    return HELD if view.entry.state is EntryState.HELD else NOT_HELD


ACTIONS: Mapping[str, Callable[[QueueControl, EntryFilter], Awaitable[Sequence[int]]]] = {
    "hold": QueueControl.hold,
    "release": QueueControl.release,
    "retry": QueueControl.retry,
    "fail": QueueControl.fail,
    "drop": QueueControl.drop,
}
KINDS = tuple(f"{KIND}{action}" for action in (*ACTIONS, SEND_BY))


@frozen
class QueueDoer:
    """Does one kind of them; ``changer`` is of an actor."""

    changer: Callable[[str], QueueChanger]

    async def count(self, work: Work) -> int:
        """See Doer."""
        queue, wanted = self.changer(work.actor).queue, _at_start(work)
        total, after = 0, 0
        while True:
            page = evolve(wanted, after_id=after, limit=1)
            found = await queue.records.look(page, work.began_at, LOOK, counts=True)
            total, after = total + found.fitting, found.to_id
            if found.is_end:
                return total

    async def do(self, work: Work) -> Piece:
        """See Doer."""
        changer, wanted = self.changer(work.actor), _at_start(work)
        page = evolve(wanted, after_id=work.after_id, limit=PIECE)
        found = await changer.queue.records.look(page, work.began_at, LOOK)
        results = await changer.results(QueueChange.of(work), found.views)
        is_cut = len(found.views) == PIECE
        to_id = found.views[-1].entry.id if is_cut else max(found.to_id, work.after_id)
        return Piece(results, to_id, found.is_end and not is_cut)


def _at_start(work: Work) -> EntryFilter:
    """What fits, of what had come when the work began."""
    return evolve(QueueChange.of(work).wanted, received_by=work.began_at)


def queue_doers(changer: Callable[[str], QueueChanger]) -> Mapping[str, Doer]:
    """Who does works on the queue, by their kinds."""
    return dict.fromkeys(KINDS, QueueDoer(changer))


@frozen
class QueueWorkControl:
    """Changes that are kept as works: at once when there are few entries, else piece by piece."""

    changer: QueueChanger
    works: WorkControl

    async def chosen(self, change: QueueChange) -> Work:
        """Change up to AT_ONCE entries that are named by their ids.  Raises: Refusal."""
        ids = change.wanted.ids or []
        if not ids:
            raise Refusal("no entry is chosen")
        if len(ids) > AT_ONCE:
            raise Refusal(f"choose at most {AT_ONCE} entries, or all that fit a filter")
        self.changer.check(change)
        found = {view.entry.id: view for view in await self.changer.queue.find(change.wanted)}
        results = list(await self.changer.results(change, list(found.values())))
        results += [WorkResult(id_, GONE) for id_ in dict.fromkeys(ids) if id_ not in found]
        results.sort(key=lambda one: one.subject_id)
        return await self.works.add_done(KIND + change.action, change.encoded(), results)

    async def all_that_fit(self, change: QueueChange) -> Work:
        """Begin a work on all that fit.  Raises: Refusal."""
        if not change.wanted.names_something:
            raise Refusal("say which entries: a filter is needed to change all that fit it")
        if change.wanted.retired:
            raise Refusal("nothing can be done with what is retired")
        self.changer.check(change)
        return await self.works.start(KIND + change.action, change.encoded())


_WORDS = {
    "account": "of account",
    "sender": "from",
    "recipient": "to",
    "domain": "to domain",
    "subject": "subject",
    "message_id": "Message-ID",
    "transport": "by transport",
    "older_than": "older than seconds",
    "newer_than": "newer than seconds",
    "lanes": "of lanes",
}


def what_of(work: Work) -> str:
    """What a work does, and to what, in words."""
    change = QueueChange.of(work)
    action = change.action.replace("_", " ")
    if change.action == SEND_BY:
        action = f"send by {change.transport or 'what routes say'}"
    wanted, words = change.wanted, []
    if wanted.ids is not None:
        words.append("1 entry" if len(wanted.ids) == 1 else f"{len(wanted.ids)} entries")
    if wanted.held is not None:
        words.append("held" if wanted.held else "not held")
    for name, text in _WORDS.items():
        value = getattr(wanted, name)
        if value is not None:
            words.append(f"{text} {_shown(value)}")
    return f"{action}: {', '.join(words)}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return str(len(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
