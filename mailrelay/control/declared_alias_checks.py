"""What a declared alias must be, whatever else there is.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import evolve

from mailrelay.control.aliases import MOST_FAILURES, MOST_POSTERS, alias_key
from mailrelay.control.declared import DeclaredAlias
from mailrelay.control.declaring import address_text
from mailrelay.control.directory_checks import address_key, checked_limit
from mailrelay.control.errors import Refusal
from mailrelay.directory.model import Domain
from mailrelay.smtp.address import Address, MalformedAddress

Problem = Callable[[str, str], None]


def normal_alias(
    place: str, one: DeclaredAlias, domains: Mapping[str, Domain], problem: Problem
) -> DeclaredAlias:
    """``one`` as it would be exported; ``problem`` is told of what cannot be."""
    text, after = one.address, one.removes_after
    try:
        text = address_text(*alias_key(one.address, domains))
    except Refusal as error:
        problem(f"{place}.address", str(error))
    try:
        after = checked_limit(one.removes_after or 0, MOST_FAILURES)
    except Refusal as error:
        problem(f"{place}.removes_after", str(error))
    if one.is_list and text.startswith("@"):
        problem(f"{place}.is_list", "a catch-all is no list: it has no address of its own")
    if not one.members:
        problem(f"{place}.members", "an alias has one member at least")
    if len(one.posters) > MOST_POSTERS:
        problem(f"{place}.posters", f"an alias has at most {MOST_POSTERS}: make them members")
    owner = one.owner or None
    return evolve(
        one,
        address=text,
        members=_all(f"{place}.members", one.members, domains, problem),
        posters=_all(f"{place}.posters", one.posters, {}, problem),
        owner=owner and _one(f"{place}.owner", owner, {}, problem),
        removes_after=after,
    )


def _all(
    place: str, texts: Sequence[str], domains: Mapping[str, Domain], problem: Problem
) -> Sequence[str]:
    return tuple(sorted({_one(place, text, domains, problem) for text in texts}))


def _one(place: str, text: str, domains: Mapping[str, Domain], problem: Problem) -> str:
    """An address as it is written; one of ``domains`` as it is looked up."""
    try:
        address = Address.parse(text)
        if not address.is_ascii:
            raise Refusal(f"{text!r} has characters beyond ASCII before its @")
        if address.domain in domains:
            return address_text(*address_key(text, domains))
    except (MalformedAddress, Refusal) as error:
        problem(place, f"{text!r} is no address: {error}" if text not in str(error) else str(error))
        return text
    return str(address)
