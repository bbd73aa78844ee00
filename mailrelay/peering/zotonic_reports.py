"""Telling Zotonic sites what became of the mail that they handed to us.

Invariants:

- What is told is read from the events, and how far a site was told is stored with its state: what
  was committed is told at least once, after a crash too, in the order of each message's events.
- One report of a message is under way at a time; others of the same site's do not wait for it.
- A site that cannot be reached, or refuses us, loses nothing while the events are kept.  A report
  that it answers with an error of its own is given up after MOST_ERRORS of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count, groupby
from typing import Any, Protocol

import msgspec
from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    DeferredSemaphore,
    gatherResults,
)
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.control.peer_mail import PeerEvents, ToldEvent
from mailrelay.directory.model import Directory
from mailrelay.directory.peers import Peer, PeerProtocol
from mailrelay.net.destination import UnusableURL
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.net.tls import UnusableCertificate
from mailrelay.observe.bell import Bell
from mailrelay.observe.events import EventKind
from mailrelay.peering.zotonic import (
    LONGEST_STATUS,
    Report,
    ReportType,
    report_body,
    scrubbed,
    with_secret,
)
from mailrelay.peering.zotonic_callback import place_of_reports
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.reply import printable

READ_AT_ONCE = 200
"""Events of a site's account, told before the next are looked at."""

LOOK_EVERY = 5.0
"""Seconds: for sites that are new, and for what other processes recorded."""

FIRST_WAIT, LONGEST_WAIT = 10.0, 3600.0
STORE_WAIT = 10.0
MOST_ERRORS = 20
"""As many times does a site itself try."""

_KINDS = {
    EventKind.DELIVERED: ReportType.RELAYED,
    EventKind.RELAYED: ReportType.RELAYED,
    EventKind.EXPANDED: ReportType.RELAYED,
    EventKind.DELAYED: ReportType.TEMPORARY_FAILURE,
    EventKind.FAILED: ReportType.PERMANENT_FAILURE,
    EventKind.SUPPRESSED: ReportType.PERMANENT_FAILURE,
    EventKind.CANCELED: ReportType.PERMANENT_FAILURE,
}
CANCELED = "550 5.7.0 canceled by the relay's operator"

_NEVER = frozenset({400, 405, 406, 410, 411, 413, 414, 415, 422})


def report_of(told: ToldEvent) -> Report | None:
    """What a site hears of an event, None when nothing."""
    event = told.event
    type_, data = _KINDS.get(event.kind), event.data
    if type_ is None or not data.get("recipient"):
        return None
    status = ""
    if type_ is not ReportType.RELAYED:
        said = (data.get("code"), data.get("status"), data.get("reply"))
        status = " ".join(str(one).replace("\n", " ") for one in said if one)
        if event.kind is EventKind.CANCELED:
            status = status or CANCELED
    return Report(type_, told.msg_id, str(data["recipient"]), printable(status, LONGEST_STATUS))


