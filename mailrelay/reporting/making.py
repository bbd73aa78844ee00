"""Reports made of what was recorded: each domain's of a day, once, by one node.

Invariants:

- That a report is made, and the mail that brings it, are written in one transaction: a second
  node, or a second try, finds it made.  What is posted is posted after that, and may be lost in a
  crash.
- Results go when their report is made, or when nobody wants one.
- A look-up that fails leaves the results for the next run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.net.resolver import LookupFailed
from mailrelay.net.threads import Executor
from mailrelay.queue.entry import NewMessage
from mailrelay.queue.store import StoreUnavailable
from mailrelay.reporting.destinations import Destination, Wanted
from mailrelay.reporting.dmarc_write import policy_of, row_of
from mailrelay.reporting.letter import Identity, Sheet, report_letter
from mailrelay.reporting.model import DMARCReport, Kind, PublishedPolicy, Row, TLSReport
from mailrelay.reporting.store import DAY, Due, Made, ResultStore

AT_ONCE = 8
"""Domains whose reports are made together: each waits for DNS."""

PAGE = 100
RESULTS_PAGE = 500
MOST_ROWS = 10_000
"""Of a report; what is beyond is counted in it."""

POST_TIMEOUT = 60.0
POST_AGAIN = (300.0, 3600.0)
"""Seconds before what could not be posted is tried again."""


class Poster(Protocol):
    """See net/http's HTTPClient."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """The answer to a POST.  Raises: CallFailed."""


class OnlyReports(Protocol):
    """Asks how many messages of a domain were reports themselves."""

    def brought(self, domain: str, began_at: float, ended_at: float) -> Deferred[int]:
        """Reports that came in mail from ``domain``, or from below it."""


@frozen
class Surrounding:
    """What the making stands on.  ``sign`` adds our signatures; ``told`` counts kinds and words."""

    store: ResultStore
    received: OnlyReports
    wanted: Wanted
    identity: Callable[[], Identity]
    new_id: Callable[[], int]
    token: Callable[[], str]
    now: Callable[[], float]
    sign: Callable[[NewMessage], Awaitable[NewMessage]]
    executor: Executor
    poster: Poster
    pause: Callable[[float], Awaitable[object]]
    told: Callable[[Kind, str], object]


