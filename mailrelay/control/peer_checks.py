"""What a peer must be: its name, its URLs, its options, its keys.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import PurePath
from typing import Any

from attrs import evolve, fields_dict

from mailrelay.control.account import MAX_URL_CHARACTERS
from mailrelay.control.errors import Refusal
from mailrelay.directory.peers import FromPolicy, Peer, PeerKey, PeerOptions, PeerProtocol
from mailrelay.message.words import CONTROLS
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

SECRET_BYTES = 32
MOST_CONCURRENCY, LONGEST_TIMEOUT = 1000, 300.0
LONGEST_FALLBACK_AFTER = 30 * 86400.0
MOST_LISTED = 100
MAX_PATH_CHARACTERS = 1000

SMTP_FALLBACK, PEER_FALLBACK = "smtp", "peer:"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"(?P<id>[A-Za-z0-9._-]{1,64}):(?P<secret>[0-9a-fA-F]{64})")
_SHARED = re.compile(r"[!-~]{8,200}")


def check_peer_name(name: str) -> None:
    """Raises: Refusal when ``name`` can be no peer's."""
    if not _NAME.fullmatch(name):
        raise Refusal(f"{name!r} is no name of a peer: use up to 64 letters, digits and ._-")


def checked_url(url: str) -> str:
    """A peer's URL as it is stored; "" is none.  Raises: Refusal."""
    if not url:
        return ""
    if len(url) > MAX_URL_CHARACTERS:
        raise Refusal(f"a URL has at most {MAX_URL_CHARACTERS} characters")
    try:
        there = parse_url(url)
    except UnusableURL as error:
        raise Refusal(f"{url!r}: {error}") from None
    if "?" in url or "#" in url:
        raise Refusal(f"{url!r}: the URL of a peer has neither a query nor a fragment")
    if there.scheme != "https" and not there.is_loopback:
        raise Refusal(f"{url!r}: mail goes to a peer over https; http is for loopback alone")
    return url.rstrip("/")


def checked_options(peer: Peer, given: Mapping[str, object]) -> PeerOptions:
    """The options of ``peer`` with what is ``given`` in their place.  Raises: Refusal."""
    unknown = set(given) - set(fields_dict(PeerOptions))
    if unknown:
        raise Refusal(f"a peer has no option {sorted(unknown)[0]!r}")
    values = {name: _CHECKS.get(name, _as_it_is)(value) for name, value in given.items()}
    options = evolve(peer.options, **values)
    if (options.from_policy is FromPolicy.REWRITE) != bool(options.from_address):
        raise Refusal("--from-address goes with --from-policy rewrite: give both, or neither")
    if options.fallback == f"{PEER_FALLBACK}{peer.name}":
        raise Refusal("a peer is no fallback of its own")
    return options


def _as_it_is(value: Any) -> Any:
    return value


def _from_address(text: Any) -> str:
    try:
        return str(Address.parse(text)) if text else ""
    except MalformedAddress as error:
        raise Refusal(f"--from-address {text!r} is no address: {error}") from None


def _from_domains(given: Any) -> tuple[str, ...]:
    if len(given) > MOST_LISTED:
        raise Refusal(f"at most {MOST_LISTED} domains can be named")
    try:
        return tuple(normal_domain(text) for text in given)
    except MalformedAddress as error:
        raise Refusal(f"--from-domain: {error}") from None


def _networks(given: Any) -> tuple[str, ...]:
    if len(given) > MOST_LISTED:
        raise Refusal(f"at most {MOST_LISTED} networks can be named")
    try:
        return tuple(str(ip_network(text)) for text in given)
    except ValueError as error:
        raise Refusal(f"--allowed-network: {error}: write it as 192.0.2.0/24") from None


def _fallback(text: Any) -> str:
    if text and text != SMTP_FALLBACK and not text.startswith(PEER_FALLBACK):
        raise Refusal(f"--fallback is smtp, or peer:NAME, or empty; not {text!r}")
    return str(text)


def _path(text: Any) -> str:
    if text and (len(text) > MAX_PATH_CHARACTERS or CONTROLS.search(text)):
        raise Refusal(f"{text!r} is no path of a file")
    if text and not PurePath(text).is_absolute():
        raise Refusal(f"{text}: the server reads this file, too: name it from / on")
    return str(text)


def _number(what: str, least: float, most: float) -> Callable[[Any], Any]:
    def checked(given: Any) -> Any:
        if not least <= given <= most:
            raise Refusal(f"--{what} is from {least:g} to {most:g}")
        return given

    return checked


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "from_address": _from_address,
    "from_domains": _from_domains,
    "fallback": _fallback,
    "fallback_after": _number("fallback-after", 0, LONGEST_FALLBACK_AFTER),
    "trusted_ca": _path,
    "client_certificate": _path,
    "allowed_networks": _networks,
    "concurrency": _number("concurrency", 1, MOST_CONCURRENCY),
    "timeout": _number("timeout", 1, LONGEST_TIMEOUT),
}


def read_key(protocol: PeerProtocol, text: str, *, is_ours: bool, at: float) -> PeerKey | None:
    """A key as the other side shows it; None for a secret that has yet to be given an id.

    Raises: Refusal, which has nothing of ``text``.
    """
    if protocol is PeerProtocol.ZOTONIC:
        if not _SHARED.fullmatch(text):
            raise Refusal("the secret of a zotonic peer is 8 to 200 printable characters")
        return None
    match = _KEY.fullmatch(text)
    if match is None:
        raise Refusal("a key is written as key-id:hex, the hex of 64 digits")
    return PeerKey(match["id"], bytes.fromhex(match["secret"]), is_ours, at)


def key_text(protocol: PeerProtocol, key: PeerKey) -> str:
    """A key as it is given to the other side."""
    if protocol is PeerProtocol.ZOTONIC:
        return key.secret.decode("ascii")
    return f"{key.key_id}:{key.secret.hex()}"
