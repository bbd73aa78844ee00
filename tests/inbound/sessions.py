"""SMTP sessions without a socket: in-memory transports, a clock, a store that can be held."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.making import Making
from mailrelay.acceptance.passing import PassingOn
from mailrelay.directory.credentials import ScramVerifier, check_password
from mailrelay.directory.login import Authenticator, LoginSettings
from mailrelay.directory.model import Account, Directory, Domain
from mailrelay.inbound.auth import submission_portal
from mailrelay.inbound.context import Context, Counters, ListenerSettings, Role
from mailrelay.inbound.factory import SMTPServerFactory
from mailrelay.inbound.protocol import SMTPServerProtocol
from mailrelay.message.srs import SRS
from mailrelay.policy.limits import ConnectionCount, Limits
from mailrelay.queue.entry import NewMessage
from mailrelay.queue.store import NotStored, Together
from mailrelay.smtp.reply import Reply

LIMITS, LOGIN = Limits(), LoginSettings()
START = 1_900_000_000.0
PASSWORD = "correct horse"
VERIFIER = ScramVerifier.of(PASSWORD, b"0123456789abcdef")

USER = Account(1, "user", password_hash=f"hash of {PASSWORD}", scram_verifier=str(VERIFIER))
OTHER = Account(2, "other", password_hash="hash of another one")
LOCKED = Account(3, "locked", password_hash=f"hash of {PASSWORD}", login_disabled=True)

DIRECTORY = Directory(
    domains={
        name: Domain(id_, name) for id_, name in enumerate(("example.org", "catch.example"), 1)
    },
    accounts={account.id: account for account in (USER, OTHER, LOCKED)},
    addresses={
        ("user", "example.org"): 1,
        ("other", "example.org"): 2,
        ("locked", "example.org"): 3,
        ("", "catch.example"): 1,
    },
    postmaster_id=1,
)


@define
class FakeStore:
    """An acceptance store: ``held`` keeps its answers back, ``failing`` makes them failures."""

    stored: list[NewMessage] = field(factory=list)
    held: bool = False
    failing: Exception | None = None
    waiting: list[Deferred[None]] = field(factory=list)
    _ids: Any = field(factory=lambda: count(1))

    def new_id(self) -> int:
        """See AcceptanceStore."""
        return int(next(self._ids))

    def add(self, message: NewMessage) -> Deferred[None]:
        """See AcceptanceStore."""
        if self.failing is not None:
            return fail(self.failing)
        self.stored.append(message)
        if not self.held:
            return succeed(None)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def add_all(
        self, messages: Sequence[NewMessage], together: Together
    ) -> Deferred[Sequence[NotStored | None]]:
        """See AcceptanceStore."""
        raise NotImplementedError


@define
class FakeSpool:
    """A spool in memory; ``held`` keeps what it was given waiting, ``failing`` fails it."""

    bodies: dict[str, bytes] = field(factory=dict)
    abandoned: list[str] = field(factory=list)
    held: bool = False
    failing: Exception | None = None
    waiting: list[Deferred[None]] = field(factory=list)

    def open(self) -> FakeSpoolWriter:
        """A new body."""
        name = f"body {len(self.bodies)}"
        self.bodies[name] = b""
        return FakeSpoolWriter(self, name)

    def answer(self) -> Deferred[None]:
        """What a writer's method returns."""
        if self.failing is not None:
            return fail(self.failing)
        if not self.held:
            return succeed(None)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def release(self) -> None:
        """Answer all that waits, and hold no more."""
        self.held = False
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(None)


@define
class FakeSpoolWriter:
    """See SpoolWriter."""

    spool: FakeSpool
    name: str

    def append(self, data: bytes) -> Deferred[None]:
        """See SpoolWriter."""
        self.spool.bodies[self.name] += data
        return self.spool.answer()

    def finish(self) -> Deferred[None]:
        """See SpoolWriter."""
        return self.spool.answer()

    def abandon(self) -> None:
        """See SpoolWriter."""
        self.spool.abandoned.append(self.name)


@define
class FakeHashing:
    """Checks passwords at no cost: the hash of ``x`` is ``hash of x``.  Can be held."""

    held: bool = False
    checks: int = 0
    waiting: list[tuple[Deferred[Any], bool]] = field(factory=list)

    def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """See Executor."""
        assert work is check_password, work
        self.checks += 1
        right = args[0] == f"hash of {args[1]}"
        if not self.held:
            return succeed(right)
        deferred: Deferred[Any] = Deferred()
        self.waiting.append((deferred, right))
        return deferred

    def release(self) -> None:
        """Finish the checks that wait, and hold no more."""
        self.held = False
        waiting, self.waiting = self.waiting, []
        for deferred, right in waiting:
            deferred.callback(right)


