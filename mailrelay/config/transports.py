"""``[relay_host]``, ``[[transport]]`` and ``[[route]]`` of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from mailrelay.net.tls import TLSLevel
from mailrelay.routing.ways import MECHANISMS

DOCKER_VARIABLES = {
    "DEFAULT_RELAY_HOST": "default_host",
    "RELAY_HOST": "host",
    "RELAY_PORT": "port",
    "RELAY_USER": "username",
    "RELAY_PASSWORD": "password",
}
"""docker-mailserver's, and the settings of ``[relaying]`` that they are."""

TLS_SCOPES = ("relay", "all")

PORTS = {"submissions": 465, "submission": 587, "smtp": 25}
KINDS = (*PORTS, "direct", "socks", "peer", "fail")


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class RelayHostSection:
    """``[relay_host]``, and ``relay_host`` of a route."""

    host: str = field(metadata=_doc("name or address of the next hop"))
    port: int = field(default=25, metadata=_doc("465 implies TLS from the first byte"))
    tls: TLSLevel = field(default=TLSLevel.MAY, metadata=_doc("none, may, encrypt or verify"))
    implicit_tls: bool = field(default=False, metadata=_doc("TLS from the first byte"))
    username: str = field(default="", metadata=_doc("log in as; no AUTH when empty"))
    password: str = field(default="", repr=False, metadata=_doc("its password"))
    password_file: str = field(default="", metadata=_doc("a file whose first line it is"))
    auth_without_tls: bool = field(
        default=False, metadata=_doc("send the password though the connection is not encrypted")
    )


@frozen
class HopSection:
    """``hop`` of a chain."""

    next_hop: str = field(metadata=_doc("[host]:port; without brackets by its MX records"))
    weight: int = field(
        default=0, metadata=_doc("its share among those that have one; they come before the others")
    )
    tls: str = field(default="", metadata=_doc("the least: may, encrypt, verify or implicit"))
    credentials: str = field(
        default="",
        metadata=_doc("key of who logs in; as for any relay host when empty"),
    )


@frozen
class ChainSection:
    """``chain`` of ``[relaying]``: relay hosts of a sender or an account."""

    hop: Sequence[HopSection] = field(metadata=_doc(""))
    sender: str = field(default="", metadata=_doc("@domain, an address, or <> for bounces"))
    account: str = field(default="", metadata=_doc("or the name of an account"))
    move_on: Sequence[str] = field(
        factory=tuple,
        metadata=_doc(
            'replies that have the next host asked, as "421", "4.7.1" or "550 5.7.1"; when it is'
            " empty, those that put all recipients off"
        ),
    )


@frozen
class RelayingSection:
    """``[relaying]``: relay hosts by sender, as docker-mailserver has them."""

    dir: str = field(
        default="",
        metadata=_doc("folder of postfix-relaymap.cf and postfix-sasl-password.cf"),
    )
    recipient_routes: str = field(
        default="", metadata=_doc("file of recipient routes: PATTERN smtp:NEXTHOP")
    )
    default_host: str = field(
        default="", metadata=_doc("next hop of all senders; $DEFAULT_RELAY_HOST")
    )
    host: str = field(
        default="", metadata=_doc("next hop of senders in domains of ours; $RELAY_HOST")
    )
    port: str = field(default="", metadata=_doc("its port, 25 when empty; $RELAY_PORT"))
    username: str = field(
        default="", metadata=_doc("log in there, or at default_host if that is set; $RELAY_USER")
    )
    password: str = field(default="", repr=False, metadata=_doc("its password; $RELAY_PASSWORD"))
    password_file: str = field(default="", metadata=_doc("a file whose first line it is"))
    tls_scope: str = field(
        default="relay",
        metadata=_doc("relay or all: where TLS is required once there are credentials"),
    )
    unverified_hosts: Sequence[str] = field(
        factory=tuple,
        metadata=_doc("relay hosts that are logged in to though their certificate is not right"),
    )

    chain: Sequence[ChainSection] = field(factory=tuple, metadata=_doc(""))

    @property
    def variables(self) -> Mapping[str, str]:
        """What docker-mailserver's variables would say."""
        return {name: getattr(self, setting) for name, setting in DOCKER_VARIABLES.items()}


@frozen
class HostTransportSection:
    """``submissions``, ``submission`` and ``smtp`` of a transport."""

    host: str = field(metadata=_doc("name or address of the server"))
    port: int | None = field(
        default=None, metadata=_doc("465 for submissions, 587 for submission, 25 for smtp")
    )
    tls: TLSLevel = field(
        default=TLSLevel.VERIFY,
        metadata=_doc("none, may, encrypt or verify; submissions knows the last two only"),
    )
    username: str = field(default="", metadata=_doc("log in as; no AUTH when empty"))
    password: str = field(default="", repr=False, metadata=_doc("its password"))
    password_file: str = field(default="", metadata=_doc("a file whose first line it is"))
    mechanisms: Sequence[str] = field(
        factory=tuple,
        metadata=_doc(
            f"those of {', '.join(MECHANISMS)} that may be used; all when empty, but PLAIN and"
            " LOGIN, which send the password, only where tls is verify"
        ),
    )
    auth_without_tls: bool = field(
        default=False, metadata=_doc("log in though the connection is not encrypted")
    )

    @property
    def usable_mechanisms(self) -> Sequence[str]:
        """What may be used: a password goes to nobody whom no certificate proves."""
        if self.mechanisms:
            return tuple(name for name in MECHANISMS if name in self.mechanisms)
        if self.tls is TLSLevel.VERIFY or self.auth_without_tls:
            return MECHANISMS
        return tuple(name for name in MECHANISMS if name.startswith("SCRAM-"))


