"""Which relay host mail goes by, and who one logs in as there.  Pure.

Postfix's order: a recipient's route, then the sender (its address, its address without an
extension, its ``@domain``), then the default, then MX.  Ours differ from it where it surprised
people (see docs/relaying.md): credentials go to the relay host that was chosen for the sender and
to no other server, TLS is required for relay hosts alone, and port 465 is TLS from the first byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from attrs import evolve, field, frozen

from mailrelay.routing.next_hop import MalformedNextHop, NextHop, parse_next_hops, parse_port
from mailrelay.routing.relay_files import (
    NULL_SENDER,
    Credentials,
    RelayFile,
    RelayMap,
    RelayProblem,
    RelayWarning,
    normal_key,
    read_lines,
)
from mailrelay.smtp.address import Address

DELIMITER = "+"
"""Before an extension of a localpart."""


class HopTLS(Enum):
    """The least that a hop must have; the values are shown."""

    MAY = "may"  # STARTTLS where it is offered
    ENCRYPT = "encrypt"  # STARTTLS or nothing
    IMPLICIT = "implicit"  # from the first byte
    DEFAULT = "default"  # what holds for MX hosts


class MatchedBy(Enum):
    """What credentials were found by; the values are shown."""

    SENDER_ADDRESS = "sender-address"
    SENDER_DOMAIN = "sender-domain"
    RELAY_HOST = "relay-host"


@frozen
class Login:
    """Credentials, and what they were found by: by what, and under which key."""

    credentials: Credentials
    matched_by: MatchedBy
    key: str


@frozen
class Hop:
    """A next hop as it is used: ``verifies`` when its certificate must be right."""

    next_hop: NextHop
    tls: HopTLS
    login: Login | None = None
    verifies: bool = False


@frozen
class Considered:
    """A rule that was looked at, and what it said."""

    rule: str
    key: str
    said: str


@frozen
class RelayDecision:
    """By ``hops``, in order; by the recipient's MX when there are none.

    ``is_routed`` when a recipient's route said so, and no other rule holds.
    """

    hops: Sequence[Hop]
    considered: Sequence[Considered]
    is_routed: bool = False


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


@frozen
class RelayRules:
    """Everything that decides.  Keys are in lower case."""

    by_sender: Mapping[str, Sequence[NextHop]] = field(factory=dict)
    default: Sequence[NextHop] = ()
    by_recipient: Mapping[str, Sequence[NextHop]] = field(factory=dict)  # empty: by MX
    credentials: Mapping[str, Credentials] = field(factory=dict, repr=False)
    senders_log_in: bool = False  # credentials are looked up by sender, too
    encrypts: bool = False  # relay hosts must have TLS
    encrypts_all: bool = False  # ... and recipient routes and MX hosts, too
    unverified: frozenset[str] = frozenset()  # hosts whose certificates need not be right
    warnings: Sequence[RelayWarning] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing here concerns any mail."""
        return not (self.by_sender or self.default or self.by_recipient)

    def decide(self, sender: Address | None, recipient: Address) -> RelayDecision:
        """How mail goes that has no mailbox here."""
        considered: list[Considered] = []
        for key in _recipient_keys(recipient):
            routed = self.by_recipient.get(key)
            if routed is not None:
                considered.append(Considered("recipient route", key, _told(routed) or "by MX"))
                encrypts = self.encrypts and self.encrypts_all
                hops = [Hop(hop, _least(hop, encrypts)) for hop in routed]
                return RelayDecision(hops, considered, is_routed=True)
        if self.by_recipient:
            considered.append(Considered("recipient route", str(recipient), "no entry"))
        chosen = self._of_sender(sender, considered) or self.default
        if chosen is self.default:
            said = _told(chosen) or "none: by MX"
            considered.append(Considered("default relay host", "", said))
        return RelayDecision([self._hop(hop, sender, considered) for hop in chosen], considered)

    def _of_sender(
        self, sender: Address | None, considered: list[Considered]
    ) -> Sequence[NextHop] | None:
        if not self.by_sender:
            return None
        for key in _sender_keys(sender):
            hops = self.by_sender.get(key)
            said = "no entry" if hops is None else _told(hops) or "DUNNO"
            considered.append(Considered("sender", key, said))
            if hops:
                return hops
        return None

    def _hop(self, hop: NextHop, sender: Address | None, considered: list[Considered]) -> Hop:
        login: Login | None = None
        for key, matched_by in self._credential_keys(hop, sender):
            found = self.credentials.get(key)
            considered.append(Considered("credentials", key, "found" if found else "no entry"))
            if found is not None:
                login = Login(found, matched_by, key)
                break
        # A password is told to nobody but the host that it is for.
        verifies = login is not None and hop.host not in self.unverified
        return Hop(hop, _least(hop, self.encrypts), login, verifies)

    def _credential_keys(
        self, hop: NextHop, sender: Address | None
    ) -> Iterator[tuple[str, MatchedBy]]:
        if not self.credentials:
            return
        if self.senders_log_in and sender is not None:
            for key in _sender_keys(sender):
                is_domain = key.startswith("@")
                yield key, MatchedBy.SENDER_DOMAIN if is_domain else MatchedBy.SENDER_ADDRESS
        yield hop.host, MatchedBy.RELAY_HOST
        yield hop.key, MatchedBy.RELAY_HOST


