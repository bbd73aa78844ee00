"""Listening endpoints as services that bind early and serve later."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.net.tls import ServerCertificate


class CannotListen(Exception):
    """A port cannot be bound; the message names it and says what to do."""


class _Late(Factory):
    """Passes connections to ``served`` once there is one."""

    noisy = False
    served: Any = None  # IProtocolFactory

    @override
    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self.served.buildProtocol(addr) if self.served is not None else None


class Listener(Service):
    """One listening endpoint.  Unlike StreamServerEndpointService it tells its port.

    It binds in ``privilegedStartService``, before privileges are dropped; what it serves is said
    with ``serve``, and may be changed: the next connection gets the new.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, text: str) -> None:
        self._endpoint, self.text = endpoint, text
        self._factory = _Late()
        self._port: IListeningPort | None = None
        self._failure: Failure | None = None
        self._asked = False

    def serve(self, factory: IProtocolFactory) -> None:
        """Let ``factory`` have the connections from now on."""
        self._factory.served = factory

    @property
    def port(self) -> IListeningPort:
        """The bound port.  Raises: CannotListen."""
        if self._port is None:
            reason = self._failure.value if self._failure else "it is not bound yet"
            raise CannotListen(
                f"cannot listen on {self.text}: {reason}. Stop what holds the port, choose"
                " another, or start as root with run_as for ports below 1024"
            )
        return self._port

    @override
    def privilegedStartService(self) -> None:  # before privileges are dropped: ports below 1024
        super().privilegedStartService()
        self._listen()

    @override
    def startService(self) -> None:
        super().startService()
        self._listen()  # does nothing when already bound

    def _listen(self) -> None:
        if not self._asked:
            self._asked = True
            self._endpoint.listen(self._factory).addCallbacks(self._bound, self._not_bound)

    def _bound(self, port: IListeningPort) -> None:
        self._port = port

    def _not_bound(self, failure: Failure) -> None:
        self._failure = failure

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()
        port, self._port, self._asked = self._port, None, False
        if port is None:
            return succeed(None)
        return maybeDeferred(port.stopListening).addCallback(lambda _: None)


class TLSFactory(Factory):
    """TLS from the first byte, with the certificate of the moment: a reload needs no restart."""

    noisy = False

    def __init__(self, certificate: ServerCertificate, wrapped: IProtocolFactory) -> None:
        self._certificate, self._wrapped = certificate, wrapped

    @override
    def buildProtocol(self, addr: IAddress | None) -> Any:
        options = self._certificate.options()
        wrapping: Any = TLSMemoryBIOFactory(options, False, self._wrapped)
        return wrapping.buildProtocol(addr)
