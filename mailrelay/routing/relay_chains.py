"""Chains of relay hosts: in order or by weight, and what has the next one asked.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import msgspec
from attrs import frozen
from msgspec import Meta

from mailrelay.routing.next_hop import MalformedNextHop, NextHop, parse_next_hops
from mailrelay.routing.relay_files import normal_key
from mailrelay.smtp.reply_pattern import MalformedPattern, ReplyPattern

ACCOUNT = "account:"
"""Before an account's name, in the key of its chain."""

MOST_HOPS = 20
MOST_WEIGHT = 1000


class MalformedChain(ValueError):
    """The value is no chain; the message says what is wrong with it."""


class LeastTLS(Enum):
    """The least that a hop of a chain must have; port 465 is TLS from the first byte anyway."""

    MAY = "may"
    ENCRYPT = "encrypt"
    VERIFY = "verify"
    IMPLICIT = "implicit"


@frozen
class ChainHop:
    """One relay host.

    Those with a ``weight`` are tried first, in an order drawn by their weights; those without
    follow as they are written.  ``credentials`` is the key of who logs in, found as for any
    relay host when None; ``tls`` likewise.
    """

    next_hop: NextHop
    weight: int = 0
    tls: LeastTLS | None = None
    credentials: str | None = None


@frozen
class RelayChain:
    """Relay hosts for one attempt; empty: as if there were no rule.

    The next host is asked when one cannot be talked to, and when it answers as ``move_on`` says;
    without that when it puts all recipients off.
    """

    hops: Sequence[ChainHop] = ()
    move_on: Sequence[ReplyPattern] = ()

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing said but the next hops."""
        return self == chain_of([hop.next_hop for hop in self.hops])

    def __str__(self) -> str:
        written = ", ".join(_told(hop) for hop in self.hops)
        replies = ", ".join(map(str, self.move_on))
        return f"{written}; on {replies}" if replies else written


def chain_of(hops: Sequence[NextHop]) -> RelayChain:
    """Next hops in their order, with nothing else said of them."""
    return RelayChain(tuple(ChainHop(hop) for hop in hops))


def _told(hop: ChainHop) -> str:
    return f"{hop.next_hop.text} (weight {hop.weight})" if hop.weight else hop.next_hop.text


class HopValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A hop as it is stored, and as the configuration writes it."""

    next_hop: Annotated[str, Meta(min_length=1, max_length=300)]
    weight: Annotated[int, Meta(ge=0, le=MOST_WEIGHT)] = 0
    tls: str = ""
    credentials: Annotated[str, Meta(max_length=300)] = ""


class ChainValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A chain as it is stored."""

    hops: Annotated[list[HopValue], Meta(min_length=1, max_length=MOST_HOPS)]
    move_on: Annotated[list[str], Meta(max_length=50)] = []


def read_chain(value: str) -> RelayChain:
    """A stored chain.  Raises: MalformedChain."""
    try:
        return checked_chain(msgspec.json.decode(value, type=ChainValue))
    except msgspec.MsgspecError as error:
        raise MalformedChain(str(error)) from None


def checked_chain(value: ChainValue) -> RelayChain:
    """The chain that is meant.  Raises: MalformedChain."""
    if not 1 <= len(value.hops) <= MOST_HOPS:
        raise MalformedChain(f"a chain has 1 to {MOST_HOPS} hops")
    hops = tuple(map(_checked_hop, value.hops))
    if len({hop.next_hop.key for hop in hops}) < len(hops):
        raise MalformedChain("a hop stands there twice")
    try:
        return RelayChain(hops, tuple(map(ReplyPattern.parse, value.move_on)))
    except MalformedPattern as error:
        raise MalformedChain(str(error)) from None


def _checked_hop(value: HopValue) -> ChainHop:
    if value.weight > MOST_WEIGHT:
        raise MalformedChain(f"{value.next_hop}: the weight is at most {MOST_WEIGHT}")
    try:
        hops = parse_next_hops(value.next_hop)
        tls = LeastTLS(value.tls) if value.tls else None
    except MalformedNextHop as error:
        raise MalformedChain(str(error)) from None
    except ValueError:
        known = ", ".join(each.value for each in LeastTLS)
        raise MalformedChain(f"{value.next_hop}: tls {value.tls!r} is none of {known}") from None
    if len(hops) != 1:
        raise MalformedChain(f"{value.next_hop!r} is not one next hop")
    return ChainHop(hops[0], value.weight, tls, normal_key(value.credentials) or None)


def written_chain(chain: RelayChain) -> str:
    """A chain as it is stored."""
    hops = [
        HopValue(
            hop.next_hop.text,
            hop.weight,
            hop.tls.value if hop.tls is not None else "",
            hop.credentials or "",
        )
        for hop in chain.hops
    ]
    return msgspec.json.encode(ChainValue(hops, list(map(str, chain.move_on)))).decode()


_OF_HOP = frozenset({"weight", "tls", "credentials"})


def parse_hop(text: str) -> HopValue:
    """``NEXTHOP [weight=N] [tls=LEVEL] [credentials=KEY]``, as commands are given it.

    Raises: MalformedChain.
    """
    next_hop, *settings = text.split() or [""]
    given = dict(setting.partition("=")[::2] for setting in settings)
    weight = given.get("weight", "0")
    if not (weight.isascii() and weight.isdigit() and len(weight) < 10):
        raise MalformedChain(f"{text!r}: weight is a number from 0 to {MOST_WEIGHT}")
    unknown = ", ".join(sorted(set(given) - _OF_HOP))
    if unknown:
        raise MalformedChain(f"{text!r}: {unknown} is none of {', '.join(sorted(_OF_HOP))}")
    try:
        return msgspec.convert({"next_hop": next_hop, **given}, HopValue, strict=False)
    except msgspec.ValidationError as error:
        known = "write NEXTHOP, then weight=, tls= and credentials= as needed"
        raise MalformedChain(f"{text!r}: {error}; {known}") from None
