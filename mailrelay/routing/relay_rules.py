"""Which relay host mail goes by, and who one logs in as there.  Pure.

Postfix's order: a recipient's route, then the sender (its address, its address without an
extension, its ``@domain``), then the default, then MX.  An account comes between an address and
its domain.  Ours differ from it where it surprised people (see docs/relaying.md): credentials go to
the relay host that was chosen for the sender and to no other server, TLS is required for relay
hosts alone, and port 465 is TLS from the first byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Generic, TypeVar

from attrs import field, frozen

from mailrelay.routing.next_hop import NextHop
from mailrelay.routing.relay_chains import ACCOUNT, ChainHop, LeastTLS, RelayChain
from mailrelay.routing.relay_files import NULL_SENDER, Credentials, RelayWarning
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply_pattern import ReplyPattern

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
    CHAIN = "chain"


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
    weight: int = 0


@frozen
class Considered:
    """A rule that was looked at, what it said, and who says so, if anybody does."""

    rule: str
    key: str
    said: str
    source: str | None = None


@frozen
class RelayDecision:
    """By ``hops``, in order; by the recipient's MX when there are none.

    ``is_routed`` when a recipient's route said so, and no other rule holds.  ``is_stuck`` when
    there are no hops but those whose credentials are missing: the mail waits.
    """

    hops: Sequence[Hop]
    considered: Sequence[Considered]
    is_routed: bool = False
    is_stuck: bool = False
    move_on: Sequence[ReplyPattern] = ()
    is_default: bool = False  # no rule names the sender


T = TypeVar("T")


@frozen
class Sourced(Generic[T]):
    """What a rule says, and who says so."""

    value: T
    source: str


NOTHING = Sourced(RelayChain(), "")


@frozen
class RelayRules:
    """Everything that decides.  Keys are in lower case."""

    by_sender: Mapping[str, Sourced[RelayChain]] = field(factory=dict)  # by account, too
    default: Sourced[RelayChain] = NOTHING
    by_recipient: Mapping[str, Sourced[Sequence[NextHop]]] = field(factory=dict)  # empty: by MX
    credentials: Mapping[str, Sourced[Credentials]] = field(factory=dict, repr=False)
    senders_log_in: bool = False  # credentials are looked up by sender, too
    encrypts: bool = False  # relay hosts must have TLS
    encrypts_all: bool = False  # ... and recipient routes and MX hosts, too
    unverified: frozenset[str] = frozenset()  # hosts whose certificates need not be right
    warnings: Sequence[RelayWarning] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing here concerns any mail."""
        return not (self.by_sender or self.default.value.hops or self.by_recipient)

    def decide(
        self, sender: Address | None, recipient: Address, account: str | None = None
    ) -> RelayDecision:
        """How mail goes that has no mailbox here."""
        considered: list[Considered] = []
        routed = self._of_recipient(recipient, considered)
        if routed is not None:
            encrypts = self.encrypts and self.encrypts_all
            hops = [Hop(hop, _least(hop, encrypts)) for hop in routed]
            return RelayDecision(hops, considered, is_routed=True)
        chosen = self._of_sender(sender, account, considered)
        is_default = chosen is None
        if chosen is None:
            chosen, source = self.default.value, self.default.source
            said = str(chosen) or "none: by MX"
            considered.append(Considered("default relay host", "", said, source or None))
        found = [self._hop(hop, sender, considered) for hop in chosen.hops]
        usable = [hop for hop in found if hop is not None]
        is_stuck = bool(found) and not usable
        return RelayDecision(
            usable,
            considered,
            is_stuck=is_stuck,
            move_on=chosen.move_on,
            is_default=is_default,
        )

    def _of_recipient(
        self, recipient: Address, considered: list[Considered]
    ) -> Sequence[NextHop] | None:
        for key in _recipient_keys(recipient):
            routed = self.by_recipient.get(key)
            if routed is not None:
                said = ", ".join(hop.text for hop in routed.value) or "by MX"
                considered.append(Considered("recipient route", key, said, routed.source))
                return routed.value
        if self.by_recipient:
            considered.append(Considered("recipient route", str(recipient), "no entry"))
        return None

    def _of_sender(
        self, sender: Address | None, account: str | None, considered: list[Considered]
    ) -> RelayChain | None:
        if not self.by_sender:
            return None
        for key in self._keys(sender, account):
            rule = self.by_sender.get(key)
            said = "no entry" if rule is None else str(rule.value) or "DUNNO"
            considered.append(Considered("sender", key, said, rule.source if rule else None))
            if rule is not None and rule.value.hops:
                return rule.value
        return None

    def _keys(self, sender: Address | None, account: str | None) -> Iterator[str]:
        """What a sender is looked up by: what is about fewer senders comes first."""
        *narrow, widest = [NULL_SENDER, ""] if sender is None else _sender_keys(sender)
        yield from narrow
        if account is not None:
            yield f"{ACCOUNT}{account}"
        if widest:
            yield widest

    def _hop(
        self, hop: ChainHop, sender: Address | None, considered: list[Considered]
    ) -> Hop | None:
        login: Login | None = None
        for key, matched_by in self._credential_keys(hop, sender):
            found = self.credentials.get(key)
            said = "found" if found else "no entry"
            source = found.source if found else None
            considered.append(Considered("credentials", key, said, source))
            if found is not None:
                login = Login(found.value, matched_by, key)
                break
        if login is None and hop.credentials is not None:
            return None
        host = hop.next_hop
        # A password is told to nobody but the host that it is for.
        verifies = login is not None and host.host not in self.unverified
        return Hop(
            host,
            HopTLS.IMPLICIT if hop.tls is LeastTLS.IMPLICIT else self._least_of(hop),
            login,
            verifies or hop.tls is LeastTLS.VERIFY,
            hop.weight,
        )

    def _least_of(self, hop: ChainHop) -> HopTLS:
        encrypts = hop.tls is not None and hop.tls is not LeastTLS.MAY
        return _least(hop.next_hop, self.encrypts or encrypts)

    def _credential_keys(
        self, hop: ChainHop, sender: Address | None
    ) -> Iterator[tuple[str, MatchedBy]]:
        if hop.credentials is not None:
            yield hop.credentials, MatchedBy.CHAIN
            return
        if not self.credentials:
            return
        if self.senders_log_in and sender is not None:
            for key in _sender_keys(sender):
                is_domain = key.startswith("@")
                yield key, MatchedBy.SENDER_DOMAIN if is_domain else MatchedBy.SENDER_ADDRESS
        yield hop.next_hop.host, MatchedBy.RELAY_HOST
        yield hop.next_hop.key, MatchedBy.RELAY_HOST


def _least(hop: NextHop, encrypts: bool) -> HopTLS:
    if hop.implies_tls:
        return HopTLS.IMPLICIT
    return HopTLS.ENCRYPT if encrypts else HopTLS.MAY


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