def _least(hop: NextHop, encrypts: bool) -> HopTLS:
    if hop.implies_tls:
        return HopTLS.IMPLICIT
    return HopTLS.ENCRYPT if encrypts else HopTLS.MAY


def _told(hops: Sequence[NextHop]) -> str:
    return ", ".join(hop.text for hop in hops)


def _sender_keys(sender: Address | None) -> Iterator[str]:
    if sender is None:
        yield NULL_SENDER
        return
    yield from _address_keys(sender)
    yield f"@{sender.domain}"


def _recipient_keys(recipient: Address) -> Iterator[str]:
    yield from _address_keys(recipient)
    yield recipient.domain
    _, *parents = recipient.domain.split(".")
    for at in range(len(parents)):
        yield "." + ".".join(parents[at:])
    yield "*"


def _address_keys(address: Address) -> Iterator[str]:
    localpart = address.localpart.lower()
    yield f"{localpart}@{address.domain}"
    base, delimiter, _ = localpart.partition(DELIMITER)
    if base and delimiter:
        yield f"{base}@{address.domain}"


def read_recipient_routes(text: str) -> Mapping[str, Sequence[NextHop]]:
    """``PATTERN smtp:NEXTHOP``; without a next hop, by MX.  Raises: RelayProblem."""
    file = RelayFile.RECIPIENT_ROUTES
    routes: dict[str, Sequence[NextHop]] = {}
    for line in read_lines(file, text)[0]:
        transport, colon, hops = line.value.partition(":")
        if not colon or transport.lower() not in ("", "smtp", "relay"):
            said = f"{line.value!r} is no route: write smtp:NEXTHOP, or smtp: for by MX"
            raise RelayProblem(file, line.number, said)
        try:
            routes[line.key] = parse_next_hops(hops) if hops.strip() else ()
        except MalformedNextHop as error:
            raise RelayProblem(file, line.number, str(error)) from None
    return routes


@frozen
class RelaySources:
    """What rules are made of.  ``credentials`` is None when there is no such file."""

    environment: RelayEnvironment = RelayEnvironment()
    relay_map: RelayMap | None = None
    credentials: Mapping[str, Credentials] | None = field(default=None, repr=False)
    recipient_routes: Mapping[str, Sequence[NextHop]] = field(factory=dict)
    managed_domains: Sequence[str] = ()
    warnings: Sequence[RelayWarning] = ()
    encrypts_all: bool = False
    unverified: frozenset[str] = frozenset()

    def rules(self) -> RelayRules:
        """The rules, and what about them is hardly meant."""
        env, of_file = self.environment, self.relay_map or RelayMap()
        by_sender = dict(of_file.hops)
        if env.relay_host is not None:
            for domain in self.managed_domains:
                key = normal_key(f"@{domain}")
                if key not in of_file.opted_out:
                    by_sender.setdefault(key, [env.relay_host])
        credentials = dict(self.credentials or {})
        if env.login is not None and env.login_key is not None:
            credentials.setdefault(env.login_key, env.login)
        rules = RelayRules(
            by_sender,
            env.default,
            self.recipient_routes,
            credentials,
            senders_log_in=self.credentials is not None,
            encrypts=self.credentials is not None or env.login is not None,
            encrypts_all=self.encrypts_all,
            unverified=self.unverified,
        )
        return evolve(rules, warnings=[*self.warnings, *self._warnings(rules)])

    def _warnings(self, rules: RelayRules) -> Iterator[RelayWarning]:
        yield from self._of_environment()
        hops = [*rules.default, *(hop for some in rules.by_sender.values() for hop in some)]
        known = {hop.host for hop in hops} | {hop.key for hop in hops}
        for key in self.credentials or {}:
            if "@" not in key and key not in known:
                said = f"{key} is no relay host of the map, as it is written there: it is not used"
                yield RelayWarning(RelayFile.CREDENTIALS, 0, said)
        logins = {hop.host for hop in rules.default} | {hop.key for hop in rules.default}
        if self.credentials and rules.default and not logins & set(rules.credentials):
            said = "bounces have no sender, and go to the default relay host without login"
            yield RelayWarning(RelayFile.CREDENTIALS, 0, said)

    def _of_environment(self) -> Iterator[RelayWarning]:
        env, file = self.environment, RelayFile.ENVIRONMENT
        if env.is_half:
            yield RelayWarning(
                file, 0, "RELAY_USER and RELAY_PASSWORD go together: neither is used"
            )
        if env.login is not None and env.login_key is None:
            said = "RELAY_USER is for no host: set RELAY_HOST or DEFAULT_RELAY_HOST"
            yield RelayWarning(file, 0, said)
        if env.login is not None and env.default and env.relay_host is not None:
            said = "RELAY_USER is for DEFAULT_RELAY_HOST; there is no login at RELAY_HOST"
            yield RelayWarning(file, 0, said)
        if env.login is not None and len(env.default) > 1:
            said = "RELAY_USER is for one host: give those of a list theirs in the file"
            yield RelayWarning(file, 0, said)
        if env.default and self.relay_map is not None:
            for key in sorted(self.relay_map.opted_out):
                said = f"{key} goes by DEFAULT_RELAY_HOST all the same, not by MX"
                yield RelayWarning(RelayFile.RELAY_MAP, 0, said)
