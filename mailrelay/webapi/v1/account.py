"""Who one is, as the server sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from attrs import frozen
from msgspec import Meta

from mailrelay.directory.keys import Scope
from mailrelay.directory.model import Directory
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict


class AccountView(Strict, frozen=True):
    """The account that called.  An address without a localpart is a whole domain's catch-all."""

    name: Annotated[str, Meta(max_length=255)]
    full_name: Annotated[str, Meta(max_length=255)]
    addresses: Annotated[list[Annotated[str, Meta(max_length=512)]], Meta(max_length=1000)]
    scopes: Annotated[list[Scope], Meta(max_length=10)]


MOST_ADDRESSES = 1000


@frozen
class AccountOperations:
    """``/account``."""

    directory: Callable[[], Directory]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="account_get",
                method="GET",
                path="/account",
                about="The account that the login or key is of, and what it may do.",
                work=self.get,
                answers={200: AccountView},
            )
        ]

    async def get(self, call: Call) -> Answer:
        """The account."""
        account = call.caller.account
        addresses = self.directory().addresses_of(account)[:MOST_ADDRESSES]
        return Answer(
            200,
            AccountView(
                name=account.name,
                full_name=account.full_name,
                addresses=addresses,
                scopes=sorted(account.scopes),
            ),
        )