class Door:
    """One listener without a port: ``connect`` gives sessions that share its limits and store."""

    def __init__(
        self,
        role: Role = Role.MX,
        *,
        limits: Limits = LIMITS,
        login: LoginSettings = LOGIN,
        directory: Directory = DIRECTORY,
        trusted: Sequence[str] = (),
        simulate: bool = False,
        **listener: Any,
    ) -> None:
        self.clock = Clock()
        self.store, self.spool, self.hashing = FakeStore(), FakeSpool(), FakeHashing()
        self.trouble: Reply | None = None
        self.directory = directory
        random = Random(1)

        def token() -> str:
            return f"{random.getrandbits(128):032x}"

        authenticator = Authenticator(
            lambda: self.directory,
            self.hashing,
            login,
            self.clock.seconds,
            b"secret",
            lambda: START + self.clock.seconds(),
        )
        self.context = Context(
            hostname="mx.example.org",
            listener=ListenerSettings(role, "", limits, **listener),
            clock=self.clock,
            now=lambda: START + self.clock.seconds(),
            acceptance=Acceptance(
                Making(
                    "mx.example.org",
                    lambda: self.directory,
                    lambda: START,
                    token,
                    self.store.new_id,
                    lambda entry: entry,
                    limits.received_fields,
                    passing=PassingOn(SRS(b"secret")),
                ),
                self.store,
                lambda entries: None,
                lambda id_, content: None,
            ),
            open_spool=self.spool.open,
            directory=lambda: self.directory,
            is_trusted=lambda ip: ip in trusted,
            store_trouble=lambda: self.trouble,
            over_daily_limit=lambda account, more: None,
            connections=ConnectionCount(),
            counters=Counters(),
            portal=submission_portal(authenticator),
            authenticator=authenticator,
            nonce=token,
            sessions=set(),
            simulate=simulate,
        )

    def connect(self, ip: str = "192.0.2.1") -> MemoryClient:
        """A client at ``ip``; the greeting is read."""
        client = MemoryClient(self, ip)
        client.connected_at_once()
        return client

    def refused(self, ip: str = "192.0.2.1") -> bytes:
        """What a client hears that is not let in."""
        return MemoryClient(self, ip).heard()

    def bodies(self) -> list[bytes]:
        """Bodies of the messages that were accepted, as they would be kept."""
        contents = [new.content for new in self.store.stored]
        return [
            c.body if c.body is not None else self.spool.bodies[str(c.spool_name)] for c in contents
        ]


class MemoryClient:
    """The client's side of one session."""

    def __init__(self, door: Door, ip: str) -> None:
        self._door = door
        self.transport = ClosingTransport(ip)
        self.session: SMTPServerProtocol = SMTPServerFactory(door.context).buildProtocol(None)
        self.session.makeConnection(self.transport)

    def connected_at_once(self) -> None:
        """Read the greeting."""
        assert self.heard().startswith(b"220 "), "no greeting"

    def send(self, data: bytes) -> None:
        """Deliver ``data`` as one segment."""
        self.session.dataReceived(data)

    def heard(self) -> bytes:
        """What was sent to the client since the last look."""
        said: bytes = self.transport.value()
        self.transport.clear()
        return said

    def ask(self, *lines: bytes) -> bytes:
        """Send lines in one segment; what came back."""
        self.send(b"".join(line + b"\r\n" for line in lines))
        return self.heard()

    def codes(self, *lines: bytes) -> list[int]:
        """Send lines in one segment; the codes of the replies, in order."""
        replies = self.ask(*lines).split(b"\r\n")[:-1]
        return [int(line[:3]) for line in replies if line[3:4] != b"-"]

    def begin(self, *recipients: bytes, sender: bytes = b"sender@client.test") -> None:
        """EHLO, MAIL and RCPT, all of which must be accepted."""
        wanted = recipients or (b"user@example.org",)
        lines = [b"EHLO client.test", b"MAIL FROM:<%s>" % sender]
        codes = self.codes(*lines, *(b"RCPT TO:<%s>" % one for one in wanted))
        assert codes == [250] * len(codes), codes

    def log_in(self, name: str = "user@example.org", password: str = PASSWORD) -> bytes:
        """EHLO and AUTH PLAIN; the answer to the latter."""
        self.ask(b"EHLO client.test")
        return self.ask(b"AUTH PLAIN " + plain(name, password))

    @property
    def is_closed(self) -> bool:
        """Whether the server closed the connection."""
        return self.transport.disconnecting or self.transport.disconnected

    def vanish(self) -> None:
        """Lose the connection."""
        self.session.connectionLost(Failure(ConnectionDone()))


class ClosingTransport(StringTransport):
    """A StringTransport at an address, which can be aborted and paused as a socket can."""

    disconnected = False

    def __init__(self, ip: str) -> None:
        kind = IPv6Address if ":" in ip else IPv4Address
        super().__init__(peerAddress=kind("TCP", ip, 25000))

    def abortConnection(self) -> None:
        """The connection is gone."""
        self.disconnected = True


def plain(name: str, password: str, authorization: str = "") -> bytes:
    """The response of AUTH PLAIN, in base64."""
    return b64encode(f"{authorization}\0{name}\0{password}".encode())


def with_verifier(account: Account, verifier: str | None) -> Directory:
    """The directory with another verifier for ``account``."""
    accounts = {**DIRECTORY.accounts, account.id: evolve(account, scram_verifier=verifier)}
    return evolve(DIRECTORY, accounts=accounts)
