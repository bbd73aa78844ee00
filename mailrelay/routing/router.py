"""Routing an entry: the first rule that fits decides, again at each attempt."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from attrs import frozen

from mailrelay.directory.aliases import Alias
from mailrelay.directory.model import Account, Directory, DomainDisabled, HandedOff, NoSuchUser
from mailrelay.directory.peers import PEER_FALLBACK, SMTP_FALLBACK, Peer
from mailrelay.net.tls import TLSLevel
from mailrelay.policy.simulated import simulated_failure
from mailrelay.policy.suppression import SERVER
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Entry
from mailrelay.routing.relay_rules import RelayRules
from mailrelay.routing.relay_ways import destination_by, destination_of
from mailrelay.routing.route import Route, RoutingSettings
from mailrelay.routing.transports import peer_key, relay_key
from mailrelay.routing.ways import (
    ByMX,
    ByRelayHost,
    Discard,
    Fail,
    Refrain,
    ToEndpoint,
    ToMailbox,
    ToPeer,
)
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import reply

NO_SUCH_USER = reply(550, "5.1.1", "no such user any more")
NOT_ALLOWED = reply(550, "5.7.2", "not allowed to send to destination")
DOMAIN_DISABLED = reply(451, "4.2.1", "domain is switched off for now")
HANDED_IN = "handoff"
"""The door of what came to a [[handoff_in]]."""

NEVER_OUT = reply(550, "5.7.1", "this server delivers to its own mailboxes only")


class Because(Enum):
    """Why an entry goes where it goes."""

    SUPPRESSED = "the recipient is on a suppression list, the account's or the server's"
    SIMULATED = "localserve fails such recipients on purpose"
    MAILBOX = "the recipient has a mailbox here"
    HANDED_OFF = "an application takes mail for the recipient, by [[handoff]]"
    LIST_DROPS = "the alias is switched off, or all its members have the message without it"
    NOT_EXPANDED = "an alias is its members from acceptance on; what it did not take is refused"
    NO_SUCH_USER = "the domain is ours, and has no such address"
    DOMAIN_DISABLED = "the domain is ours, and switched off"
    LOCAL_ONLY = "localserve sends nothing to other servers"
    CHOSEN = "an operator chose the transport"
    ROUTE = "the route is the first that fits"
    FALLBACK = "the peer that the route, or an operator, names is away: this is its fallback"
    RELAY_RULE = "the rules of [relaying] name relay hosts for this sender"
    RECIPIENT_ROUTE = "a recipient route of [relaying] fits"
    HANDOFF_RELAY = "it was handed in, and no rule names its sender: by [handoff_relay]"
    RELAY_HOST = "no route fits, and [relay_host] takes the rest"
    MX = "no route fits, and there is no [relay_host]"

    @property
    def word(self) -> str:
        """For programs, and for the history."""
        return self.name.lower()


@frozen
class Decision:
    """Where an entry goes, why, and by which route."""

    destination: Destination
    because: Because
    route: Route | None = None


_SUPPRESSED = Decision(Destination("suppressed", Refrain(), is_local=True), Because.SUPPRESSED)
_TO_MAILBOX = Decision(Destination("mailbox", ToMailbox(), is_local=True), Because.MAILBOX)


_DROPPED = Decision(Destination("discard", Discard(), is_local=True), Because.LIST_DROPS)
_NOT_EXPANDED = Decision(Destination("alias", Fail(NOT_ALLOWED)), Because.NOT_EXPANDED)


@frozen
class Router:
    """Called for each entry when it enters memory; a plain function on snapshots."""

    current: Callable[[], RoutingSettings]
    directory: Callable[[], Directory]
    is_suppressed: Callable[[int | None, Address], bool] = lambda account_id, recipient: False
    relays: Callable[[], RelayRules] = RelayRules
    is_away: Callable[[Peer, Entry], bool] = lambda peer, entry: False

    def __call__(self, entry: Entry) -> Destination:
        """Where ``entry`` goes now."""
        decision = self.decide(entry)
        route = decision.route.number if decision.route is not None else None
        return decision.destination.chosen(decision.because.word, route)

    def decide(self, entry: Entry) -> Decision:
        """Where ``entry`` goes now, and why."""
        recipient, settings = entry.recipient, self.current()
        # What is passed on is no account's: the server's own list holds for it.
        if self.is_suppressed(SERVER if entry.is_of_list else entry.account_id, recipient):
            return _SUPPRESSED
        # A report about a failure on purpose goes to its sender, whatever that is called.
        if entry.message.door != "dsn":
            on_purpose = self._failed_on_purpose(entry, settings)
            if on_purpose is not None:
                return on_purpose
        if entry.alias == recipient:
            return _DROPPED
        local = self.directory().resolve(recipient)
        if isinstance(local, Account):
            return _TO_MAILBOX
        if isinstance(local, HandedOff):
            return Decision(_to_endpoint(local), Because.HANDED_OFF)
        if isinstance(local, Alias):
            return _NOT_EXPANDED
        if isinstance(local, NoSuchUser):
            destination = Destination("mailbox:unknown", Fail(NO_SUCH_USER))
            return Decision(destination, Because.NO_SUCH_USER)
        if isinstance(local, DomainDisabled):
            destination = Destination("mailbox:disabled", Fail(DOMAIN_DISABLED))
            return Decision(destination, Because.DOMAIN_DISABLED)
        return self._outward(entry, settings)

    def account_name(self, entry: Entry) -> str | None:
        """The name of the account that submitted ``entry``."""
        account = self.directory().accounts.get(entry.account_id or 0)
        return account.name if account is not None else None

    def _failed_on_purpose(self, entry: Entry, settings: RoutingSettings) -> Decision | None:
        """In localserve, what a route or a localpart fails though all mail is its own."""
        if settings.local_only:
            because, route, transport = Because.CHOSEN, None, settings.chosen_for(entry)
            if transport is None:
                because, route = Because.ROUTE, self._route(entry, settings)
                transport = route.transport if route is not None else None
            if transport is not None and isinstance(transport.kind, Fail):
                return Decision(transport.destination(""), because, route)
        simulated = simulated_failure(entry.recipient) if settings.simulate else None
        if simulated is None:
            return None
        way = Fail(simulated.reply, simulated.after)
        return Decision(
            Destination(f"simulated:{entry.recipient.localpart}", way), Because.SIMULATED
        )

    def _route(self, entry: Entry, settings: RoutingSettings) -> Route | None:
        if not settings.routes:
            return None
        account = self.account_name(entry)
        return next((r for r in settings.routes if r.mismatch(entry, account) is None), None)

    def _outward(self, entry: Entry, settings: RoutingSettings) -> Decision:
        if settings.local_only:
            return Decision(Destination("none", Fail(NEVER_OUT)), Because.LOCAL_ONLY)
        domain, chosen = entry.recipient.domain, settings.chosen_for(entry)
        if chosen is not None:
            if isinstance(chosen.kind, ToPeer):
                return self._to_peer(chosen.kind, entry, Because.CHOSEN)
            return Decision(chosen.destination(domain), Because.CHOSEN)
        route = self._route(entry, settings)
        if route is not None:
            if route.transport is not None and isinstance(route.transport.kind, ToPeer):
                return self._to_peer(route.transport.kind, entry, Because.ROUTE, route)
            return Decision(_by_route(route, domain), Because.ROUTE, route)
        by_rule = self._by_rule(entry, settings)
        if by_rule is not None:
            return by_rule
        host = settings.relay_host
        if host is not None:
            return Decision(Destination(relay_key(host), ByRelayHost(host)), Because.RELAY_HOST)
        return Decision(_by_mx(domain), Because.MX)

    def _to_peer(
        self, way: ToPeer, entry: Entry, because: Because, route: Route | None = None
    ) -> Decision:
        """To the peer, or by what it falls back to when it is away for too long."""
        peers = self.directory().peers
        peer = peers.get(way.name)
        if peer is not None and peer.options.fallback and self.is_away(peer, entry):
            because = Because.FALLBACK
            if peer.options.fallback == SMTP_FALLBACK:
                return Decision(_by_mx(entry.recipient.domain), because, route)
            way = ToPeer(peer.options.fallback.removeprefix(PEER_FALLBACK))
            peer = peers.get(way.name)
        concurrency = peer.options.concurrency if peer is not None else None
        destination = Destination(peer_key(way.name), way, concurrency=concurrency)
        return Decision(destination, because, route)

    def _by_rule(self, entry: Entry, settings: RoutingSettings) -> Decision | None:
        rules, of_handoffs = self.relays(), settings.handoff_relays
        is_handed_in = entry.message.door == HANDED_IN and bool(of_handoffs)
        if rules.is_empty and not is_handed_in:
            return None
        decision = rules.decide(entry.reverse_path, entry.recipient, self.account_name(entry))
        if is_handed_in and decision.is_default:
            return Decision(destination_of(of_handoffs), Because.HANDOFF_RELAY)
        because = Because.RECIPIENT_ROUTE if decision.is_routed else Because.RELAY_RULE
        if decision.hops or decision.is_stuck:
            return Decision(destination_by(decision), because)
        level = TLSLevel.ENCRYPT if rules.encrypts and rules.encrypts_all else None
        if not decision.is_routed and level is None:
            return None
        return Decision(_by_mx(entry.recipient.domain, level), because)


def _to_endpoint(endpoint: HandedOff) -> Destination:
    way = ToEndpoint(endpoint.name)
    key = f"handoff:{endpoint.name}"
    return Destination(key, way, concurrency=endpoint.concurrency, together=1)


def _by_route(route: Route, domain: str) -> Destination:
    if route.transport is not None:
        return route.transport.destination(domain)
    if route.discard:
        return Destination("discard", Discard(), is_local=True)
    host = route.relay_host
    if host is None or route.mx:
        return _by_mx(domain)
    return Destination(relay_key(host), ByRelayHost(host))


def _by_mx(domain: str, level: TLSLevel | None = None) -> Destination:
    key = f"mx:{domain}" if level is None else f"mx:{domain}:{level.value}"
    return Destination(key, ByMX(domain, least_tls=level))
