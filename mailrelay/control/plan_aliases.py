"""What becomes of aliases, and whether that can be.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, frozen

from mailrelay.control.aliases import checked_members, checked_owner
from mailrelay.control.changes import Change, Part, by_names, differences
from mailrelay.control.declared import Declared, DeclaredAlias
from mailrelay.control.declaring import split
from mailrelay.control.errors import Refusal
from mailrelay.control.steps import AddAlias, RemoveAlias, SetAlias, Step
from mailrelay.directory.aliases import Alias
from mailrelay.directory.model import Directory
from mailrelay.smtp.address import Address

_FLAGS = ("post_public", "list_members", "allow_from", "disabled", "on_disabled")
_ALIAS = (
    *(*_FLAGS, "owner", "posters", "rewrite", "dmarc_fallback", "is_list", "removes_after"),
    "requires_dkim",
)


def aliases_plan(current: Declared, wanted: Declared) -> Part:
    """What becomes of aliases; of what is removed, those that others lead to go last."""
    there = {one.address: one for one in current.alias}
    changes = []
    for one in wanted.alias:
        before = there.pop(one.address, None)
        found = differences(before or DeclaredAlias(one.address), one, ("members", *_ALIAS))
        key, members = split(one.address), list(map(Address.parse, one.members))
        if before is None:
            values = {name: getattr(one, name) for name in _ALIAS}
            step: Step = AddAlias(key, values, members)
            changes.append(Change("add", "alias", one.address, step, by_names(found)))
        elif found:
            values = {each.name: each.after for each in found if each.name != "members"}
            old = list(map(Address.parse, before.members))
            gone, new = [m for m in old if m not in members], [m for m in members if m not in old]
            step = SetAlias(key, values, gone, new)
            changes.append(Change("change", "alias", one.address, step, by_names(found)))
    removals = [Change("remove", "alias", text, RemoveAlias(split(text))) for text in there]
    return Part(changes, removals)


def aliases_after(
    wanted: Sequence[DeclaredAlias], before: Directory
) -> Mapping[tuple[str, str], Alias]:
    """Aliases as they would be, which are normal.  New ones have ids below 0."""
    found = {}
    for i, one in enumerate(wanted, 1):
        key = split(one.address)
        there = before.aliases.get(key) or Alias(-i, *key)
        members = tuple(map(Address.parse, one.members))
        found[key] = evolve(there, members=members, disabled=one.disabled)
    return found


@frozen
class AliasChecks:
    """Looks at what aliases refer to; ``problem`` is told place and text."""

    before: Directory
    after: Directory
    problem: Callable[[str, str], None]

    def look(self, wanted: Declared) -> None:
        """Tell every problem."""
        for i, one in enumerate(wanted.alias, 1):
            self._alias(f"alias[{i}]", one)
        for i, account in enumerate(wanted.account, 1):
            for text in account.addresses:
                if split(text) in self.before.aliases:
                    remedy = f"{text} is an alias: mailrelay alias remove {text}"
                    self.problem(f"account[{i}].addresses", remedy)

    def _alias(self, place: str, one: DeclaredAlias) -> None:
        key = split(one.address)
        if key[1] not in self.after.domains:
            remedy = f"add [[domain]] with name {key[1]}, since --prune would remove it"
            self.problem(f"{place}.address", remedy)
            return
        for directory in (self.before, self.after):
            owner = directory.accounts.get(directory.addresses.get(key, 0))
            if owner is not None:
                text = f"is an address of {owner.name}: take it away there first"
                self.problem(f"{place}.address", text)
                return
        try:
            checked_members(self.after, Alias(self.after.aliases[key].id, *key), one.members)
        except Refusal as error:
            self.problem(f"{place}.members", str(error))
        if one.owner is not None:
            try:
                checked_owner(self.after, one.owner)
            except Refusal as error:
                self.problem(f"{place}.owner", str(error))
