"""``/hold-rules``: what of its own mail an account holds back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

from attrs import evolve, frozen
from msgspec import Meta

from mailrelay.control.answers import Inside
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.holds import (
    MOST_COUNTED,
    MOST_RULES,
    AccountHolds,
    HoldControl,
    MalformedPart,
    OwnRule,
)
from mailrelay.directory.keys import Scope
from mailrelay.policy.holds import HoldRule
from mailrelay.webapi.v1.fields import Id
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import CONFLICT, INVALID_FIELD, NO_SUCH, Problem

T = TypeVar("T")

Part: TypeAlias = Annotated[str, Meta(max_length=512)]


class HoldRuleIn(Strict, frozen=True):
    """Mail that fits both is held; null is any, and an empty sender the null reverse-path.

    Each is a domain or an address.
    """

    sender: Part | None = None
    recipient: Part | None = None


class HoldRuleOut(Strict, frozen=True):
    """A rule."""

    id: Id
    sender: Part | None
    recipient: Part | None


class HoldRuleRow(HoldRuleOut, frozen=True):
    """A rule, and how many of the account's held messages to a recipient fit it.

    ``is_more`` when there are so many held that not all of them were compared.
    """

    held: Annotated[int, Meta(ge=0, le=MOST_COUNTED)]
    is_more: bool


class HoldRuleList(Strict, frozen=True):
    """By id."""

    rules: Annotated[list[HoldRuleRow], Meta(max_length=MOST_RULES)]


class HoldRuleQuery(Strict, frozen=True):
    """With ``release``, what the rule held and no other holds is attempted again."""

    release: bool = False


@frozen
class HoldRuleOperations:
    """``/hold-rules``.  ``control`` makes the rules' for whoever is named in the audit."""

    control: Callable[[str], HoldControl]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="hold_rule_list",
                method="GET",
                path="/hold-rules",
                about="The account's own hold rules; an operator may hold more.",
                work=self.list,
                answers={200: HoldRuleList},
                scope=Scope.READ,
            ),
            Operation(
                name="hold_rule_create",
                method="POST",
                path="/hold-rules",
                about="Hold what the account sends and fits from now on, and what waits.",
                work=self.create,
                answers={201: HoldRuleOut},
                scope=Scope.MANAGE,
                body=HoldRuleIn,
                problems=[CONFLICT],
            ),
            Operation(
                name="hold_rule_delete",
                method="DELETE",
                path="/hold-rules/{id}",
                about="Hold no more by a rule.",
                work=self.delete,
                answers={204: None},
                scope=Scope.MANAGE,
                query=HoldRuleQuery,
            ),
        ]

    async def list(self, call: Call) -> Answer:
        """The rules."""
        return Answer(200, HoldRuleList(rules=[_row(one) for one in await self._of(call).rules()]))

    async def create(self, call: Call) -> Answer:
        """One more."""
        body: HoldRuleIn = call.body
        holds = self._of(call, lambda rule, inside: Answer(201, _out(rule)))
        rule, _ = await _asked(holds.add(body.sender, body.recipient))
        return Answer(201, _out(rule))

    async def delete(self, call: Call) -> Answer:
        """One less."""
        query: HoldRuleQuery = call.query
        holds = self._of(call, lambda gone, inside: Answer(204) if gone else None)
        await _asked(holds.remove(call.id, releases=query.release))
        return Answer(204)

    def _of(
        self, call: Call, told: Callable[[Any, Inside], Answer | None] = lambda done, inside: None
    ) -> AccountHolds:
        control = self.control(call.caller.actor("api"))
        control = evolve(control, records=call.with_answer(control.records, told))
        return AccountHolds(control, call.caller.account)


async def _asked(work: Awaitable[T]) -> T:
    """What ``work`` comes to.  Raises: Problem."""
    try:
        return await work
    except NoSuch as error:
        raise Problem(NO_SUCH, str(error)) from None
    except MalformedPart as error:
        raise Problem(INVALID_FIELD, str(error), error.field) from None
    except Refusal as error:
        raise Problem(CONFLICT, str(error)) from None


def _out(rule: HoldRule) -> HoldRuleOut:
    return HoldRuleOut(id=rule.id, sender=rule.sender, recipient=rule.recipient)


def _row(one: OwnRule) -> HoldRuleRow:
    rule = one.rule
    return HoldRuleRow(
        id=rule.id,
        sender=rule.sender,
        recipient=rule.recipient,
        held=one.held,
        is_more=one.is_more,
    )
