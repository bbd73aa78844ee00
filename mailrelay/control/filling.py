"""Messages written with an account's templates: looked up once, compiled once, filled for each.

A version of a template never changes, so what is compiled of it is kept.  The rows are read each
time (some hundred microseconds, by a reader): a snapshot would hold the sources of all accounts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from attrs import define, field, frozen

from mailrelay.control.templates import StoredTemplate, TemplateRecords
from mailrelay.net.threads import Executor
from mailrelay.templates.budget import MOST_STEPS, Budget
from mailrelay.templates.model import BadTemplate, CannotRender, Written
from mailrelay.templates.rendering import Compiled, compiled, rendered

MOST_KEPT = 200
"""Compiled templates."""

AT_ONCE = 50
"""Messages that one piece of a worker's work fills."""

STEPS_EACH = 15_000
"""That many messages have together, for each of them, beside what one may use alone."""


@frozen
class Filling:
    """A template by name, in its newest version when none is named, and what it is filled with."""

    name: str
    version: int | None
    variables: Mapping[str, Any]


class NoSuchTemplate(Exception):
    """The account has none of that name, or not in that version."""


Failure: TypeAlias = NoSuchTemplate | CannotRender
_Ready: TypeAlias = Compiled | NoSuchTemplate | CannotRender


@define
class TemplateWriter:
    """Writes messages with templates.  Used from the reactor's thread."""

    records: TemplateRecords
    executor: Executor
    _kept: OrderedDict[tuple[int, int], Compiled] = field(factory=OrderedDict)

    async def written(self, account: str, wanted: Sequence[Filling]) -> Sequence[Written | Failure]:
        """One result for each of ``wanted``: its message, or why there is none.

        All of them share a budget, which is far beyond what ordinary templates need; what comes
        after it is used up has failed.
        """
        ready: dict[tuple[str, int | None], _Ready] = {}
        for one in wanted:
            key = (one.name, one.version)
            if key not in ready:
                ready[key] = await self._ready(account, *key)
        budget = Budget(MOST_STEPS + STEPS_EACH * len(wanted))
        done: list[Written | Failure] = []
        for at in range(0, len(wanted), AT_ONCE):
            some = [
                (ready[one.name, one.version], one.variables) for one in wanted[at : at + AT_ONCE]
            ]
            done += await self.executor.run(_filled, some, budget)
        return done

    async def _ready(self, account: str, name: str, version: int | None) -> _Ready:
        found = await self.records.get(account, name, version)
        if found is None:
            of = "" if version is None else f" of version {version}"
            return NoSuchTemplate(f"there is no template of that name{of}")
        key = (found.template.id, found.version.version)
        kept = self._kept.get(key)
        if kept is None:
            made = await self.executor.run(_compiled, found)
            if isinstance(made, CannotRender):
                return made
            kept = made
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return kept


def _compiled(found: StoredTemplate) -> Compiled | CannotRender:
    """A template that was stored under other rules may be none any more."""
    try:
        return compiled(found.version.source)
    except BadTemplate as error:
        return CannotRender(error.part, error.line, str(error))


def _filled(
    wanted: Sequence[tuple[_Ready, Mapping[str, Any]]], budget: Budget
) -> Sequence[Written | Failure]:
    done: list[Written | Failure] = []
    for template, variables in wanted:
        if not isinstance(template, Compiled):
            done.append(template)
            continue
        own = Budget(max(0, min(MOST_STEPS, budget.steps)))
        given = own.steps
        try:
            done.append(rendered(template, variables, own))
        except CannotRender as error:
            done.append(error)
        budget.steps -= given - own.steps
    return done
