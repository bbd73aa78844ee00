"""Reports of others, read from mail to the addresses for them, or from what was posted.

Invariants:

- A report is stored before its mail is in a mailbox; what comes again is stored once.
- Nothing is believed for being said: a report is of a domain of ours or is not kept, and whether
  DMARC found its sender to be right is kept with it.
- What cannot be read is mail like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.directory.model import Directory
from mailrelay.message.header import HeaderTooLarge, addresses_in, parse_header
from mailrelay.message.report import FeedbackReport
from mailrelay.net.threads import Executor
from mailrelay.queue.entry import DMARC_REPORT, TLS_REPORT, Content, Entry
from mailrelay.queue.store import StoreUnavailable
from mailrelay.reporting.model import DMARCReport, Feedback, Kind, MalformedReport, TLSReport
from mailrelay.reporting.reading import read_report, report_in
from mailrelay.reporting.store import Received, ReceivedStore
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import printable

MAILBOX = "Reports"
"""Where mail goes that was read."""

READ_BYTES = 16 * 1024 * 1024
READ_AT_ONCE = 2
MOST_TYPE_CHARACTERS = 40


class NotOurs(Exception):
    """A report is of none of our domains."""


class Contents(Protocol):
    """See QueueStore."""

    def content(self, message_id: int) -> Deferred[Content]:
        """See QueueStore."""

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See QueueStore."""


@frozen
class Addresses:
    """Whose mail is read: localparts of our domains, and whole addresses, in lower case."""

    names: frozenset[str]

    def __contains__(self, address: Address) -> bool:
        return bool(self.names) and not self.names.isdisjoint(
            (address.localpart.lower(), str(address).lower())
        )


@frozen
class Receiving:
    """Reads and keeps reports; ``told`` counts kinds, and what became of each."""

    store: ReceivedStore
    contents: Contents
    directory: Callable[[], Directory]
    executor: Executor
    now: Callable[[], float]
    addresses: Addresses
    told: Callable[[Kind, str], object]
    _turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(READ_AT_ONCE), init=False)
    _log = Logger()

    def is_for(self, address: Address) -> bool:
        """Whether mail for ``address`` may bring reports."""
        return address in self.addresses and address.domain in self.directory().domains

    async def mail(self, entry: Entry) -> bool:
        """Keep the report that the mail of ``entry`` brings; whether it does.

        Raises: StoreUnavailable.
        """
        await self._turns.acquire()
        try:
            return await self._mail(entry)
        finally:
            self._turns.release()

    async def _mail(self, entry: Entry) -> bool:
        message = entry.message
        content = await self._bytes(await self.contents.content(message.id))
        try:
            report, source = await self.executor.run(_read, content)
        except MalformedReport as error:
            self._log.info(
                "mail {message_id} to {recipient} brings no report: {reason}",
                message_id=message.id,
                recipient=str(entry.recipient),
                reason=printable(str(error)),
            )
            is_tls = entry.told_as.localpart.lower().startswith("tls")
            self.told(Kind.TLS if is_tls else Kind.DMARC, "unreadable")
            return False
        verdict = message.verdict
        is_own = message.door in (DMARC_REPORT, TLS_REPORT)
        is_verified = is_own or (verdict is not None and verdict.is_from_valid)
        try:
            await self._keep(report, source, message.id, is_verified=is_verified)
        except NotOurs:
            return False
        return True

    async def posted(self, data: bytes, peer_ip: str) -> None:
        """Keep a report about TLS that somebody posted.

        Raises: MalformedReport, NotOurs, StoreUnavailable.
        """
        await self._turns.acquire()
        try:
            report = await self.executor.run(read_report, data)
        finally:
            self._turns.release()
        if not isinstance(report, TLSReport):
            raise MalformedReport("not a report about TLS")
        await self._keep(report, peer_ip, None, is_verified=False)

    async def _keep(
        self,
        report: DMARCReport | TLSReport,
        source: str,
        message_id: int | None,
        *,
        is_verified: bool,
    ) -> None:
        kind = Kind.TLS if isinstance(report, TLSReport) else Kind.DMARC
        if not self._is_ours(report.domain):
            self._log.info(
                "a {kind} report by {source} is of {domain}, which is not ours",
                kind=kind.value,
                source=source,
                domain=report.domain,
            )
            self.told(kind, "foreign")
            raise NotOurs
        received = Received(kind, source, is_verified, self.now(), message_id, report)
        if await self.store.add(received):
            self.told(kind, "received")
            self._log.info(
                "{kind} report of {domain} by {source}: {succeeded} passed, {failed} did not",
                kind=kind.value,
                domain=report.domain,
                source=source,
                succeeded=report.succeeded,
                failed=report.failed,
            )

    def _is_ours(self, domain: str) -> bool:
        """Whether a domain of ours is ``domain``, below it or above: policies may be there."""
        return any(
            domain == own or domain.endswith(f".{own}") or own.endswith(f".{domain}")
            for own in self.directory().domains
        )

    def feedback(self, report: FeedbackReport, entry: Entry) -> None:
        """Keep a feedback report that came; what it says of a message is told elsewhere."""
        adding = self.store.add(self._feedback(report, entry))
        adding.addCallback(lambda added: self.told(Kind.FEEDBACK, "received") if added else None)
        adding.addErrback(self._not_kept)

    def _feedback(self, report: FeedbackReport, entry: Entry) -> Received:
        message, domains = entry.message, self.directory().domains
        paths = [path for path in (report.return_path, report.mail_from) if path is not None]
        own = [path.domain for path in paths if path.domain in domains]
        source = entry.reverse_path.domain if entry.reverse_path is not None else ""
        told = Feedback(
            source,
            message.message_id or f"<{message.id}>",
            (own or [entry.recipient.domain])[0],
            message.received_at,
            printable(report.feedback_type, MOST_TYPE_CHARACTERS),
            report.user_agent,
            str(paths[0]) if paths else "",
            printable(report.original_message_id),
            tuple(map(str, report.recipients)),
        )
        verdict = message.verdict
        is_verified = verdict is not None and verdict.is_from_valid
        return Received(Kind.FEEDBACK, source, is_verified, self.now(), message.id, told)

    def _not_kept(self, failure: Failure) -> None:
        if not failure.check(StoreUnavailable):
            self._log.failure("a feedback report cannot be kept", failure)

    async def _bytes(self, content: Content) -> bytes:
        if content.body is not None:
            return content.prefix + content.body
        assert content.spool_name is not None
        return content.prefix + await self.contents.read_spool(content.spool_name, 0, READ_BYTES)


def _read(content: bytes) -> tuple[DMARCReport | TLSReport, str]:
    """A report, and the domain of its only author.  Raises: MalformedReport."""
    report = report_in(content)
    try:
        fields = list(parse_header(content).all("from"))
    except HeaderTooLarge:
        fields = []
    authors = addresses_in(fields[0]) if len(fields) == 1 else []
    return report, authors[0].domain if len(authors) == 1 else ""
