"""DKIM keys as operators make, rotate and remove them.

A private key is never told: what is shown is the record to publish.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from string import ascii_lowercase
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.directory.model import Directory
from mailrelay.mailauth.dkim import Algorithm, MalformedKey, parse_key
from mailrelay.mailauth.dkim_sign import SigningKey, key_to_pem, new_key
from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.net.threads import Executor
from mailrelay.smtp.address import MalformedAddress, normal_domain

RETIRED_FOR = 7 * 86400.0
"""Seconds that a key's record stays published after it was replaced."""

_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PREFIXES = {Algorithm.RSA: "r", Algorithm.ED25519: "e"}

Texts = Callable[[str], Awaitable[Sequence[bytes]]]


class DKIMRecords(Protocol):
    """The keys' rows.  Every change tells running processes, and is audited as ``actor``'s.

    Methods fail with Refusal's kinds, and with StoreUnavailable.
    """

    def load(self) -> Deferred[Directory]:
        """Everything now."""

    def add(self, actor: str, keys: Sequence[StoredKey]) -> Deferred[None]:
        """Keep keys, all or none.  Fails with AlreadyThere."""

    def set_states(self, actor: str, keys: Sequence[StoredKey]) -> Deferred[None]:
        """Have keys be in the states that these are in."""

    def remove(self, actor: str, keys: Sequence[StoredKey]) -> Deferred[None]:
        """Forget keys, all or none.  Fails with NoSuch."""


@frozen
class DKIMControl:
    """What may be asked of DKIM keys."""

    records: DKIMRecords
    executor: Executor
    now: Callable[[], float]
    actor: str

    async def keys(self, domain: str | None = None) -> Sequence[StoredKey]:
        """The keys of a domain, or of all.  Raises: Refusal."""
        directory = await self.records.load()
        if domain is not None:
            return directory.dkim_keys.get(_own_domain(directory, domain), [])
        return [key for keys in directory.dkim_keys.values() for key in keys]

    async def add(
        self, domain: str, algorithms: Sequence[Algorithm], selector: str | None = None
    ) -> Sequence[StoredKey]:
        """Make keys, which wait until their records are seen in DNS.  Raises: Refusal."""
        directory = await self.records.load()
        name = _own_domain(directory, domain)
        there = directory.dkim_keys.get(name, [])
        if any(key.state is KeyState.NEXT for key in there):
            raise AlreadyThere(
                f"{name} has keys that wait for their records: mailrelay dkim list {name}"
            )
        if selector is not None and (not _SELECTOR.fullmatch(selector) or len(algorithms) > 1):
            raise Refusal(
                "a selector is 1 to 63 of a-z, 0-9 and -, and of one key: name one --algorithm"
            )
        taken = {key.selector for key in there}
        made = []
        for algorithm in algorithms:
            chosen = selector or _free_selector(algorithm, taken, self.now())
            made.append(await self.executor.run(_made, name, chosen, algorithm, self.now()))
        await self.records.add(self.actor, made)
        return made

    async def rotate(self, domain: str) -> Sequence[StoredKey]:
        """Make the next keys, of the algorithms that there are.  Raises: Refusal."""
        kinds = dict.fromkeys(key.algorithm for key in await self.keys(domain))
        if not kinds:
            raise NoSuch(f"{domain} has no keys yet: mailrelay dkim add {domain}")
        return await self.add(domain, [Algorithm(kind) for kind in kinds])

    async def activate_next(self, domain: str) -> Sequence[StoredKey]:
        """Sign with the next keys now, whether their records are seen or not.  Raises: Refusal."""
        waiting = [key for key in await self.keys(domain) if key.state is KeyState.NEXT]
        if not waiting:
            raise NoSuch(f"no key of {domain} waits: mailrelay dkim list {domain}")
        return await self.activate(waiting)

    async def activate(self, keys: Sequence[StoredKey]) -> Sequence[StoredKey]:
        """Sign with ``keys`` from now on; those of their algorithms that did so retire."""
        directory = await self.records.load()
        changed = []
        for key in keys:
            changed.append(evolve(key, state=KeyState.ACTIVE))
            for other in directory.dkim_keys.get(key.domain, []):
                if other.state is KeyState.ACTIVE and other.algorithm == key.algorithm:
                    gone = self.now() + RETIRED_FOR
                    changed.append(evolve(other, state=KeyState.RETIRED, removed_at=gone))
        if changed:
            await self.records.set_states(self.actor, changed)
        return changed

    async def remove(self, domain: str, selector: str) -> None:
        """Forget a key: mail is signed with it no more.  Raises: Refusal."""
        directory = await self.records.load()
        name = _own_domain(directory, domain)
        found = [key for key in directory.dkim_keys.get(name, []) if key.selector == selector]
        if not found:
            raise NoSuch(f"{name} has no key with selector {selector}: mailrelay dkim list {name}")
        await self.records.remove(self.actor, found)

    async def go_on(self, texts: Texts) -> Sequence[StoredKey]:
        """Use keys whose records are seen, and forget those that retired long ago.

        The keys that are used from now on, and those that they replace.
        """
        directory = await self.records.load()
        every = [key for keys in directory.dkim_keys.values() for key in keys]
        old = [key for key in every if key.removed_at is not None and key.removed_at <= self.now()]
        if old:
            await self.records.remove(self.actor, old)
        seen = [k for k in every if k.state is KeyState.NEXT and await is_published(k, texts)]
        return await self.activate(seen)


async def is_published(key: StoredKey, texts: Texts) -> bool:
    """Whether DNS has the record of ``key``, and no other beside it."""
    algorithm = Algorithm(key.algorithm)
    try:
        [record] = await texts(key.name)
        return (
            parse_key(record, algorithm).public == parse_key(key.record.encode(), algorithm).public
        )
    except (ValueError, MalformedKey, NoSuchDomain, LookupFailed):
        return False


def _made(domain: str, selector: str, algorithm: Algorithm, now: float) -> StoredKey:
    private = new_key(algorithm)
    record = SigningKey(domain, selector, private).record()
    return StoredKey(
        domain, selector, algorithm.value, key_to_pem(private), record, KeyState.NEXT, now
    )


def _free_selector(algorithm: Algorithm, taken: set[str], now: float) -> str:
    """The day on which it was made, and of what kind; a letter more when that is taken."""
    day = f"{_PREFIXES[algorithm]}{datetime.fromtimestamp(now, UTC):%Y%m%d}"
    names: list[str] = [day, *(day + letter for letter in ascii_lowercase)]
    for name in names:
        if name not in taken:
            taken.add(name)
            return name
    raise Refusal("that is enough keys for one day: mailrelay dkim remove")


def _own_domain(directory: Directory, text: str) -> str:
    """Raises: Refusal."""
    try:
        name = str(normal_domain(text))
    except MalformedAddress as error:
        raise Refusal(f"{text!r} cannot be a domain: {error}") from None
    if name not in directory.domains:
        raise NoSuch(f"no domain {name}: mailrelay domain add {name}")
    return name
