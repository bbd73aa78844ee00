"""What types cannot say of ``[relay_host]``, ``[[transport]]`` and ``[[route]]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from mailrelay.config.transports import (
    KINDS,
    DirectSection,
    FailSection,
    HostTransportSection,
    RelayHostSection,
    RouteSection,
    SocksSection,
    TransportSection,
)
from mailrelay.net.tls import TLSLevel
from mailrelay.routing.ways import MECHANISMS
from mailrelay.smtp.address import MalformedAddress, normal_domain

Note = Callable[[str, str], None]
"""Called with place and text of a problem."""

LONGEST_MESSAGE = 256
"""Characters of a fail transport's text, as in mox."""


def normal_route_domain(text: str) -> str:
    """A route's domain as recipients' are kept.  Raises: MalformedAddress."""
    if text in ("*", "."):
        return text
    dot = "." if text.startswith(".") else ""
    return dot + normal_domain(text.removeprefix("."))


def host_and_port(text: str) -> tuple[str, int] | None:
    """``host:port`` or ``[address]:port``; None when it is neither."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    well_formed = host == (f"[{bare}]" if ":" in bare else bare)
    if not (colon and bare and well_formed and port.isascii() and port.isdigit()):
        return None
    return (bare, int(port)) if len(port) <= 5 and 1 <= int(port) <= 65535 else None


def check_transports(transports: Sequence[TransportSection], problem: Note) -> None:
    """Tell of what is wrong with ``[[transport]]``."""
    names: set[str] = set()
    for i, transport in enumerate(transports, 1):
        place = f"transport[{i}]"
        if not transport.name or not transport.name.isprintable() or len(transport.name) > 64:
            problem(f"{place}.name", "must be 1 to 64 printable characters")
        if transport.name in names:
            problem(f"{place}.name", f"{transport.name!r} is the name of another one, too")
        names.add(transport.name)
        if len(transport.kinds) != 1:
            problem(place, f"needs exactly one of {', '.join(KINDS)}")
        for kind in transport.kinds:
            _CHECKS[kind](getattr(transport, kind), f"{place}.{kind}", problem)


def _check_host(host: HostTransportSection, place: str, problem: Note) -> None:
    if not host.host:
        problem(f"{place}.host", "is empty: set it to a name or an address")
    if host.port is not None and not 1 <= host.port <= 65535:
        problem(f"{place}.port", f"must be a port from 1 to 65535, not {host.port}")
    for i, name in enumerate(host.mechanisms, 1):
        if name not in MECHANISMS:
            known = ", ".join(MECHANISMS)
            problem(f"{place}.mechanisms[{i}]", f"must be one of {known}, not {name!r}")
    if bool(host.username) != bool(host.password or host.password_file):
        problem(f"{place}.username", "needs a password or password_file, and either needs it")


def _check_implicit(host: HostTransportSection, place: str, problem: Note) -> None:
    _check_host(host, place, problem)
    if host.tls in (TLSLevel.NONE, TLSLevel.MAY):
        problem(f"{place}.tls", "must be encrypt or verify: submissions is TLS from the first byte")


def _check_direct(direct: DirectSection, place: str, problem: Note) -> None:
    if direct.disable_ipv4 and direct.disable_ipv6:
        problem(f"{place}.disable_ipv6", "disable_ipv4 is set too: that leaves no address")


def _check_socks(socks: SocksSection, place: str, problem: Note) -> None:
    if host_and_port(socks.address) is None:
        problem(f"{place}.address", f"must be host:port, not {socks.address!r}")
    if not socks.remote_ips:
        problem(f"{place}.remote_ips", "is empty: name the addresses that the proxy connects from")
    for i, text in enumerate(socks.remote_ips, 1):
        try:
            ip_address(text)
        except ValueError as error:
            problem(f"{place}.remote_ips[{i}]", str(error))
    try:
        normal_domain(socks.remote_hostname)
    except MalformedAddress:
        problem(f"{place}.remote_hostname", f"{socks.remote_hostname!r} is not a host name")


def _check_fail(fail: FailSection, place: str, problem: Note) -> None:
    if not 400 <= fail.smtp_code <= 599:
        problem(f"{place}.smtp_code", f"must be from 400 to 599, not {fail.smtp_code}")
    text = fail.smtp_message
    if not (text.isascii() and text.isprintable() and 1 <= len(text) <= LONGEST_MESSAGE):
        problem(f"{place}.smtp_message", "must be 1 to 256 printable ASCII characters")


def _check_peer(name: str, place: str, problem: Note) -> None:
    if not name:
        problem(place, "is empty: set it to a name that `mailrelay peer list` shows")


_CHECKS: dict[str, Callable[[Any, str, Note], None]] = {
    "submissions": _check_implicit,
    "submission": _check_host,
    "smtp": _check_host,
    "direct": _check_direct,
    "socks": _check_socks,
    "peer": _check_peer,
    "fail": _check_fail,
}


def check_routes(
    routes: Sequence[RouteSection], transports: Sequence[TransportSection], problem: Note
) -> None:
    """Tell of what is wrong with ``[[route]]``."""
    names = {transport.name for transport in transports}
    for i, route in enumerate(routes, 1):
        place = f"route[{i}]"
        for where, text in _bad_domains(route):
            problem(f"{place}.{where}", text)
        if route.domain and route.to_domain:
            problem(f"{place}.to_domain", "domain is set too: keep one of them")
        if not route.is_for_something:
            problem(place, 'says not which mail it is for: domain = "*" is for all')
        ways = (route.relay_host is not None, route.mx, route.discard, bool(route.transport))
        if sum(ways) != 1:
            problem(place, "needs exactly one of transport, relay_host, mx and discard")
        if route.transport and route.transport not in names:
            known = ", ".join(sorted(names)) or "none"
            problem(
                f"{place}.transport", f"{route.transport!r} is no [[transport]]; there is: {known}"
            )


def _bad_domains(route: RouteSection) -> Iterator[tuple[str, str]]:
    if route.domain and (route.domain == "." or not _is_route_domain(route.domain)):
        yield "domain", f"{route.domain!r} is no domain, .domain or *"
    for name in ("to_domain", "from_domain"):
        for i, text in enumerate(getattr(route, name), 1):
            if text == "*" or not _is_route_domain(text):
                yield f"{name}[{i}]", f"{text!r} is no domain or .domain; for all, leave it out"


def _is_route_domain(text: str) -> bool:
    try:
        normal_route_domain(text)
    except MalformedAddress:
        return False
    return True


def check_logins(hosts: Sequence[tuple[str, RelayHostSection]], problem: Note) -> None:
    """Tell of relay hosts that are one destination, with two ways to log in."""
    seen: dict[tuple[object, ...], RelayHostSection] = {}
    for place, host in hosts:
        key = (host.host, host.port, host.tls, host.implicit_tls, host.username)
        other = seen.setdefault(key, host)
        if (other.password, other.auth_without_tls) != (host.password, host.auth_without_tls):
            problem(place, "is set elsewhere with another password or auth_without_tls")
