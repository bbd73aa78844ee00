"""Which lists of addresses in DNS name a peer, and what that means for its mail (RFC 5782).

Invariants:

- A list that fails, or lists everybody, refuses nobody; one that fails often rests for a while.
- Peers asked about at once, look-ups at once, and answers that are kept are bounded: where there
  is no room, mail is taken.
- Whoever waits has an answer within ``timeout``: what came until then.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from enum import Enum
from ipaddress import ip_address, ip_network

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.directory.login import own_network
from mailrelay.net.dnsbl import ListAnswer, ListResolver, look_up, zone_fault
from mailrelay.net.resolver import as_ip
from mailrelay.policy.networks import TrustedNetworks
from mailrelay.smtp.reply import Reply, reply

MOST_KEPT = 10_000
MOST_ASKED_ABOUT = 500
"""Peers at once; about those beyond nothing is asked."""

LOOKUPS_AT_ONCE = 8
"""Half of the threads that wait for DNS: delivery has the others."""

KEPT_FOR = 300.0
UNFINISHED_KEPT_FOR = 30.0
BELIEVED_FOR = 3600.0
"""Seconds after which a list must show again that it does not name everybody."""

FAULTS_BEFORE_REST, RESTS_FOR = 3, 60.0

_log = Logger()


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


class ListAction(Enum):
    """What becomes of the mail of a peer that a list names."""

    REJECT = "reject"
    DEFER = "defer"
    JUNK = "junk"
    WEIGH = "weigh"  # its weight counts, and nothing else


class WaitAt(Enum):
    """Where a peer waits for what the lists say."""

    RCPT = "rcpt"
    GREETING = "greeting"


@frozen
class ZoneSettings:
    """One ``[[dnsbl.zone]]``."""

    zone: str = field(metadata=_doc("the list's domain, such as zen.spamhaus.org"))
    action: ListAction = field(
        default=ListAction.REJECT, metadata=_doc("what being listed means; weigh: its weight alone")
    )
    weight: float = field(
        default=1.0, metadata=_doc("what it adds to the sum that junk_weight and reject_weight are")
    )
    answers: Sequence[str] = field(
        factory=tuple,
        metadata=_doc('which answers count, such as ["127.0.0.2", "127.0.0.4/30"]; all when empty'),
    )

    def counts(self, code: str) -> bool:
        """Whether an answer is one of those that matter here."""
        address = ip_address(code)
        return not self.answers or any(address in ip_network(text) for text in self.answers)


@frozen
class DNSBLSettings:
    """``[dnsbl]``.  Times in seconds."""

    zone: Sequence[ZoneSettings] = field(factory=tuple, metadata=_doc(""))
    wait: WaitAt = field(
        default=WaitAt.RCPT,
        metadata=_doc("who is listed hears it at RCPT, or in place of a greeting"),
    )
    timeout: float = field(
        default=5.0, metadata=_doc("seconds that a peer waits for all lists; then it is not listed")
    )
    reject_weight: float = field(
        default=0.0, metadata=_doc("sum of weights at which mail is refused; 0 for never")
    )
    junk_weight: float = field(
        default=0.0, metadata=_doc("sum of weights at which mail goes to Junk; 0 for never")
    )
    skip_networks: Sequence[str] = field(
        factory=tuple, metadata=_doc("networks that are not asked about")
    )
    watched: Sequence[str] = field(
        factory=tuple, metadata=_doc("lists that are asked, now and then, for our own addresses")
    )

    @property
    def may_junk(self) -> bool:
        """Whether being listed may put mail into Junk, or is to be noted with what is taken."""
        actions = {one.action for one in self.zone}
        return bool(self.junk_weight) or bool(actions & {ListAction.JUNK, ListAction.WEIGH})


@frozen
class Listing:
    """A list that names a peer.  ``text`` is the list's own, printable and bounded."""

    zone: ZoneSettings
    codes: Sequence[str]
    text: str


