"""What HTTP listeners serve: the routes that each mounts, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from mailrelay.certificates.held import Certificates
from mailrelay.certificates.serving import HTTPSFactory
from mailrelay.config.settings import ListenerSection, Settings
from mailrelay.net.surroundings import Surroundings
from mailrelay.web.monitor import INDEX, Monitor
from mailrelay.web.request import Route
from mailrelay.web.site import HTTPContext, Site


class Sites:
    """Makes the site of a listener.

    ``answered`` counts requests; ``applications`` are the routes of the APIs, ``handoffs`` those
    where mail is handed in; ``peers`` makes those for other servers, who may come by our proxy;
    ``pages`` are for people, ``autoconfig`` for mail programs; every listener has those that are
    ``everywhere``.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        settings: Settings,
        sessions: set[Any],
        answered: Callable[[str, int], object],
        monitor: Monitor,
        applications: Sequence[Route],
        handoffs: Callable[[], Sequence[Route]],
        peers: Callable[[bool], Sequence[Route]],
        pages: Sequence[Route],
        autoconfig: Sequence[Route],
        everywhere: Sequence[Route] = (),
    ) -> None:
        s = surroundings
        self._monitor, self._applications, self._pages = monitor, applications, pages
        self._handoffs, self._peers, self._everywhere = handoffs, peers, everywhere
        self._autoconfig = autoconfig
        self._context = HTTPContext(s.clock, s.now, settings.http, sessions, answered)

    @property
    def connections(self) -> int:
        """Those that are open."""
        return self._context.connections.total

    def factory(self, section: ListenerSection, certificates: Certificates) -> IProtocolFactory:
        """What the listener of ``section`` gives its connections to."""
        is_secure = section.role == "https"
        site: Any = Site(
            self._context,
            self._routes(section),
            is_secure=is_secure,
            behind_proxy=section.forwarded,
        )
        if not is_secure:
            return site  # type: ignore[no-any-return]
        return HTTPSFactory(certificates, site)

    def _routes(self, section: ListenerSection) -> Sequence[Route]:
        return [
            *(self._pages if section.pages else (INDEX,)),
            *self._everywhere,
            *(self._monitor.routes() if section.monitoring else ()),
            *(self._applications if section.webapi else ()),
            *(self._handoffs() if section.handoff else ()),
            *(self._autoconfig if section.autoconfig else ()),
            *(self._peers(section.forwarded) if section.relay else ()),
        ]
