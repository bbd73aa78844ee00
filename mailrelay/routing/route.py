"""Routes: which mail they are for, and where it goes then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from mailrelay.queue.entry import Entry
from mailrelay.routing.transports import NamedTransport
from mailrelay.routing.ways import RelayHost


@frozen
class Route:
    """``[[route]]``: for mail that fits all that it names.

    ``domain`` is ``*`` for all, ``.example.org`` for what is below it.  In ``to_domain`` and
    ``from_domain`` that is example.org and what is below it, as in mox.  ``number`` is its place
    in the file, from 1.
    """

    domain: str = "*"
    relay_host: RelayHost | None = None
    discard: bool = False
    mx: bool = False  # by MX, though there is a relay host for the rest
    transport: NamedTransport | None = None
    to_domain: Sequence[str] = ()
    from_domain: Sequence[str] = ()
    minimum_attempts: int = 0
    account: str | None = None
    number: int = 0

    @property
    def rank(self) -> int:
        """Routes of lower rank are asked first: an account's, then a sender's domain's."""
        if self.account is not None:
            return 0
        return 1 if self.from_domain else 2

    def mismatch(self, entry: Entry, account: str | None) -> str | None:
        """Why ``entry`` of ``account`` is not this route's; None when it is."""
        if self.account is not None and self.account != account:
            return f"it is for account {self.account}"
        if entry.attempts < self.minimum_attempts:
            return f"it is for what was attempted {self.minimum_attempts} times before"
        sender, recipient = entry.reverse_path, entry.recipient.domain
        if not names_domain(self.from_domain, sender.domain if sender else ""):
            return "the sender's domain is not in from_domain"
        if not names_domain(self.to_domain, recipient):
            return "the recipient's domain is not in to_domain"
        if not _is_for(self.domain, recipient):
            return "the recipient's domain is another"
        return None


def _is_for(wanted: str, domain: str) -> bool:
    if wanted == "*":
        return True
    return domain.endswith(wanted) if wanted.startswith(".") else domain == wanted


def names_domain(wanted: Sequence[str], domain: str) -> bool:
    """Whether a list that is empty for any names ``domain``; ``.`` is for where there is none."""
    if not wanted or domain in wanted:
        return True
    if "." in wanted and (not domain or domain.startswith("[")):
        return True
    dotted = f".{domain}"
    return any(each.startswith(".") and each != "." and dotted.endswith(each) for each in wanted)


def by_rank(routes: Sequence[Route]) -> Sequence[Route]:
    """``routes`` as they are asked: by rank, then in the order of the file."""
    return sorted(routes, key=lambda route: route.rank)


@frozen
class RoutingSettings:
    """``[relay_host]``, ``[[transport]]`` and ``[[route]]`` of the configuration."""

    routes: Sequence[Route] = field(default=(), converter=by_rank)
    relay_host: RelayHost | None = None
    simulate: bool = False  # localserve: special localparts fail
    local_only: bool = False  # localserve: nothing leaves
    handoff_relays: Sequence[
        RelayHost
    ] = ()  # of what was handed in, unless a rule names its sender
    transports: Mapping[str, NamedTransport] = field(factory=dict)  # all of them, by name

    def chosen_for(self, entry: Entry) -> NamedTransport | None:
        """What an operator chose for ``entry``; None when it is not there any more, too."""
        return None if entry.transport is None else self.transports.get(entry.transport)
