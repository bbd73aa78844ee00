"""Whom greylisting need not ask to come again: peers with a name of their own, known senders.

Invariant: an answer is there within ``within`` seconds; who is not known to be exempt then, is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailrelay.acceptance.first_time import KnownSenders
from mailrelay.acceptance.greylisting import GreylistSettings
from mailrelay.directory.model import Account, Directory
from mailrelay.mailauth.iprev import Iprev, name_of
from mailrelay.mailauth.spf import SPFResult, check_host
from mailrelay.net.in_time import in_time
from mailrelay.net.resolver import Resolver, as_ip
from mailrelay.smtp.address import Address

WITHIN = 5.0


@frozen
class Exempting:
    """See Exempt.  ``known`` is None where no senders are known."""

    settings: GreylistSettings
    resolver: Resolver
    clock: IReactorTime
    directory: Callable[[], Directory]
    known: KnownSenders | None = None
    within: float = WITHIN
    _log = Logger()

    async def __call__(self, ip: str, path: Address | None, recipient: Address) -> bool:
        """Whether a peer that sends from ``path`` to ``recipient`` is exempt."""

        def failed() -> None:
            self._log.failure("it cannot be found out whether a peer need not come again")

        asking = self._is_exempt(ip, path, recipient)
        return await in_time(self.clock, self.within, asking, False, failed)

    async def _is_exempt(self, ip: str, path: Address | None, recipient: Address) -> bool:
        if as_ip(ip) is None:
            return False  # a Unix socket
        if self.settings.skip_named and await self._is_named(ip):
            return True
        is_asked = self.settings.skip_known and self.known is not None and path is not None
        return is_asked and await self._is_known(ip, path, recipient)

    async def _is_named(self, ip: str) -> bool:
        host = await name_of(self.resolver, ip)
        return host.result is Iprev.PASS and is_own_name(host.name, ip)

    async def _is_known(self, ip: str, path: Address | None, recipient: Address) -> bool:
        owner = self.directory().resolve(recipient)
        if self.known is None or path is None or not isinstance(owner, Account):
            return False
        sender = str(path)
        if await self.known.unknown_to([owner.id], sender.lower()):
            return False
        spf = await check_host(self.resolver, ip, sender, path.domain)
        return spf.result is SPFResult.PASS


_NUMBERS = re.compile(r"[0-9]+")
_HEX_WORDS = re.compile(r"[0-9a-f]+")


def is_own_name(name: str, ip: str) -> bool:
    """Whether ``name`` is more than its address written otherwise, as lines of homes have it."""
    address, low = ip_address(ip), name.lower()
    if isinstance(address, IPv4Address):
        octets = list(address.packed)
        joined = ("".join(f"{one:03}" for one in octets), address.packed.hex())
        said = [int(one) for one in _NUMBERS.findall(low) if len(one) <= 3]
        return not any(one in low for one in joined) and _shared(octets, said) < 3
    words = [f"{int(one, 16):x}" for one in address.exploded.split(":")]
    said_words = [one.lstrip("0") or "0" for one in _HEX_WORDS.findall(low) if len(one) <= 4]
    has_digits = address.packed.hex()[16:] in low
    return not has_digits and _shared([w for w in words if w != "0"], said_words) < 3


def _shared(own: list[int] | list[str], said: list[int] | list[str]) -> int:
    """How many of ``own`` are in ``said``, each as often as it is there."""
    left = [*said]
    count = 0
    for one in own:
        if one in left:
            left.remove(one)
            count += 1
    return count
