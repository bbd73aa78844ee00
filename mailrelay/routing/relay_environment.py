"""docker-mailserver's variables of relay hosts, and its recipient routes.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from mailrelay.routing.next_hop import MalformedNextHop, NextHop, parse_next_hops, parse_port
from mailrelay.routing.relay_files import Credentials, RelayFile, RelayProblem, read_lines


@frozen
class RelayEnvironment:
    """docker-mailserver's variables."""

    default: Sequence[NextHop] = ()  # DEFAULT_RELAY_HOST, for all senders
    relay_host: NextHop | None = None  # RELAY_HOST, for each domain of ours
    login: Credentials | None = None
    is_half: bool = False  # one of RELAY_USER and RELAY_PASSWORD is missing

    @property
    def login_key(self) -> str | None:
        """The next hop that ``login`` is for."""
        if self.default:
            return ", ".join(hop.key for hop in self.default)
        return self.relay_host.key if self.relay_host is not None else None


def read_environment(variables: Mapping[str, str]) -> RelayEnvironment:
    """What the variables say.  Raises: RelayProblem."""
    user, password = variables.get("RELAY_USER", ""), variables.get("RELAY_PASSWORD", "")
    default = variables.get("DEFAULT_RELAY_HOST", "").strip()
    try:
        return RelayEnvironment(
            parse_next_hops(default) if default else (),
            _relay_host(variables.get("RELAY_HOST", "").strip(), variables.get("RELAY_PORT", "")),
            Credentials(user, password) if user and password else None,
            bool(user) != bool(password),
        )
    except MalformedNextHop as error:
        raise RelayProblem(RelayFile.ENVIRONMENT, 0, str(error)) from None


def _relay_host(host: str, port: str) -> NextHop | None:
    if not host:
        return None
    number = parse_port(port.strip()) if port.strip() else 25
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare and bare.count(":") == 1:
        raise MalformedNextHop(f"RELAY_HOST {host!r} has a port: set RELAY_PORT to it")
    [hop] = parse_next_hops(f"[{bare}]:{number}")
    return hop


def read_recipient_routes(text: str) -> Mapping[str, Sequence[NextHop]]:
    """``PATTERN smtp:NEXTHOP``; without a next hop, by MX.  Raises: RelayProblem."""
    file = RelayFile.RECIPIENT_ROUTES
    routes: dict[str, Sequence[NextHop]] = {}
    for line in read_lines(file, text)[0]:
        try:
            routes[line.key] = parse_route(line.value)
        except MalformedNextHop as error:
            raise RelayProblem(file, line.number, str(error)) from None
    return routes


def parse_route(value: str) -> Sequence[NextHop]:
    """``smtp:NEXTHOP``; none for by MX.  Raises: MalformedNextHop."""
    transport, colon, hops = value.partition(":")
    if not colon or transport.lower() not in ("", "smtp", "relay"):
        said = f"{value!r} is no route: write smtp:NEXTHOP, or smtp: for by MX"
        raise MalformedNextHop(said)
    return parse_next_hops(hops) if hops.strip() else ()