@frozen
class Findings:
    """What the lists say of a peer, in the order of the settings."""

    listings: tuple[Listing, ...] = ()
    is_complete: bool = True

    @property
    def weight(self) -> float:
        """The sum of the lists that name it."""
        return sum(one.zone.weight for one in self.listings)

    def first(self, action: ListAction) -> Listing | None:
        """The first list of an action that names it."""
        return next((one for one in self.listings if one.zone.action is action), None)

    @property
    def zones(self) -> str:
        """Those that name it, for people."""
        return ", ".join(one.zone.zone for one in self.listings)


@define
class _Inquiry:
    """What is being asked about a peer."""

    waiting: list[Deferred[Findings]] = field(factory=list)
    found: dict[str, Listing] = field(factory=dict)
    left: int = 0
    limit: IDelayedCall | None = None
    is_over: bool = False
    is_complete: bool = True


@define
class _Zone:
    """How a list does."""

    settings: ZoneSettings
    faults: int = 0
    rests_until: float = 0.0
    believed_until: float = 0.0


class Blocklists:
    """Asks the lists of ``settings`` about peers."""

    def __init__(
        self, settings: DNSBLSettings, resolver: ListResolver, clock: IReactorTime
    ) -> None:
        self._settings, self._resolver, self._clock = settings, resolver, clock
        self._skipped = TrustedNetworks.of(settings.skip_networks)
        self._zones = [_Zone(one) for one in settings.zone]
        self._known: OrderedDict[str, tuple[float, Findings]] = OrderedDict()
        self._asking: dict[str, _Inquiry] = {}
        self._questions: deque[tuple[_Zone, str, _Inquiry]] = deque()
        self._under_way = 0
        self._is_going_on = False

    @property
    def waits_at_greeting(self) -> bool:
        """Whether a peer waits before it is greeted."""
        return self._settings.wait is WaitAt.GREETING

    def begin(self, ip: str) -> None:
        """A peer came: ask about it."""
        if self._kept(ip) is None and ip not in self._asking:
            self._ask(ip)

    def findings(self, ip: str) -> Deferred[Findings]:
        """What the lists say, within ``timeout``; never fails."""
        kept = self._kept(ip)
        if kept is not None:
            return succeed(kept)
        inquiry = self._asking.get(ip) or self._ask(ip)
        if inquiry is None or inquiry.is_over:
            return succeed(self._kept(ip) or Findings(is_complete=False))
        waiting: Deferred[Findings] = Deferred()
        inquiry.waiting.append(waiting)
        return waiting

    def refusal(self, ip: str, findings: Findings, *, greeting: bool = False) -> Reply | None:
        """What a peer is told whose mail is not taken."""
        settings = self._settings
        listing = findings.first(ListAction.REJECT)
        if listing is not None:
            return _rejected(ip, listing.zone.zone, listing.text, greeting=greeting)
        if settings.reject_weight and findings.weight >= settings.reject_weight:
            return _rejected(ip, findings.zones, "", greeting=greeting)
        listing = findings.first(ListAction.DEFER)
        if listing is not None and not greeting:
            return reply(451, "4.7.1", f"{ip} is listed by {listing.zone.zone}, try again later")
        return None

    def junk(self, findings: Findings) -> str:
        """Why mail of a peer belongs in Junk; empty when it does not."""
        settings = self._settings
        listing = findings.first(ListAction.JUNK)
        if listing is not None:
            return f"the peer is listed by {listing.zone.zone}"
        if settings.junk_weight and findings.weight >= settings.junk_weight:
            return f"the peer is listed by {findings.zones}"
        return ""

    # Asking

    def _kept(self, ip: str) -> Findings | None:
        kept = self._known.get(own_network(ip))
        if kept is None or kept[0] <= self._clock.seconds():
            return None
        return kept[1]

    def _ask(self, ip: str) -> _Inquiry | None:
        if as_ip(ip) is None or self._skipped(ip) or len(self._asking) >= MOST_ASKED_ABOUT:
            return None
        now = self._clock.seconds()
        zones = [zone for zone in self._zones if zone.rests_until <= now]
        inquiry = _Inquiry(left=len(zones), is_complete=len(zones) == len(self._zones))
        self._asking[ip] = inquiry
        if not zones:
            self._end(ip, inquiry)
            return inquiry
        later = self._clock.callLater
        inquiry.limit = later(self._settings.timeout, self._end, ip, inquiry)
        self._questions.extend((zone, ip, inquiry) for zone in zones)
        self._go_on()
        return inquiry

    def _go_on(self) -> None:
        """Ask what waits to be asked, as far as there is room."""
        if self._is_going_on:
            return
        self._is_going_on = True
        while self._questions and self._under_way < LOOKUPS_AT_ONCE:
            zone, ip, inquiry = self._questions.popleft()
            if inquiry.is_over:
                continue
            self._under_way += 1
            asking = Deferred.fromCoroutine(self._ask_zone(zone, ip, inquiry))
            asking.addErrback(_not_asked).addCallback(self._answered, ip, inquiry)
        self._is_going_on = False

    def _answered(self, _: None, ip: str, inquiry: _Inquiry) -> None:
        self._under_way -= 1
        inquiry.left -= 1
        if not inquiry.left and not inquiry.is_over:
            self._end(ip, inquiry)
        self._go_on()

    def _end(self, ip: str, inquiry: _Inquiry) -> None:
        """Everything is there, or the time is over."""
        inquiry.is_over = True
        if inquiry.limit is not None and inquiry.limit.active():
            inquiry.limit.cancel()
        del self._asking[ip]
        listings = tuple(
            inquiry.found[zone.zone] for zone in self._settings.zone if zone.zone in inquiry.found
        )
        findings = Findings(listings, inquiry.is_complete and not inquiry.left)
        kept_for = KEPT_FOR if findings.is_complete else UNFINISHED_KEPT_FOR
        network = own_network(ip)
        self._known[network] = self._clock.seconds() + kept_for, findings
        self._known.move_to_end(network)
        if len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)
        for waiting in inquiry.waiting:
            waiting.callback(findings)

    async def _ask_zone(self, zone: _Zone, ip: str, inquiry: _Inquiry) -> None:
        name = zone.settings.zone
        answer = await look_up(self._resolver, name, ip)
        codes = [code for code in answer.codes if zone.settings.counts(code)]
        fault = answer.fault
        if codes and zone.believed_until <= self._clock.seconds():
            fault = await zone_fault(self._resolver, name)
            if not fault:
                zone.believed_until = self._clock.seconds() + BELIEVED_FOR
        if fault:
            inquiry.is_complete = False
            self._failed(zone, fault)
            return
        zone.faults = 0
        if codes:
            inquiry.found[name] = _listing(zone.settings, answer)

    def _failed(self, zone: _Zone, fault: str) -> None:
        zone.faults += 1
        if zone.faults < FAULTS_BEFORE_REST:
            return
        zone.rests_until = self._clock.seconds() + RESTS_FOR
        if zone.faults == FAULTS_BEFORE_REST:
            name = zone.settings.zone
            _log.warn("list {zone} is not asked for a while: {fault}", zone=name, fault=fault)

    @property
    def resting(self) -> int:
        """How many lists are not asked now."""
        now = self._clock.seconds()
        return sum(zone.rests_until > now for zone in self._zones)


def _listing(zone: ZoneSettings, answer: ListAnswer) -> Listing:
    return Listing(zone, tuple(answer.codes), answer.text)


def _not_asked(failure: Failure) -> None:
    _log.failure("a list cannot be asked", failure)


def _rejected(ip: str, zones: str, text: str, *, greeting: bool) -> Reply:
    named = f"{zones} ({text})" if text else zones
    if greeting:  # RFC 5321 section 3.1: 554 in place of a greeting
        return reply(554, "5.7.1", f"{ip} is listed by {named}")
    return reply(550, "5.7.1", f"{ip} is listed by {named}")
