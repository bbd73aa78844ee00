"""Asking a peer whether it knows us, as the server asks: no thread waits for the answer.  A.6.3."""

from __future__ import annotations

from collections.abc import Callable

from mailrelay.directory.peers import Peer
from mailrelay.net.destination import UnusableURL
from mailrelay.net.http import CallFailed
from mailrelay.net.tls import UnusableCertificate
from mailrelay.peering.client import NoKey, PeerCall, PeerClient
from mailrelay.peering.ping import MOST_ANSWER_BYTES, PingFailed, Pong, read_pong
from mailrelay.smtp.reply import printable

WITHIN = 15.0
"""Seconds: somebody looks at an empty page until then."""


async def ask_for_pong(client: PeerClient, peer: Peer, now: Callable[[], float]) -> Pong:
    """Ask ``peer`` who it is.  Raises: PingFailed."""
    if not peer.url:
        raise PingFailed("it has no URL")
    asked_at, within = now(), min(WITHIN, peer.options.timeout)
    try:
        answer = await client.ask(peer, PeerCall("GET", "/ping"), within)
    except NoKey:
        raise PingFailed("no key of ours works: make a new one") from None
    except (CallFailed, UnusableURL, UnusableCertificate) as error:
        raise PingFailed(f"{peer.url} cannot be reached: {printable(str(error), 200)}") from error
    if len(answer.body) > MOST_ANSWER_BYTES:
        raise PingFailed(f"its answer is longer than {MOST_ANSWER_BYTES} bytes")
    return read_pong(peer, answer, asked_at, now())
