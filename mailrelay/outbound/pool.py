"""Connections: made when needed, kept a while for the next message to the same destination."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailrelay.net.peer_tls import Check, VerifiedBy
from mailrelay.net.socks import SocksEndpoint
from mailrelay.net.tls import ClientTLS, TLSLevel
from mailrelay.net.writing import Outbox
from mailrelay.outbound.hosts import Target
from mailrelay.outbound.opening import CLOSED_BY_US, SessionPlan, Stage
from mailrelay.outbound.protocol import SMTPClientProtocol
from mailrelay.outbound.settings import OutboundSettings
from mailrelay.outbound.transcript import Transcript
from mailrelay.queue.outcome import Postponed
from mailrelay.routing.ways import MECHANISMS, SocksProxy


@frozen
class Access:
    """How a host is to be talked to."""

    level: TLSLevel
    implicit_tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    auth_without_tls: bool = False
    mechanisms: Sequence[str] = MECHANISMS
    socks: SocksProxy | None = None
    check: Check | None = None  # of its certificate, instead of the authorities that are known
    is_observed: bool = False  # a certificate that is not right is noted, and believed


@define
class _Idle:
    connection: SMTPClientProtocol
    target: Target
    timer: IDelayedCall


class ConnectionPool:
    """Ready connections, shared only between those who agree on destination key and Access."""

    def __init__(
        self,
        reactor: Any,
        clock: IReactorTime,
        settings: OutboundSettings,
        ehlo_name: str,
        client_tls: ClientTLS,
        nonce: Callable[[], str],
    ) -> None:
        self._reactor, self._clock = reactor, clock
        self._settings, self._ehlo_name = settings, ehlo_name
        self._client_tls, self._nonce = client_tls, nonce
        self._outbox = Outbox(clock)
        self._idle: dict[Hashable, list[_Idle]] = {}
        self._open: dict[SMTPClientProtocol, None] = {}  # a set in the order of opening
        self._connecting: dict[SMTPClientProtocol, Deferred[Any]] = {}
        self._all_gone: list[Deferred[None]] = []

    @property
    def open_connections(self) -> int:
        """Connections, idle or in use."""
        return len(self._open)

    def take_idle(
        self, key: Hashable, most_age: float | None = None
    ) -> tuple[SMTPClientProtocol, Target] | None:
        """A ready connection to the destination, which is the caller's now.

        One that was opened more than ``most_age`` seconds ago is closed.
        """
        idle = self._idle.get(key)
        while idle:
            kept = idle.pop()
            kept.timer.cancel()
            age = self._clock.seconds() - kept.connection.opened_at
            if most_age is not None and age > most_age:
                kept.connection.close()
            elif kept.connection.stage is Stage.READY:
                return kept.connection, kept.target
        return None

    def give_back(self, key: Hashable, connection: SMTPClientProtocol, target: Target) -> None:
        """Keep the connection for the next message, if it is still good."""
        if connection.stage is not Stage.READY:
            return
        if connection.transactions >= self._settings.reuse_most:
            connection.close()
            return
        timer = self._clock.callLater(self._settings.reuse_idle_for, self._expire, key, connection)
        self._idle.setdefault(key, []).append(_Idle(connection, target, timer))

    def _expire(self, key: Hashable, connection: SMTPClientProtocol) -> None:
        self._drop(key, connection)
        connection.close()

    def _drop(self, key: Hashable, connection: SMTPClientProtocol) -> None:
        kept = [idle for idle in self._idle.get(key, ()) if idle.connection is not connection]
        if kept:
            self._idle[key] = kept
        else:
            self._idle.pop(key, None)

    async def connect(
        self,
        target: Target,
        access: Access,
        transcript: Transcript,
        proxy: Target | None = None,
    ) -> SMTPClientProtocol:
        """A new connection, greeted, in TLS and logged in as ``access`` asks, through ``proxy``.

        Raises: what kept it from getting ready.
        """
        settings = self._settings
        creator = self._creator(target.host, access)
        plan = SessionPlan(
            target.host,
            access.socks.ehlo_name if access.socks else self._ehlo_name,
            access.level,
            access.implicit_tls,
            creator,
            settings.timeouts,
            access.username,
            access.password,
            access.auth_without_tls,
            self._nonce(),
            access.mechanisms,
            access.is_observed,
        )
        connection = SMTPClientProtocol(plan, self._clock, transcript, self._outbox)
        connection.on_closed = self._gone
        factory: IProtocolFactory = _One(connection)
        if access.implicit_tls:
            factory = TLSMemoryBIOFactory(creator, True, factory)
        self._open[connection] = None
        await self._connected(connection, self._endpoint(target, proxy).connect(factory))
        await connection.ready
        return connection

    def _creator(self, host: str, access: Access) -> Any:
        if access.level is TLSLevel.NONE and not access.implicit_tls:
            return None
        if access.check is not None:
            return VerifiedBy(host, access.check)
        return self._client_tls(host, access.level, is_observed=access.is_observed)

    async def _connected(self, connection: SMTPClientProtocol, connecting: Deferred[Any]) -> None:
        self._connecting[connection] = connecting
        try:
            await connecting
        except BaseException as error:
            self._gone(connection)
            if isinstance(error, CancelledError | ConnectingCancelledError):
                raise Postponed(CLOSED_BY_US) from error
            raise
        finally:
            del self._connecting[connection]

    def _endpoint(self, target: Target, proxy: Target | None) -> IStreamClientEndpoint:
        if proxy is None:
            return self._tcp(target)
        name = f"{proxy.host} [{proxy.ip}]:{proxy.port}"
        timeout = self._settings.timeouts.connect
        inner = self._tcp(proxy)
        return SocksEndpoint(self._clock, inner, name, target.ip, target.port, timeout)

    def _tcp(self, target: Target) -> IStreamClientEndpoint:
        timeout = int(self._settings.timeouts.connect)
        if ":" in target.ip:
            bind = (self._settings.source_ipv6, 0) if self._settings.source_ipv6 else None
            return TCP6ClientEndpoint(self._reactor, target.ip, target.port, timeout, bind)
        bind = (self._settings.source_ipv4, 0) if self._settings.source_ipv4 else None
        return TCP4ClientEndpoint(self._reactor, target.ip, target.port, timeout, bind)

    def _gone(self, connection: SMTPClientProtocol) -> None:
        self._open.pop(connection, None)
        if not self._open:
            waiting, self._all_gone = self._all_gone, []
            for gone in waiting:
                gone.callback(None)

    def gone(self) -> Deferred[None]:
        """Fires when no connection is open."""
        gone: Deferred[None] = Deferred()
        self._all_gone.append(gone)
        if not self._open:
            self._all_gone.remove(gone)
            gone.callback(None)
        return gone

    def close_idle(self) -> None:
        """Close what nobody uses."""
        for key, kept in list(self._idle.items()):
            for idle in kept:
                idle.timer.cancel()
                idle.connection.close()
            self._idle.pop(key, None)

    def abort_all(self) -> None:
        """Break off everything: the grace period is over."""
        self.close_idle()
        for connection in list(self._open):
            connecting = self._connecting.get(connection)
            if connecting is not None:
                connecting.cancel()
            else:
                connection.abort()


class _One(Factory):
    noisy = False

    def __init__(self, connection: SMTPClientProtocol) -> None:
        self._connection = connection

    def buildProtocol(self, addr: object) -> SMTPClientProtocol:
        return self._connection
