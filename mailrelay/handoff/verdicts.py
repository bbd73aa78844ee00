"""What is done with a message for each of its recipients.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, field, frozen

from mailrelay.acceptance.envelope import Fates
from mailrelay.acceptance.returned import Returning
from mailrelay.directory.model import Directory, Foreign
from mailrelay.handoff.discovery import NamedBy, Recipients
from mailrelay.handoff.endpoints import HandOffInSettings, Policy
from mailrelay.policy.relay import (
    ALIAS_DEFERS,
    ALIAS_DISABLED,
    DOMAIN_DISABLED,
    NO_SUCH_USER,
    Submitter,
    refuse_recipient,
)
from mailrelay.smtp.address import Address, normal_domain
from mailrelay.smtp.reply import Reply, reply

UNKNOWN_DEFERS = reply(450, "4.1.1", "no such user for now")

_SWITCHED_OFF = (ALIAS_DISABLED, ALIAS_DEFERS, DOMAIN_DISABLED)


@frozen
class Verdict:
    """Who gets a copy, who is as if he did, and who does not, each with the reply that says why.

    One of ``foreign`` is a mistake of the caller's: nothing is taken.
    """

    taken: Sequence[Address] = ()
    dropped: Sequence[Address] = ()
    refused: Sequence[tuple[Address, Reply]] = ()
    deferred: Sequence[tuple[Address, Reply]] = ()
    foreign: bool = False

    @property
    def recipients(self) -> Sequence[Address]:
        """Of the message that is accepted now."""
        return [*self.taken, *self.dropped, *(address for address, _ in self.refused)]

    @property
    def fates(self) -> Fates:
        """The same for acceptance, which makes reports of what is refused."""
        refused = frozenset(address for address, _ in self.refused)
        return Fates(frozenset(self.dropped), refused)

    @property
    def is_refused(self) -> bool:
        """Whether all of it is: then the caller, who has it, reports it."""
        return bool(self.refused) and not (self.taken or self.dropped or self.deferred)

    def only(self, wanted: Callable[[Address], bool]) -> Verdict:
        """The same for some of the recipients."""
        return evolve(
            self,
            taken=[one for one in self.taken if wanted(one)],
            dropped=[one for one in self.dropped if wanted(one)],
            refused=[one for one in self.refused if wanted(one[0])],
            deferred=[one for one in self.deferred if wanted(one[0])],
        )


def knows(directory: Directory, endpoint: HandOffInSettings, domain: str) -> bool:
    """Whether mail for ``domain`` is taken at an endpoint.  Raises: MalformedAddress."""
    name = normal_domain(domain)
    if endpoint.domains and name not in map(normal_domain, endpoint.domains):
        return False
    return name in directory.domains or f"@{name}" in directory.handed_off


@frozen
class Judge:
    """Of one endpoint, at one moment."""

    directory: Directory
    endpoint: HandOffInSettings
    returning: Returning
    _domains: frozenset[str] = field(init=False)

    @_domains.default
    def _normal_domains(self) -> frozenset[str]:
        return frozenset(map(normal_domain, self.endpoint.domains))

    def is_ours(self, address: Address) -> bool:
        """Whether mail for ``address`` may be taken here, if there is such an address."""
        if self._is_returning(address):
            return True
        if self._domains and address.domain not in self._domains:
            return False
        return not isinstance(self.directory.resolve(address), Foreign) and bool(address.domain)

    def verdict(
        self, found: Recipients, sender: Address | None, had: frozenset[str], now: float
    ) -> Verdict:
        """What is done for those of ``found`` that did not have the message before."""
        if not all(map(self.is_ours, found.addresses)):
            return Verdict(foreign=True)
        left = [address for address in found.addresses if str(address) not in had]
        taken, dropped, refused, deferred = [], [], [], []
        for address in left:
            said = self._refusal(address, sender, left, now)
            policy = None if said is None else self._policy(said)
            if said is None:
                taken.append(address)
            elif policy is Policy.DROP:
                dropped.append(address)
            elif policy is Policy.REJECT:
                refused.append((address, _as_permanent(said)))
            else:
                deferred.append((address, _as_transient(said)))
        if found.by is NamedBy.AUTHOR and taken:
            # To and Cc name whom the message was written to, not whom it was handed in for.
            dropped, refused = [], []
        return Verdict(taken, dropped, refused, deferred)

    def _refusal(
        self, address: Address, sender: Address | None, all_: Sequence[Address], now: float
    ) -> Reply | None:
        """As at RCPT; a report that comes back to what we rewrote is taken alone, after others."""
        if not self._is_returning(address):
            return refuse_recipient(self.directory, Submitter(), address)
        before = all_[: all_.index(address)]
        others = [one for one in all_ if one in before or not self._is_returning(one)]
        return self.returning.refuse(self.directory, address, sender, others, now)

    def _is_returning(self, address: Address) -> bool:
        return self.returning.is_ours(self.directory, address)

    def _policy(self, said: Reply) -> Policy:
        own = Policy.DEFER if said.is_transient else Policy.REJECT
        if said == NO_SUCH_USER:
            own, chosen = Policy.REJECT, self.endpoint.unknown
        elif said in _SWITCHED_OFF:
            chosen = self.endpoint.disabled
        else:
            return own
        return chosen or (Policy.DROP if self.endpoint.is_mailx else own)


def _as_permanent(said: Reply) -> Reply:
    return said if said.is_permanent else ALIAS_DISABLED


def _as_transient(said: Reply) -> Reply:
    if said.is_transient:
        return said
    return UNKNOWN_DEFERS if said == NO_SUCH_USER else ALIAS_DEFERS