class Poster(Protocol):
    """What HTTPClient is asked for here."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """See HTTPClient.  Raises: CallFailed."""


@frozen
class ReportSurroundings:
    """What telling needs.  ``now`` is since the epoch, ``poster`` has the client for a peer."""

    clock: IReactorTime
    now: Callable[[], float]
    mail: PeerEvents
    directory: Callable[[], Directory]
    poster: Callable[[Peer], Awaitable[Poster]]
    bell: Bell
    user_agent: str


class _Gone(Exception):
    """The peer is not told any more: removed, switched off, or the server stops."""


@define(eq=False)
class ZotonicReports(Service):
    """Tells all sites, each in a row of its own."""

    outside: ReportSurroundings
    _following: dict[int, Deferred[Any]] = field(factory=dict)
    _looking: IDelayedCall | None = None
    _log = Logger()

    @override
    def startService(self) -> None:
        """See Service."""
        super().startService()
        self._look()

    @override
    def stopService(self) -> Deferred[Any]:
        """What is under way is broken off: it is told again by the next start."""
        super().stopService()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        following = list(self._following.values())
        for one in following:
            one.cancel()
        return gatherResults(following)

    def _look(self) -> None:
        """Follow the events of sites that are new."""
        for peer in self.outside.directory().peers.values():
            if _is_told(peer) and peer.id not in self._following:
                self._follow(peer.id)
        self._looking = self.outside.clock.callLater(LOOK_EVERY, self._look)

    def _follow(self, peer_id: int) -> None:
        following: Deferred[Any] = Deferred.fromCoroutine(self._tell_all(peer_id))
        self._following[peer_id] = following
        following.addBoth(self._ended, peer_id)

    def _ended(self, result: object, peer_id: int) -> None:
        del self._following[peer_id]
        if isinstance(result, Failure) and not result.check(_Gone, CancelledError):
            self._log.failure("reports to a peer broke off", result)

    async def _tell_all(self, peer_id: int) -> None:
        bell = self.outside.bell
        while True:
            account_id = self._peer(peer_id).account_id or 0
            # Asked for before the look: what is committed between the two rings it.
            rung = bell.wait(account_id, LOOK_EVERY)
            try:
                while await self._tell_next(peer_id):
                    pass
            except StoreUnavailable:
                await deferLater(self.outside.clock, STORE_WAIT)
            except BaseException:
                bell.leave(account_id, rung)
                raise
            await rung

    async def _tell_next(self, peer_id: int) -> bool:
        """Tell the next events; False when there are none."""
        outside, peer = self.outside, self._peer(peer_id)
        assert peer.account_id is not None
        after = await outside.mail.position(peer_id)
        found = await outside.mail.events(peer_id, peer.account_id, after, READ_AT_ONCE)
        if found.position <= after:
            return False
        at_once = DeferredSemaphore(peer.options.concurrency)
        by_message = sorted(found.events, key=lambda one: one.event.message_id)
        telling = [
            at_once.run(self._in_order, peer_id, list(group))
            for _, group in groupby(by_message, key=lambda one: one.event.message_id)
        ]
        for _, result in await DeferredList(telling, consumeErrors=True):
            if isinstance(result, Failure):
                result.raiseException()
        await outside.mail.acknowledge(peer_id, found.position, outside.now())
        return True

    def _in_order(self, peer_id: int, told: Sequence[ToldEvent]) -> Deferred[None]:
        async def tell() -> None:
            for one in told:
                report = report_of(one)
                if report is not None:
                    await self._until_told(peer_id, one, report)

        return Deferred.fromCoroutine(tell())

    async def _until_told(self, peer_id: int, told: ToldEvent, report: Report) -> None:
        wait, errors = FIRST_WAIT, 0
        for attempt in count():
            peer = self._peer(peer_id)
            verdict = await self._posted(peer, told, report, attempt)
            errors += verdict.is_error
            if verdict.is_over:
                return
            if errors >= MOST_ERRORS:
                self._log.error(
                    "peer {name} answers every report of message {id} with an error: given up",
                    name=peer.name,
                    id=told.event.message_id,
                )
                return
            self._peer(peer_id)  # what was broken off is not tried again
            await deferLater(self.outside.clock, wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _posted(self, peer: Peer, told: ToldEvent, report: Report, attempt: int) -> Verdict:
        place = place_of_reports(peer, told.webhook_url)
        # While they are rotated the site has one of them: each is tried in its turn.
        keys = [*peer.their_keys(self.outside.now())]
        if not keys:
            return AGAIN
        key = keys[attempt % len(keys)]
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": self.outside.user_agent,
        }
        try:
            poster = await self.outside.poster(peer)
            url = with_secret(place, key.secret)
            answer = await poster.post(url, headers, report_body(report), peer.options.timeout)
        except (CallFailed, UnusableURL, UnusableCertificate) as error:
            why = printable(scrubbed(str(error), [key.secret]), 300)
            self._log.warn("peer {name} cannot be told: {why}", name=peer.name, why=why)
            return AGAIN
        verdict = verdict_of(answer)
        if not verdict.is_told:
            self._log.warn(
                "peer {name} answers {status} to a report", name=peer.name, status=answer.status
            )
        return verdict

    def _peer(self, peer_id: int) -> Peer:
        """The peer as it is now.  Raises: _Gone."""
        for peer in self.outside.directory().peers.values():
            if peer.id == peer_id and _is_told(peer) and self.running:
                return peer
        raise _Gone


@frozen
class Verdict:
    """What an answer means: told or refused for good, or to be tried again."""

    is_told: bool = False
    is_over: bool = False
    is_error: bool = False  # the site's own


OVER = Verdict(is_told=True, is_over=True)
AGAIN = Verdict()


def verdict_of(answer: HTTPAnswer) -> Verdict:
    """What an answer to a report means.  Pure."""
    status = answer.status
    if 200 <= status < 300:
        return OVER if _is_empty_or_json(answer) else AGAIN
    if status in _NEVER:
        return Verdict(is_over=True)
    return Verdict(is_error=status >= 500)


def _is_empty_or_json(answer: HTTPAnswer) -> bool:
    """A login page that answers 200 is nobody's word."""
    body = answer.body_start.strip()
    if not body:
        return True
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _is_told(peer: Peer) -> bool:
    return (
        peer.protocol is PeerProtocol.ZOTONIC
        and peer.account_id is not None
        and not peer.disabled
        and bool(peer.callback_url)
    )
