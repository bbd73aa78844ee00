"""The aliases that an account gets mail by."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from mailrelay.directory.aliases import Alias
from mailrelay.directory.memberships import memberships
from mailrelay.directory.model import Directory
from mailrelay.pages.door import Asked, Doors
from mailrelay.web.request import Response, Route

MOST_ALIASES = 1000
MOST_MEMBERS = 1000


@frozen
class ShownAlias:
    """An alias.  ``members`` is None where its operator does not let them see each other."""

    alias: Alias
    may_send_as: bool
    members: Sequence[str] | None
    more: int  # members that are not shown


@frozen
class AliasPages:
    """``/aliases``."""

    doors: Doors
    directory: Callable[[], Directory]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [self.doors.account("/aliases", self.list)]

    async def list(self, asked: Asked) -> Response:
        """Those of the account, by address."""
        directory, account = self.directory(), asked.account
        found = memberships(directory, account)[:MOST_ALIASES]
        aliases = [_shown(one, may_send_as=directory.owns(account, one.address)) for one in found]
        return self.doors.page(asked, "aliases.html", aliases=aliases)


def _shown(alias: Alias, *, may_send_as: bool) -> ShownAlias:
    members = sorted(map(str, alias.members)) if alias.list_members else None
    more = max(0, len(members or ()) - MOST_MEMBERS)
    shown = members[:MOST_MEMBERS] if members is not None else None
    return ShownAlias(alias, may_send_as, shown, more)
