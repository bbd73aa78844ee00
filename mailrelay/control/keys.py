"""API keys as operators and accounts make and revoke them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.directory.credentials import ScramVerifier
from mailrelay.directory.keys import APIKey, Scope, hash_of, new_key
from mailrelay.directory.model import Account, Directory
from mailrelay.message.words import CONTROLS
from mailrelay.net.threads import Executor
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

MOST_KEYS = 100
"""Of one account: SCRAM tries them all."""

MOST_RESTRICTIONS = 100

MOST_PER_MINUTE = 1_000_000

LATEST_END = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""A later one might be of the year 10000 where it is told, which can be written nowhere."""


class BadKey(Refusal):
    """A key cannot be made like this; ``field`` is what is wrong with it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@frozen(kw_only=True)
class NewKey:
    """What a key is to be; empty restrictions restrict nothing.  Times are since the epoch."""

    name: str
    scopes: frozenset[Scope]
    senders: Sequence[str] = ()
    networks: Sequence[str] = ()
    expires_at: float | None = None
    requests_per_minute: int | None = None


@frozen
class ListedKey:
    """A key and the name of its account."""

    key: APIKey
    account: str


class KeyRecords(Protocol):
    """The keys' rows.  Every change tells running processes, and is audited as ``actor``'s.

    Methods fail with Refusal's kinds, and with StoreUnavailable.
    """

    def load(self) -> Deferred[Directory]:
        """Everything now."""

    def listed(self, account: str | None) -> Deferred[Sequence[ListedKey]]:
        """The keys of an account, of all when None, by id."""

    def add(self, actor: str, key: APIKey, most: int) -> Deferred[APIKey]:
        """Keep a key; its id is given here.  Fails with Refusal when the account has ``most``."""

    def remove(self, actor: str, key_id: int, account_id: int | None) -> Deferred[bool]:
        """Revoke a key, of that account only when one is named; False when it is not there."""


@frozen
class KeyControl:
    """What may be asked of keys.  ``random`` gives 16 fresh bytes."""

    records: KeyRecords
    executor: Executor
    random: Callable[[], bytes]
    now: Callable[[], float]
    actor: str

    async def listed(self, account: str | None) -> Sequence[ListedKey]:
        """The keys, without what they are."""
        return await self.records.listed(account)

    async def add(self, account_name: str, wanted: NewKey) -> tuple[APIKey, str]:
        """Make a key; the text is told this once.  Raises: Refusal."""
        directory = await self.records.load()
        account = _account(directory, account_name)
        text = new_key(self.random)
        made = checked_key(wanted, account.id, self.now())
        salt = directory.scram_salt(account) or self.random()
        verifier = await self.executor.run(ScramVerifier.of, text, salt)
        made = evolve(made, key_hash=hash_of(text), scram_verifier=str(verifier))
        return await self.records.add(self.actor, made, MOST_KEYS), text

    async def remove(self, key_id: int, account_id: int | None = None) -> None:
        """Revoke a key.  Raises: NoSuch."""
        if not await self.records.remove(self.actor, key_id, account_id):
            raise NoSuch(f"no key {key_id}: mailrelay key list")


def _account(directory: Directory, name: str) -> Account:
    for account in directory.accounts.values():
        if account.name == name:
            return account
    raise NoSuch(f"no account {name}: mailrelay account list")


def checked_key(wanted: NewKey, account_id: int, now: float) -> APIKey:
    """A key without what it is made of, ``now`` its age.  Raises: BadKey."""
    if not wanted.name or len(wanted.name) > 100 or CONTROLS.search(wanted.name):
        raise BadKey("name", "the name must be 1 to 100 characters, without control characters")
    if not wanted.scopes:
        raise BadKey("scopes", "name at least one scope: send, read, manage")
    for field in ("senders", "networks"):
        if len(getattr(wanted, field)) > MOST_RESTRICTIONS:
            raise BadKey(field, f"at most {MOST_RESTRICTIONS} can be named")
    if wanted.expires_at is not None and wanted.expires_at <= now:
        raise BadKey("expires_at", "the key would have expired already: name a later time")
    if wanted.expires_at is not None and wanted.expires_at >= LATEST_END:
        raise BadKey("expires_at", "no end is beyond the year 9998: name none")
    limit = wanted.requests_per_minute
    if limit is not None and not 1 <= limit <= MOST_PER_MINUTE:
        text = f"a limit is 1 to {MOST_PER_MINUTE}; without it there is none"
        raise BadKey("requests_per_minute", text)
    return APIKey(
        0,
        account_id,
        wanted.name,
        b"",
        wanted.scopes,
        now,
        senders=frozenset(_sender(n, text) for n, text in enumerate(wanted.senders)),
        networks=tuple(_network(n, text) for n, text in enumerate(wanted.networks)),
        expires_at=wanted.expires_at,
        requests_per_minute=wanted.requests_per_minute,
    )


def _sender(number: int, text: str) -> str:
    try:
        return str(Address.parse(text)).lower() if "@" in text else normal_domain(text)
    except MalformedAddress as error:
        raise BadKey(
            f"senders[{number}]", f"{text!r} is neither an address nor a domain: {error}"
        ) from None


def _network(number: int, text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise BadKey(f"networks[{number}]", f"{text!r} is no network: {error}") from None
