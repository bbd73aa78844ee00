"""Asking a peer whether it knows us: a command's, without a reactor.  A.6.3."""

from __future__ import annotations

import hashlib
import http.client
import ssl
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from ipaddress import ip_network

import msgspec
from attrs import field, frozen

from mailrelay.directory.peers import Peer
from mailrelay.net.destination import Destination, UnusableURL, is_permitted, parse_url
from mailrelay.peering.client import BASE, PeerAnswer
from mailrelay.peering.signature import MOST_SKEW, PREFIX, Signed, fits, response_signature
from mailrelay.smtp.reply import printable

MOST_ANSWER_BYTES = 64 * 1024


class PingFailed(Exception):
    """The peer did not say that it knows us; the message says what is wrong, and what to do."""


@frozen
class Pong:
    """What a peer says of itself.  ``clock_difference``: seconds by which it is ahead of us."""

    server_id: str = ""
    takes_mail: bool = False
    limits: Mapping[str, int] = field(factory=dict)
    features: Sequence[str] = ()
    seconds: float = 0.0
    clock_difference: float | None = None


class _Said(msgspec.Struct, frozen=True):
    server_id: str = ""
    takes_mail: bool = True
    limits: dict[str, int] = {}
    features: list[str] = []


def ping(peer: Peer, now: Callable[[], float]) -> Pong:
    """Ask ``peer`` who it is; blocks.  Raises: PingFailed."""
    key = peer.our_key(now())
    if not peer.url:
        raise PingFailed(f"it has no URL: mailrelay peer set {peer.name} --url")
    if key is None:
        raise PingFailed(f"no key of ours works: mailrelay peer rotate {peer.name} --ours")
    try:
        there = parse_url(peer.url + BASE + "/ping")
    except UnusableURL as error:
        raise PingFailed(f"{peer.url}: {error}") from error
    digest = hashlib.sha256(b"").digest()
    started = now()
    signed = Signed("GET", there.path, "", key.key_id, int(started), "", "", digest)
    signature = signed.signature(key.secret)
    headers = {
        "Mailrelay-Key": key.key_id,
        "Mailrelay-Timestamp": str(signed.timestamp),
        "Mailrelay-Signature": PREFIX + signature,
    }
    status, fields, body = _answer(peer, there, headers)
    given = fields.get("mailrelay-response-signature", "")
    is_signed = fits(given, response_signature(key.secret, status, signature, body))
    return read_pong(peer, PeerAnswer(status, fields, body, is_signed), started, now())


def read_pong(peer: Peer, answer: PeerAnswer, asked_at: float, at: float) -> Pong:
    """What ``peer`` said to one who asked then.  Raises: PingFailed."""
    status, body, is_signed = answer.status, answer.body, answer.is_verified
    difference = _clock_difference(answer.headers, (asked_at + at) / 2)
    if status != 200 or not is_signed:
        raise PingFailed(_why(peer, status, body, difference, is_signed=is_signed))
    try:
        said = msgspec.json.decode(body, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PingFailed(f"its answer cannot be read: {printable(str(error), 200)}") from error
    return Pong(
        printable(said.server_id, 100),
        said.takes_mail,
        {printable(name, 50): value for name, value in said.limits.items()},
        [printable(one, 50) for one in said.features],
        at - asked_at,
        difference,
    )


def _answer(
    peer: Peer, there: Destination, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    connection: http.client.HTTPConnection
    timeout = peer.options.timeout
    try:
        if there.scheme == "https":
            context = ssl.create_default_context(cafile=peer.options.trusted_ca or None)
            if peer.options.client_certificate:
                context.load_cert_chain(peer.options.client_certificate)
            connection = http.client.HTTPSConnection(
                there.host, there.port, timeout=timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(there.host, there.port, timeout=timeout)
        try:
            connection.connect()
            _check_address(peer, there, connection.sock.getpeername()[0])
            connection.request("GET", there.path, headers=dict(headers))
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return response.status, fields, response.read(MOST_ANSWER_BYTES)
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        why = printable(error.verify_message, 200)
        raise PingFailed(f"its certificate is not right: {why}; is --trusted-ca set?") from error
    except (OSError, http.client.HTTPException) as error:
        why = printable(str(error) or type(error).__name__, 200)
        raise PingFailed(f"{there.authority} cannot be reached: {why}") from error


def _check_address(peer: Peer, there: Destination, address: str) -> None:
    """The server goes to no address that it may not; so a command that did would mislead."""
    if not is_permitted(address, [ip_network(text) for text in peer.options.allowed_networks]):
        what = f"{there.host} is at {address}, which is not a public address"
        raise PingFailed(f"{what}: mailrelay peer set {peer.name} --allowed-network {address}")


def _why(peer: Peer, status: int, body: bytes, difference: float | None, *, is_signed: bool) -> str:
    if difference is not None and abs(difference) > MOST_SKEW:
        return f"the clocks differ by {abs(difference):.0f} seconds: set both right"
    if status == 401:
        return f"it does not know our key: compare the keys, or mailrelay peer rotate {peer.name}"
    if status == 403:
        text = printable(body[:200].decode("utf-8", "replace"), 200)
        return f"it knows us, and lets us do nothing: {text}"
    if status in (404, 405, 410):
        return f"nothing speaks mailrelay/1 there: it answered {status}; has it relay = true?"
    if status == 200 and not is_signed:
        return "it answered 200 without its signature: something else answers at that URL"
    return f"it answered {status}"


def _clock_difference(fields: Mapping[str, str], at: float) -> float | None:
    try:
        return parsedate_to_datetime(fields["date"]).timestamp() - at
    except (KeyError, ValueError, TypeError, OverflowError, IndexError):
        return None