@frozen
class DirectSection:
    """``direct`` of a transport."""

    disable_ipv4: bool = field(default=False, metadata=_doc("connect to no IPv4 address"))
    disable_ipv6: bool = field(default=False, metadata=_doc("connect to no IPv6 address"))


@frozen
class SocksSection:
    """``socks`` of a transport."""

    address: str = field(
        metadata=_doc("host:port of a SOCKS5 proxy that asks for no login; [2001:db8::1]:1080")
    )
    remote_ips: Sequence[str] = field(
        metadata=_doc(
            "addresses that the proxy connects from: only to their families; they belong into SPF"
        )
    )
    remote_hostname: str = field(
        metadata=_doc("name in EHLO: what those addresses resolve to, and it to them")
    )


@frozen
class FailSection:
    """``fail`` of a transport."""

    smtp_code: int = field(default=554, metadata=_doc("400 to 499 to defer, 500 to 599 to fail"))
    smtp_message: str = field(
        default="the transport is set to fail",
        metadata=_doc("what the sender is told; at most 256 ASCII characters"),
    )


@frozen
class TransportSection:
    """One ``[[transport]]``: a name, and exactly one of the others."""

    name: str = field(metadata=_doc("what routes call it"))
    submissions: HostTransportSection | None = field(
        default=None, metadata=_doc("to a server, with TLS from the first byte")
    )
    submission: HostTransportSection | None = field(
        default=None, metadata=_doc("to a server's submission port, with STARTTLS")
    )
    smtp: HostTransportSection | None = field(
        default=None, metadata=_doc("to a server's port 25, with STARTTLS")
    )
    direct: DirectSection | None = field(
        default=None, metadata=_doc("to the hosts that DNS names for the recipient's domain")
    )
    socks: SocksSection | None = field(
        default=None, metadata=_doc("to those hosts, through a SOCKS5 proxy")
    )
    peer: str | None = field(
        default=None, metadata=_doc("to the peer of this name, over HTTPS: mailrelay peer add")
    )
    fail: FailSection | None = field(
        default=None, metadata=_doc("nowhere: answer with this, and connect to nobody")
    )

    @property
    def kinds(self) -> Sequence[str]:
        """Those of KINDS that are set."""
        return [kind for kind in KINDS if getattr(self, kind) is not None]


@frozen
class RouteSection:
    """One ``[[route]]``: the first that fits all it names decides."""

    domain: str = field(
        default="", metadata=_doc("the recipient's: a domain, .domain for those below it, or *")
    )
    to_domain: Sequence[str] = field(
        factory=tuple, metadata=_doc("the recipient's, or .domain for it and those below it")
    )
    from_domain: Sequence[str] = field(
        factory=tuple, metadata=_doc("the reverse-path's, or .domain for it and those below it")
    )
    minimum_attempts: int = field(
        default=0, metadata=_doc("for what has been attempted so often already")
    )
    account: str = field(default="", metadata=_doc("name of the account that submitted it"))
    transport: str = field(default="", metadata=_doc("name of a [[transport]]"))
    relay_host: RelayHostSection | None = field(default=None, metadata=_doc("the next hop"))
    mx: bool = field(default=False, metadata=_doc("by MX, though [relay_host] is set"))
    discard: bool = field(default=False, metadata=_doc("accept and throw away"))

    @property
    def is_for_something(self) -> bool:
        """Whether it says which mail it is for."""
        return bool(
            self.domain
            or self.to_domain
            or self.from_domain
            or self.minimum_attempts
            or self.account
        )


def relay_host_sections(
    relay_host: RelayHostSection | None, routes: Sequence[RouteSection]
) -> Iterator[tuple[str, RelayHostSection]]:
    """Every relay host, with its place."""
    if relay_host is not None:
        yield "relay_host", relay_host
    for i, route in enumerate(routes, 1):
        if route.relay_host is not None:
            yield f"route[{i}].relay_host", route.relay_host


def login_sections(
    relay_host: RelayHostSection | None,
    routes: Sequence[RouteSection],
    transports: Sequence[TransportSection],
) -> Iterator[tuple[str, RelayHostSection | HostTransportSection]]:
    """Every server that may be logged in to, with its place."""
    yield from relay_host_sections(relay_host, routes)
    yield from host_transport_sections(transports)


def host_transport_sections(
    transports: Sequence[TransportSection],
) -> Iterator[tuple[str, HostTransportSection]]:
    """Every server that is a transport, with its place."""
    for i, transport in enumerate(transports, 1):
        for kind in PORTS:
            section = getattr(transport, kind)
            if section is not None:
                yield f"transport[{i}].{kind}", section
