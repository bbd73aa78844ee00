"""What every session of a listener shares: settings, limits, policy, the way in."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from attrs import define, field, frozen
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime

from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.content import SpoolWriter
from mailrelay.acceptance.judging import Chain
from mailrelay.acceptance.screening import Screening
from mailrelay.acceptance.synchronous import Synchronous
from mailrelay.directory.login import Authenticator
from mailrelay.directory.model import Account, Directory
from mailrelay.net.tls import ServerCertificate
from mailrelay.net.writing import Outbox
from mailrelay.policy.limits import ConnectionCount, Limits
from mailrelay.smtp.reply import Reply


class LiveSession(Protocol):
    """A session as the server sees it when it stops."""

    def leave(self) -> None:
        """Close as soon as no transaction is under way."""

    def abort(self) -> None:
        """Close now."""


class Role(Enum):
    """What a listener is for."""

    MX = "mx"  # mail from other servers; AUTH is not offered
    SUBMISSION = "submission"  # our users, STARTTLS
    SUBMISSIONS = "submissions"  # our users, TLS from the first byte (RFC 8314)

    @property
    def is_submission(self) -> bool:
        """Whether only those who logged in, or are trusted, may send."""
        return self is not Role.MX


@frozen
class ListenerSettings:
    """One ``[[listener]]`` with an SMTP role."""

    role: Role
    endpoint: str
    limits: Limits = Limits()
    auth_without_tls: bool = False
    proxy_protocol: bool = False
    repair_newlines: bool = False
    hide_submitters: bool = True
    smtputf8: bool = True


@define
class Counters:
    """What the listeners count, for metrics."""

    commands: int = 0
    accepted: int = 0
    refused: int = 0
    auth_failures: int = 0
    on_accept: Callable[[float], None] = field(default=lambda seconds: None)


@frozen
class Context:
    """Shared by the sessions of one listener; none of it is changed by a session."""

    hostname: str
    listener: ListenerSettings
    clock: IReactorTime
    now: Callable[[], float]
    acceptance: Acceptance
    open_spool: Callable[[], SpoolWriter]
    directory: Callable[[], Directory]
    is_trusted: Callable[[str], bool]
    store_trouble: Callable[[], Reply | None]
    over_daily_limit: Callable[[Account, int], Reply | None]
    connections: ConnectionCount
    counters: Counters
    portal: Portal
    authenticator: Authenticator
    nonce: Callable[[], str]
    sessions: set[LiveSession]
    certificate: ServerCertificate | None = None
    synchronous: Synchronous | None = None  # takes what an application answers at once
    judges: Chain | None = None  # of mail of strangers
    screening: Screening | None = None  # of strangers themselves
    simulate: bool = False  # localserve: special localparts fail
    outbox: Outbox = field(init=False)

    @outbox.default
    def _outbox(self) -> Outbox:
        return Outbox(self.clock)
