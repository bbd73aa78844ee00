"""HTTPS with the certificate of the moment, and with that of a challenge for who asks for it."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from typing_extensions import override

from mailrelay.certificates.challenges import ACME_TLS
from mailrelay.certificates.held import Certificates


class HTTPSFactory(Factory):
    """TLS from the first byte.  While no name is being proved, nothing but that."""

    noisy = False

    def __init__(self, certificates: Certificates, wrapped: IProtocolFactory) -> None:
        self._certificates, self._wrapped = certificates, wrapped

    @override
    def buildProtocol(self, addr: IAddress | None) -> Any:
        wrapped: Any = self._wrapped
        options = self._certificates.options()
        if self._certificates.is_challenged():
            options = self._certificates.challenged()
            wrapped = _NothingInChallenges(wrapped)
        wrapping: Any = TLSMemoryBIOFactory(options, False, wrapped)
        return wrapping.buildProtocol(addr)


class _Unspoken(ProtocolWrapper):
    """No application data belongs into a connection of acme-tls/1 (RFC 8737 section 4)."""

    @override
    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        if transport.negotiatedProtocol == ACME_TLS:
            transport.abortConnection()
        else:
            super().dataReceived(data)


class _NothingInChallenges(WrappingFactory):
    noisy = False
    protocol = _Unspoken
