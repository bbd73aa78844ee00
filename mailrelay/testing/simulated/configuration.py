"""What the simulated node is configured to be, and the store that its first life finds."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.config.settings import (
    ListenerSection,
    LogSection,
    Settings,
    SMTPOutSection,
    StorageSection,
)
from mailrelay.config.transports import (
    ChainSection,
    HopSection,
    RelayingSection,
    RouteSection,
    TransportSection,
)
from mailrelay.control.bootstrap import FirstAccount, bootstrap
from mailrelay.control.peers import PeerDetails
from mailrelay.directory.peers import PeerProtocol
from mailrelay.handoff.endpoints import HandOffInSettings
from mailrelay.handoff.settings import HandOffSettings
from mailrelay.net.tls import TLSLevel
from mailrelay.policy.limits import Limits
from mailrelay.queue.schedule import RetryProfile
from mailrelay.service.controls import open_control
from mailrelay.testing.simulated import mailrelay_peers, zotonic_site
from mailrelay.testing.simulated.handing_in import TOKEN
from mailrelay.testing.simulated.http_hops import APPLICATION, PEER, PLACES, PUSHING, SECOND, SITE
from mailrelay.testing.simulated.node import ADDRESSES, IP
from mailrelay.testing.simulated.peers import CHAIN
from mailrelay.testing.simulated.world import EPOCH
from mailrelay.web.settings import HTTPSettings

HTTP_TIMEOUT = 40.0
FALLBACK_AFTER = 15.0
LOOPBACK = ("127.0.0.0/8",)
HTTP_PORT = 8080
PUBLIC_URL = f"http://{IP}:{HTTP_PORT}"

RETRIES = RetryProfile(
    first_after=20.0,
    longest_after=60.0,
    give_up_after=150.0,
    least_attempts=4,
    delay_dsn_after=60.0,
)


@frozen
class _KnownPeer:
    """As the node knows a peer."""

    name: str
    domain: str
    our_key: str
    their_key: str | None = None
    protocol: PeerProtocol = PeerProtocol.MAILRELAY
    path: str = ""
    options: Mapping[str, object] = {}


_KEY = f"{mailrelay_peers.KEY_ID}:{mailrelay_peers.SECRET.hex()}"
_THEIR_KEY = f"{mailrelay_peers.THEIR_KEY_ID}:{mailrelay_peers.THEIR_SECRET.hex()}"
_AWAY: Mapping[str, object] = {"fallback": "peer:peer", "fallback_after": FALLBACK_AFTER}
_PEERS = (
    _KnownPeer("peer", PEER, _KEY),
    _KnownPeer("second", SECOND, _KEY, options=_AWAY),
    _KnownPeer("pushing", PUSHING, _KEY, _THEIR_KEY),
    _KnownPeer(
        "site", SITE, zotonic_site.SECRET, protocol=PeerProtocol.ZOTONIC, path=zotonic_site.PATH
    ),
)


def fast_folder() -> str | None:
    """Memory, where there is such a file system: what fsync is for is simulated anyway."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@cache
def template() -> Path:
    """A migrated store with one domain, one account and the peers, made once a process."""
    folder = Path(tempfile.mkdtemp(dir=fast_folder()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    control = open_control(node_settings(folder), "simulation", lambda: EPOCH, Random(1))
    first = FirstAccount("user", "example.org", "user", "password", "admin password")
    Deferred.fromCoroutine(bootstrap(control.directory, first))
    shared: Mapping[str, object] = {"allowed_networks": LOOPBACK, "timeout": HTTP_TIMEOUT}
    for peer in _PEERS:
        details = PeerDetails(url=_url(peer.domain) + peer.path, options={**shared, **peer.options})
        added = control.peers.add(peer.name, peer.protocol, details, peer.our_key, peer.their_key)
        failed: list[Any] = []
        Deferred.fromCoroutine(added).addErrback(failed.append)
        for failure in failed:
            failure.raiseException()
    control.close()
    return folder / "mailrelay.db"


def _url(domain: str) -> str:
    host, port = PLACES[domain]
    return f"http://{host}:{port}"


def node_settings(folder: Path) -> Settings:
    """Of a node whose data is in ``folder``."""
    hops = [HopSection(f"[{ADDRESSES[domain]}]:25") for domain in CHAIN]
    return Settings(
        "mx.example.org",
        folder,
        trusted_networks=("10.9.0.0/16",),
        listener=[
            ListenerSection("mx", f"tcp:25:interface={IP}"),
            ListenerSection("submission", f"tcp:587:interface={IP}"),
            ListenerSection("http", f"tcp:{HTTP_PORT}:interface={IP}", relay=True, handoff=True),
        ],
        storage=StorageSection(min_free_bytes=0),
        limits=Limits(errors=1000),
        smtp_out=SMTPOutSection(mx_tls=TLSLevel.NONE, command_timeout=40.0, connect_timeout=10.0),
        log=LogSection(mail_log=""),
        http=HTTPSettings(public_url=PUBLIC_URL),
        stop_grace=5.0,
        relaying=RelayingSection(chain=[ChainSection(hops, f"@{CHAIN[0]}")]),
        transport=[TransportSection(peer.name, peer=peer.name) for peer in _PEERS],
        route=[RouteSection(transport=peer.name, to_domain=[peer.domain]) for peer in _PEERS],
        handoff=[
            HandOffSettings(
                "app",
                f"{_url(APPLICATION)}/in",
                [APPLICATION],
                timeout=HTTP_TIMEOUT,
                permanent_statuses=[422],
                allowed_networks=LOOPBACK,
            )
        ],
        handoff_in=[HandOffInSettings("in", tokens=[TOKEN])],
    )
