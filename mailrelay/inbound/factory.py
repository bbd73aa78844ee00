"""Sessions for one listener, TLS from the first byte where its role says so."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.mail.smtp import SMTPFactory
from typing_extensions import override

from mailrelay.inbound.context import Context, Role
from mailrelay.inbound.protocol import SMTPServerProtocol
from mailrelay.inbound.proxy import ProxyFactory
from mailrelay.net.listening import TLSFactory


class SMTPServerFactory(SMTPFactory):
    """Makes a session for each connection."""

    noisy = False

    def __init__(self, context: Context) -> None:
        super().__init__(context.portal)
        self._context = context

    @override
    def buildProtocol(self, addr: IAddress | None) -> SMTPServerProtocol:
        session = SMTPServerProtocol(self._context)
        session.factory = self
        return session


def smtp_factory(context: Context) -> IProtocolFactory:
    """What listens for ``context``'s listener."""
    factory: IProtocolFactory = SMTPServerFactory(context)
    if context.listener.role is Role.SUBMISSIONS:
        assert context.certificate is not None, "config/load.py checks this"
        factory = TLSFactory(context.certificate, factory)
    if context.listener.proxy_protocol:
        header_after = context.listener.limits.idle_after
        factory = ProxyFactory(factory, context.clock, header_after, context.sessions)
    return factory