@frozen
class Making:
    """Makes and sends the reports of one kind."""

    kind: Kind
    s: Surrounding
    _turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE), init=False)
    _posting: set[Deferred[None]] = field(factory=set, init=False)
    _log = Logger()

    async def is_any_due(self) -> bool:
        """Whether there is something of a day that is over."""
        return bool(await self.s.store.due(self.kind, self._today(), None, 1))

    async def run(self) -> None:
        """Make what is due.  Raises: StoreUnavailable."""
        after: Due | None = None
        while page := await self.s.store.due(self.kind, self._today(), after, PAGE):
            await gatherResults(
                [self._turns.run(Deferred.fromCoroutine, self._one(due)) for due in page],
                consumeErrors=True,
            )
            after = page[-1]

    def _today(self) -> int:
        return int(self.s.now() // DAY)

    async def _one(self, due: Due) -> None:
        try:
            await self._make(due)
        except (LookupFailed, StoreUnavailable) as error:
            self._log.info(
                "the report for {domain} waits: {reason}", domain=due.domain, reason=str(error)
            )
        except CancelledError:
            raise
        except Exception:
            self._log.failure("the report for {domain} cannot be made", domain=due.domain)
            self.s.told(self.kind, "failed")

    async def _make(self, due: Due) -> None:
        is_tls = self.kind is Kind.TLS
        wanted = self.s.wanted.tls if is_tls else self.s.wanted.dmarc
        destinations = await wanted(due.domain)
        if destinations and await self._is_worth_it(due):
            report = await (self._tls_report(due) if is_tls else self._dmarc_report(due))
            if report is not None:
                await self._send(due, report, destinations)
        while await self.s.store.forget(due):
            pass

    async def _is_worth_it(self, due: Due) -> bool:
        """Whether more came of the domain than reports: two servers would never be done."""
        if due.kind is Kind.TLS:
            return True
        brought = await self.s.received.brought(due.domain, due.began_at, due.began_at + DAY)
        return len(await self.s.store.dmarc_results(due, None, brought + 1)) > brought

    # What it says

    async def _dmarc_report(self, due: Due) -> DMARCReport | None:
        rows: Counter[Row] = Counter()
        policy, left_out, after = None, 0, None
        while page := await self.s.store.dmarc_results(due, after, RESULTS_PAGE):
            for after, result in page:  # noqa: B007
                policy = policy_of(result.policy)
                row = row_of(result)
                if row in rows or len(rows) < MOST_ROWS:
                    rows[row] += 1
                else:
                    left_out += 1
        if policy is None:
            return None
        return await self.s.executor.run(self._dmarc_of, due, policy, rows, left_out)

    def _dmarc_of(
        self, due: Due, policy: PublishedPolicy, rows: Counter[Row], left_out: int
    ) -> DMARCReport:
        """In a thread."""
        identity = self.s.identity()
        return DMARCReport(
            identity.organization,
            str(identity.dmarc_from),
            self._report_id(due, identity),
            due.began_at,
            due.ended_at,
            policy,
            tuple(evolve(row, count=count) for row, count in rows.items()),
            identity.contact,
            (f"{left_out} messages are left out",) if left_out else (),
        )

    async def _tls_report(self, due: Due) -> TLSReport | None:
        policies = await self.s.store.tls_results(due)
        if not policies:
            return None
        identity = self.s.identity()
        return TLSReport(
            identity.organization,
            identity.contact or str(identity.tls_from),
            self._report_id(due, identity),
            due.began_at,
            due.ended_at,
            tuple(policies),
        )

    def _report_id(self, due: Due, identity: Identity) -> str:
        return f"{int(due.began_at)}.{self.s.token()[:16]}@{identity.domain}"

    # How it gets there

    async def _send(
        self, due: Due, report: DMARCReport | TLSReport, destinations: Sequence[Destination]
    ) -> None:
        sheet = await self.s.executor.run(Sheet.of, report)
        small = [
            one
            for one in destinations
            if one.most_bytes is None or len(sheet.data) <= one.most_bytes
        ]
        addresses = [one.address for one in small if one.address is not None]
        urls = [one.url for one in small if one.url is not None]
        said = [f"mailed to {address}" for address in addresses]
        said += [f"not to {one}, which takes less" for one in destinations if one not in small]
        letters = []
        if addresses:
            ids = [self.s.new_id() for _ in range(len(addresses) + 1)]
            boundary, identity = f"report-{self.s.token()}", self.s.identity()
            letter = report_letter(sheet, identity, addresses, ids, self.s.now(), boundary)
            letters.append(await self.s.sign(letter))
        made = Made(
            self.kind,
            due.domain,
            due.began_at,
            due.ended_at,
            self.s.now(),
            letters[0].message.id if letters else None,
            "; ".join([*said, *(f"to be posted to {url}" for url in urls)]),
        )
        if not await self.s.store.make(made, letters):
            return
        self._log.info("report for {domain}: {outcome}", domain=due.domain, outcome=made.outcome)
        if letters:
            self.s.told(self.kind, "sent")
        if urls:
            self._post_all(evolve(made, outcome="; ".join(said)), sheet, urls)

    def _post_all(self, made: Made, sheet: Sheet, urls: Sequence[str]) -> None:
        posting = Deferred.fromCoroutine(self._posted(made, sheet, urls))
        self._posting.add(posting)
        posting.addErrback(self._not_posted)
        posting.addBoth(lambda _: self._posting.discard(posting))

    async def _posted(self, made: Made, sheet: Sheet, urls: Sequence[str]) -> None:
        said = [made.outcome] if made.outcome else []
        said += [f"posted to {url}: {await self._post(sheet, url)}" for url in urls]
        await self.s.store.tell(evolve(made, outcome="; ".join(said)))

    async def _post(self, sheet: Sheet, url: str) -> str:
        """What came of it (RFC 8460 section 5.4)."""
        for wait in (*POST_AGAIN, None):
            try:
                headers = {"Content-Type": sheet.media_type}
                answer = await self.s.poster.post(url, headers, sheet.data, POST_TIMEOUT)
                said = str(answer.status)
                if 200 <= answer.status < 300:
                    self.s.told(self.kind, "sent")
                    return said
            except CallFailed as error:
                said = str(error)
            if wait is not None:
                await self.s.pause(wait)
        self.s.told(self.kind, "failed")
        return said

    def _not_posted(self, failure: Failure) -> None:
        if not failure.check(StoreUnavailable, CancelledError):
            self._log.failure("a report cannot be posted", failure)

    def stop(self) -> None:
        """Give up what is to be posted."""
        for posting in list(self._posting):
            posting.cancel()
