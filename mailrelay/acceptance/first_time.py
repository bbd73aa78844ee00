"""Senders whom an account does not know wait before their message is taken, as mox has it.

Who sends much spam has no time to wait: it goes before it is answered, or sends less.

Invariants: so many wait at once, those beyond do not wait; nobody waits for a server that stops, or
for a store that cannot be read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.acceptance.judging import Arrived, Judgement
from mailrelay.directory.model import Account, Directory
from mailrelay.message.header import addresses_in
from mailrelay.message.verdict import Verdict
from mailrelay.queue.store import StoreUnavailable

DAY = 86400.0
MOST_KEPT = 50_000
MET_AGAIN_AFTER = DAY
"""Seconds after which it is written again that a sender was met."""

LONGEST_SENDER = 400


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class FirstTimeSettings:
    """``[first_time_senders]``.  Times in seconds."""

    delay: float = field(
        default=0.0,
        metadata=_doc("seconds that mail of senders waits whom the account does not know; 0: none"),
    )
    most_waiting: int = field(
        default=200, metadata=_doc("messages that wait at once; those beyond do not wait")
    )
    known_for: float = field(
        default=400 * DAY, metadata=_doc("seconds that a sender is known after its last message")
    )


class KnownSenderStore(Protocol):
    """Whose mail accounts have taken."""

    def known_to(self, accounts: Sequence[int], sender: str) -> Deferred[dict[int, float]]:
        """When those of ``accounts`` that know it last met a sender.

        Fails with StoreUnavailable.
        """

    def met(self, accounts: Sequence[int], sender: str, at: float) -> Deferred[None]:
        """Each of ``accounts`` knows it."""

    def sweep(self, before: float, limit: int) -> Deferred[int]:
        """Forget up to ``limit`` that were last met before then; how many."""


class KnownSenders:
    """Who is known to whom, the last ones in memory."""

    _log = Logger()

    def __init__(self, store: KnownSenderStore, now: Callable[[], float], known_for: float) -> None:
        self._store, self._now, self._known_for = store, now, known_for
        self._last: OrderedDict[tuple[int, str], float] = OrderedDict()

    async def unknown_to(self, accounts: Sequence[int], sender: str) -> Sequence[int]:
        """Those of ``accounts`` that do not know a sender; none when that cannot be read."""
        left = [one for one in accounts if not self._is_known(self._last.get((one, sender)))]
        if not left:
            return []
        try:
            found = await self._store.known_to(left, sender)
        except StoreUnavailable:
            return []
        for account, at in found.items():
            self._remember(account, sender, at)
        return [one for one in left if not self._is_known(found.get(one))]

    def met(self, accounts: Sequence[int], sender: str) -> None:
        """Each of ``accounts`` knows a sender from now on."""
        now = self._now()
        again = [
            one for one in accounts if now - self._last.get((one, sender), 0.0) >= MET_AGAIN_AFTER
        ]
        if not again:
            return
        for account in again:
            self._remember(account, sender, now)
        self._store.met(again, sender, now).addErrback(self._not_kept)

    def sweep(self, limit: int) -> Deferred[int]:
        """Forget some that were not met for long; how many."""
        return self._store.sweep(self._now() - self._known_for, limit)

    def _is_known(self, last_at: float | None) -> bool:
        return last_at is not None and self._now() - last_at < self._known_for

    def _remember(self, account: int, sender: str, at: float) -> None:
        self._last[account, sender] = at
        self._last.move_to_end((account, sender))
        if len(self._last) > MOST_KEPT:
            self._last.popitem(last=False)

    def _not_kept(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is None:
            self._log.failure("it cannot be kept that a sender is known", failure)


class FirstTime(Service):
    """The judge that lets strangers wait: the last one, for it is the others who refuse."""

    def __init__(
        self,
        settings: FirstTimeSettings,
        known: KnownSenders,
        directory: Callable[[], Directory],
        clock: IReactorTime,
    ) -> None:
        self._settings, self._known = settings, known
        self._directory, self._clock = directory, clock
        self._waiting: set[Deferred[None]] = set()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    async def judge(self, arrived: Arrived, found: Judgement) -> Judgement:
        """See Judge."""
        sender = sender_of(arrived, found.verdict)
        if found.verdict.is_junk or (not sender and arrived.envelope.reverse_path is None):
            return found
        accounts = recipients_of(arrived, self._directory())
        unknown = await self._known.unknown_to(accounts, sender) if sender else accounts
        if unknown and await self._waited():
            why = f"its sender is new here: it waited {self._settings.delay:g} seconds"
            reasons = (*found.verdict.reasons, why)
            found = evolve(found, verdict=evolve(found.verdict, reasons=reasons))
        if sender:
            self._known.met(accounts, sender)
        return found

    async def _waited(self) -> bool:
        """Wait, if there is room for one more who does."""
        if len(self._waiting) >= self._settings.most_waiting or not self.running:
            return False
        waiting: Deferred[None] = Deferred()
        timer = self._clock.callLater(self._settings.delay, waiting.callback, None)
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
            if timer.active():
                timer.cancel()
        return True

    @override
    def stopService(self) -> None:
        """Let everybody go."""
        super().stopService()
        for waiting in list(self._waiting):
            waiting.callback(None)


def sender_of(arrived: Arrived, verdict: Verdict) -> str:
    """Who surely sent a message, as an address in lower case; empty when nobody knows."""
    if verdict.is_from_valid:
        authors = addresses_in(arrived.header.first("from") or "")
        if len(authors) == 1:
            return str(authors[0]).lower()[:LONGEST_SENDER]
    path = arrived.envelope.reverse_path
    if verdict.is_mail_from_valid and path is not None:
        return str(path).lower()[:LONGEST_SENDER]
    return ""


def recipients_of(arrived: Arrived, directory: Directory) -> Sequence[int]:
    """The accounts that a message is for, by their own addresses; each once."""
    owners = [directory.resolve(one.forward_path) for one in arrived.envelope.recipients]
    return list(dict.fromkeys(owner.id for owner in owners if isinstance(owner, Account)))
