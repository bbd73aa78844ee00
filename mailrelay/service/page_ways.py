"""The administrator's pages about where mail goes, composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.config.convert import relay_place
from mailrelay.config.settings import Settings
from mailrelay.control.relays import read_sources
from mailrelay.directory.peers import Peer
from mailrelay.directory.relays import RelayRule
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.admin_calls import AdminCallPages
from mailrelay.pages.admin_explain import ExplainPages
from mailrelay.pages.admin_holds import HoldRulePages
from mailrelay.pages.admin_peers import PeerPages, Ping
from mailrelay.pages.admin_relays import RelayPages
from mailrelay.pages.door import Doors as PageDoors
from mailrelay.peering.client import PeerClient
from mailrelay.peering.ping import PingFailed
from mailrelay.peering.pinging import ask_for_pong
from mailrelay.routing.relay_sources import RelaySources
from mailrelay.service.application import Doors
from mailrelay.service.controls import Control
from mailrelay.service.peers_out import PeerClients
from mailrelay.web.request import Route


def way_routes(
    s: Surroundings,
    settings: Settings,
    doors: Doors,
    page_doors: PageDoors,
    control: Callable[[str], Control],
) -> Sequence[Route]:
    """Hold rules, webhook calls, routes, relay hosts, peers, explain."""

    async def sources(stored: Sequence[RelayRule]) -> RelaySources:
        domains = sorted(doors.directory().domains)
        return await s.workers.run(read_sources, relay_place(settings.relaying), domains, stored)

    async def pinged(peer: Peer) -> Ping:
        clients = PeerClients(s)
        try:
            pong = await ask_for_pong(PeerClient(clients.of, s.now), peer, s.now)
        except PingFailed as error:
            return Ping(str(error))
        finally:
            await clients.close()
        return Ping("", pong.seconds, pong.takes_mail, pong.clock_difference, pong.limits)

    relays = RelayPages(
        page_doors, lambda actor: control(actor).relays, sources, control("").relay_alarms
    )
    return [
        *HoldRulePages(page_doors, lambda actor: control(actor).holds).routes(),
        *AdminCallPages(page_doors, lambda actor: control(actor).calls).routes(),
        *ExplainPages(page_doors, doors.explain).routes(),
        *relays.routes(),
        *PeerPages(page_doors, lambda actor: control(actor).peers, pinged, s.now).routes(),
    ]
