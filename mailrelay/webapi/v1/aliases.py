"""Aliases that one is a member of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from attrs import frozen
from msgspec import Meta

from mailrelay.directory.aliases import Alias
from mailrelay.directory.keys import Scope
from mailrelay.directory.memberships import memberships
from mailrelay.directory.model import Directory
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict

MOST_ALIASES = 1000
MOST_MEMBERS = 1000

Text = Annotated[str, Meta(max_length=512)]


class AliasView(Strict, frozen=True):
    """An alias that the account gets mail by.

    ``members`` are those listed in it, where its operator lets them see each other; else null.
    ``may_send_as`` when the account may use it in From.
    """

    address: Text
    is_list: bool
    may_send_as: bool
    members: Annotated[list[Text], Meta(max_length=MOST_MEMBERS)] | None


class AliasList(Strict, frozen=True):
    """By address."""

    aliases: Annotated[list[AliasView], Meta(max_length=MOST_ALIASES)]


@frozen
class AliasOperations:
    """``/aliases``."""

    directory: Callable[[], Directory]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="alias_list",
                method="GET",
                path="/aliases",
                about="The aliases that the account gets mail by, itself or through other aliases.",
                work=self.find,
                answers={200: AliasList},
                scope=Scope.READ,
            )
        ]

    async def find(self, call: Call) -> Answer:
        """Those of the account."""
        directory, account = self.directory(), call.caller.account
        found = memberships(directory, account)[:MOST_ALIASES]
        views = [_view(one, may_send_as=directory.owns(account, one.address)) for one in found]
        return Answer(200, AliasList(aliases=views))


def _view(one: Alias, *, may_send_as: bool) -> AliasView:
    members = sorted(map(str, one.members))[:MOST_MEMBERS] if one.list_members else None
    return AliasView(
        address=str(one), is_list=one.is_list, may_send_as=may_send_as, members=members
    )
