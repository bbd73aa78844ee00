"""Where a Zotonic site hears of its mail: nowhere that its operator did not name.  Pure."""

from __future__ import annotations

from mailrelay.directory.peers import Peer
from mailrelay.net.destination import Destination, UnusableURL, parse_url
from mailrelay.peering.zotonic import LONGEST_URL


def may_hear_at(peer: Peer, url: str) -> bool:
    """Whether ``url``, which a request named, is of the origin that the peer was given here.

    The secret goes there: whoever could choose it could have it.
    """
    there, known = _destination(url), _destination(peer.callback_url)
    if there is None or known is None or len(url) > LONGEST_URL or "#" in url:
        return False
    return (there.scheme, there.host, there.port) == (known.scheme, known.host, known.port)


def _destination(url: str) -> Destination | None:
    try:
        return parse_url(url) if url else None
    except UnusableURL:
        return None


def place_of_reports(peer: Peer, webhook_url: str | None) -> str:
    """Where it is told of a message; "" when nowhere."""
    if webhook_url and may_hear_at(peer, webhook_url):
        return webhook_url
    return peer.callback_url
