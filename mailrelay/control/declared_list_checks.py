"""What declared endpoints and suppressions must be: every problem is told.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import evolve

from mailrelay.control.declared import DeclaredEndpoint, DeclaredSuppression
from mailrelay.control.endpoints import BadEndpoint, EndpointFields, checked_endpoint
from mailrelay.control.errors import Refusal
from mailrelay.control.suppression import checked_evidence, checked_reason
from mailrelay.policy.suppression import base_address, is_whole_domain, whole_domain
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.webhooks.endpoint import StandardEndpoint
from mailrelay.webhooks.signature import MalformedSecret, key_of

Tell = Callable[[str, str], None]


def normal_endpoint(place: str, one: DeclaredEndpoint, problem: Tell) -> DeclaredEndpoint:
    """``one`` as it is stored."""
    wanted = EndpointFields(
        name=one.name,
        url=one.url,
        events=one.events,
        tags=one.tags,
        most_at_once=one.most_at_once,
        most_together=one.most_together,
    )
    if one.secret is not None:
        try:
            key_of(one.secret)
        except MalformedSecret as error:
            problem(f"{place}.secret", str(error))
    try:
        made = checked_endpoint(wanted, StandardEndpoint(id=0, account_id=0, name="", url=""))
    except BadEndpoint as error:
        problem(f"{place}.{error.field.split('[')[0]}", str(error))
        return one
    return evolve(one, events=tuple(made.events), tags=tuple(made.tags))


def normal_suppression(place: str, one: DeclaredSuppression, problem: Tell) -> DeclaredSuppression:
    """``one`` as it is stored."""
    for name, check in (("reason", checked_reason), ("evidence", checked_evidence)):
        try:
            check(getattr(one, name))
        except Refusal as error:
            problem(f"{place}.{name}", str(error))
    for name in ("added", "expires"):
        check_zone(f"{place}.{name}", getattr(one, name), problem)
    try:
        address = Address.parse(one.address)
    except MalformedAddress as error:
        problem(f"{place}.address", f"{one.address!r} is no address: {error}")
        return one
    if is_whole_domain(one.address):
        return evolve(one, address=whole_domain(address.domain))
    return evolve(one, address=str(address))


def base_of(one: DeclaredSuppression) -> str:
    """What a normal suppression stands for on its list."""
    if is_whole_domain(one.address):
        return one.address
    try:
        return base_address(Address.parse(one.address))
    except MalformedAddress:
        return one.address


def check_zone(place: str, at: datetime | None, problem: Tell) -> None:
    """Tell of a time that is another one elsewhere."""
    if at is not None and at.tzinfo is None:
        problem(place, "has no zone: write Z behind it for UTC")
