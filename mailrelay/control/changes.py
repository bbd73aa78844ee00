"""Changes of the directory as people and programs are shown them before they are made.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TypeVar

from attrs import field, frozen

from mailrelay.control.declared import DeclaredRule
from mailrelay.control.steps import Step

D = TypeVar("D")
T = TypeVar("T")

SECRETS = frozenset({"password_hash", "scram_verifier", "authorization", "key_hash", "secret"})
"""Of these only whether they are set is ever shown."""


BULKY = frozenset({"text", "html"})
"""Of these only how many characters they have is shown."""


@frozen
class Setting:
    """What a setting is, and what it is to be; secrets are masked."""

    name: str
    before: object
    after: object


@frozen
class Change:
    """One thing that is to be added, changed or removed."""

    action: str
    kind: str
    name: str
    step: Step = field(repr=False)
    settings: Sequence[Setting] = ()


@frozen
class Part:
    """What becomes of one kind of things; ``removals`` in the order they were found."""

    changes: Sequence[Change]
    removals: Sequence[Change] = ()
    notes: Sequence[str] = ()


@frozen
class Plan:
    """All changes, in an order in which each finds what it needs."""

    changes: Sequence[Change]
    kept: Sequence[Change] = ()  # what is not declared, and would be removed if it were pruned
    notes: Sequence[str] = ()  # what a declaration does not do

    def removed(self, kind: str) -> list[str]:
        """The names of what is removed of a kind."""
        gone = [one for one in self.changes if one.action == "remove"]
        return [one.name for one in gone if one.kind == kind]


def differences(before: object, after: object, names: Iterable[str]) -> list[Setting]:
    """What of ``names`` is another, secrets masked."""
    found = []
    for name in names:
        old, new = getattr(before, name), getattr(after, name)
        if name in SECRETS:
            if (old or None) != (new or None):
                found.append(Setting(name, "set" if old else None, _masked(old, new)))
        elif old != new and name in BULKY:
            found.append(Setting(name, _length(old), _length(new)))
        elif old != new:
            found.append(Setting(name, old, new))
    return found


def _masked(old: object, new: object) -> str | None:
    if not new:
        return None
    return "another" if old else "set"


def _length(text: str) -> str | None:
    return f"{len(text)} characters" if text else None


def taken(
    left: list[tuple[D, T]], alike: Sequence[str], settings: Sequence[str], wanted: D
) -> tuple[D, T] | None:
    """Of what is ``left`` that which is most like ``wanted``; it is left no longer.

    It is the same in what ``alike`` names, and of those the least another in ``settings``.
    """
    same = attrgetter(*alike)
    fitting = [pair for pair in left if same(pair[0]) == same(wanted)]
    if not fitting:
        return None
    found = min(fitting, key=lambda pair: len(differences(pair[0], wanted, settings)))
    left.remove(found)
    return found


def rule_text(one: DeclaredRule) -> str:
    """A hold rule in a line: what it holds."""
    if one.everything:
        return "everything"
    sender = "<>" if one.sender == "" else one.sender
    parts = (("account", one.account), ("from", sender), ("to", one.recipient))
    return " ".join(f"{word} {part}" for word, part in parts if part is not None)


def by_names(found: Sequence[Setting]) -> Sequence[Setting]:
    """Settings whose values are of an Enum by what these are called."""
    return [
        Setting(
            one.name,
            getattr(one.before, "value", one.before),
            getattr(one.after, "value", one.after),
        )
        for one in found
    ]
