"""Domains, accounts and addresses: what may be asked, checked, and written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.account import (
    AccountView,
    EndpointChange,
    Unset,
    check_separator_is_in_no_address,
    check_separator_is_unneeded,
    checked_endpoint,
    checked_logins,
    checked_retention,
)
from mailrelay.control.directory_checks import (
    HIGHEST_LIMITS,
    NEW_ACCOUNT,
    address_key,
    check_account_name,
    checked_domain,
    checked_full_name,
    checked_limit,
    checked_separator,
)
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.directory.credentials import ScramVerifier, UnusablePassword, hash_password
from mailrelay.directory.dkim import StoredKey
from mailrelay.directory.model import CATCH_ALL, Directory, DMARCPolicy, Domain, MTASTSMode
from mailrelay.net.threads import Executor
from mailrelay.webhooks.call import Endpoint

LEAST_PASSWORD_CHARACTERS = 8
MOST_PASSWORD_CHARACTERS = 1000

ADMIN_PASSWORD_HASH = "admin_password_hash"


@frozen
class AccountDetails:
    """What an account is made of, or changed to; None leaves a value as it is."""

    full_name: str | None = None
    password: str | None = field(default=None, repr=False)
    scram: bool = True  # keep a verifier beside the hash
    quota_bytes: int | None = None
    messages_per_day: int | None = None
    login_disabled: bool | None = None
    from_id_logins: Sequence[str] | None = None  # all of them
    retired_kept_for: float | Unset | None = None  # seconds
    calls_kept_for: float | Unset | None = None
    endpoints: Sequence[EndpointChange] = ()
    new_recipients_per_day: int | None = None  # 0 for no limit


@frozen
class DomainUse:
    """A domain, how many addresses and aliases are in it, and what its mail is signed with."""

    domain: Domain
    addresses: int
    aliases: int
    keys: Sequence[StoredKey]


class DirectoryRecords(Protocol):
    """The directory's rows.  Every change tells running processes, and is audited as ``actor``'s.

    Methods fail with Refusal's kinds, and with StoreUnavailable.
    """

    def load(self) -> Deferred[Directory]:
        """Everything now."""

    def add_domain(self, actor: str, domain: Domain) -> Deferred[None]:
        """Add a domain."""

    def set_domain(self, actor: str, name: str, values: dict[str, object]) -> Deferred[None]:
        """Change columns."""

    def remove_domain(self, actor: str, name: str) -> Deferred[None]:
        """Remove a domain without addresses."""

    def add_account(self, actor: str, name: str, values: dict[str, object]) -> Deferred[int]:
        """Add an account; its id."""

    def set_account(
        self,
        actor: str,
        name: str,
        values: dict[str, object],
        endpoints: Sequence[EndpointChange] = (),
    ) -> Deferred[None]:
        """Change columns and webhooks, all of it or nothing."""

    def endpoints(self, name: str) -> Deferred[Sequence[Endpoint]]:
        """An account's webhooks."""

    def remove_account(self, actor: str, name: str) -> Deferred[None]:
        """Remove an account without addresses and messages, and all that was its own."""

    def add_address(self, actor: str, localpart: str, domain: str, account: str) -> Deferred[None]:
        """Give an account an address."""

    def remove_address(self, actor: str, localpart: str, domain: str) -> Deferred[None]:
        """Take an address away."""

    def setting(self, name: str) -> Deferred[str | None]:
        """A value kept beside the directory."""

    def set_setting(self, actor: str, name: str, value: str) -> Deferred[None]:
        """Keep a value."""


@frozen
class DirectoryControl:
    """Checks and normalises, then changes one thing.  ``salt`` gives 16 fresh bytes."""

    records: DirectoryRecords
    executor: Executor
    salt: Callable[[], bytes]
    actor: str

    async def add_domain(
        self, name: str, separator: str = "+", *, case_sensitive: bool = False
    ) -> None:
        """Take mail for a domain.  Raises: Refusal."""
        domain = Domain(0, checked_domain(name), checked_separator(separator), case_sensitive)
        await self.records.add_domain(self.actor, domain)

    async def domains(self) -> Sequence[DomainUse]:
        """All of them by name, each with what is in it."""
        directory = await self.records.load()
        addresses = Counter(domain for _, domain in directory.addresses)
        aliases = Counter(domain for _, domain in directory.aliases)
        return [
            DomainUse(one, addresses[name], aliases[name], directory.dkim_keys.get(name, ()))
            for name, one in sorted(directory.domains.items())
        ]

    async def domain(self, name: str) -> DomainUse:
        """One of them.  Raises: Refusal."""
        name = checked_domain(name)
        for use in await self.domains():
            if use.domain.name == name:
                return use
        raise NoSuch(f"no domain {name}: mailrelay domain add {name}")

    async def set_domain(
        self,
        name: str,
        separator: str | None = None,
        *,
        disabled: bool | None = None,
        dmarc: DMARCPolicy | None = None,
        mta_sts: MTASTSMode | None = None,
    ) -> None:
        """Change a domain.  Raises: Refusal."""
        name = checked_domain(name)
        values: dict[str, object] = {}
        if separator is not None:
            values["separator"] = checked_separator(separator)
            directory = await self.records.load()
            if separator:
                check_separator_is_in_no_address(directory, name, separator)
            else:
                check_separator_is_unneeded(directory, name)
        if disabled is not None:
            values["disabled"] = disabled
        if dmarc is not None:
            values["dmarc"] = dmarc
        if mta_sts is not None:
            values["mta_sts"] = mta_sts
        if not values:
            raise Refusal("nothing to change: name a setting")
        await self.records.set_domain(self.actor, name, values)

    async def remove_domain(self, name: str) -> None:
        """Take no more mail for a domain.  Raises: Refusal."""
        await self.records.remove_domain(self.actor, checked_domain(name))

    async def add_account(self, name: str, details: AccountDetails) -> None:
        """Make an account.  Raises: Refusal."""
        check_account_name(name)
        values = {**NEW_ACCOUNT, **await self._values(details)}
        await self.records.add_account(self.actor, name, values)

    async def set_account(self, name: str, details: AccountDetails) -> None:
        """Change an account.  A limit of 0 takes it away.  Raises: Refusal."""
        directory = await self.records.load()
        values = await self._values(details, _salt_of(directory, name))
        if details.from_id_logins is not None:
            values["from_id_logins"] = checked_logins(directory, name, details.from_id_logins)
        endpoints = [checked_endpoint(change) for change in details.endpoints]
        if not values and not endpoints:
            raise Refusal("nothing to change: name a setting")
        await self.records.set_account(self.actor, name, values, endpoints)

    async def account(self, name: str) -> AccountView:
        """An account and what is its own.  Raises: NoSuch."""
        directory = await self.records.load()
        for account in directory.accounts.values():
            if account.name == name:
                addresses = directory.addresses_of(account)
                return AccountView(account, addresses, await self.records.endpoints(name))
        raise NoSuch(f"no account {name}: mailrelay account list")

    async def remove_account(self, name: str) -> None:
        """Remove an account.  Raises: Refusal."""
        await self.records.remove_account(self.actor, name)

    async def add_address(self, text: str, account: str) -> None:
        """Give an account ``local@domain``, or ``@domain`` for all the rest.  Raises: Refusal."""
        localpart, domain = await self._key(text)
        await self.records.add_address(self.actor, localpart, domain, account)

    async def remove_address(self, text: str) -> None:
        """Take an address away.  Raises: Refusal."""
        localpart, domain = await self._key(text)
        await self.records.remove_address(self.actor, localpart, domain)

    async def _key(self, text: str) -> tuple[str, str]:
        """The address as the directory matches it."""
        if text.startswith("@"):
            return CATCH_ALL, checked_domain(text[1:])
        return address_key(text, (await self.records.load()).domains)

    async def _values(
        self, details: AccountDetails, salt: bytes | None = None
    ) -> dict[str, object]:
        values: dict[str, object] = {}
        if details.full_name is not None:
            values["full_name"] = checked_full_name(details.full_name)
        if details.login_disabled is not None:
            values["login_disabled"] = details.login_disabled
        for name, most in HIGHEST_LIMITS.items():
            given = getattr(details, name)
            if given is not None:
                values[name] = checked_limit(given, most)
        for name, what in (("retired_kept_for", "messages"), ("calls_kept_for", "calls")):
            given = getattr(details, name)
            if given is not None:
                values[name] = checked_retention(f"retired {what}", given)
        if details.password is not None:
            check_password_length(details.password)
            values["password_hash"] = await self.executor.run(hash_password, details.password)
            values["scram_verifier"] = None
            if details.scram:
                values["scram_verifier"] = await self._verifier(details.password, salt)
        elif not details.scram:
            values["scram_verifier"] = None
        return values

    async def _verifier(self, password: str, salt: bytes | None) -> str:
        try:
            return str(await self.executor.run(ScramVerifier.of, password, salt or self.salt()))
        except UnusablePassword as error:
            said = f"the password cannot be used: {error}; choose one of ordinary characters"
            raise Refusal(said) from None

    async def set_admin_password(self, password: str) -> None:
        """Change that of the administrator's pages.  Raises: Refusal."""
        check_password_length(password)
        hashed = await self.executor.run(hash_password, password)
        await self.records.set_setting(self.actor, ADMIN_PASSWORD_HASH, hashed)


def _salt_of(directory: Directory, name: str) -> bytes | None:
    """The salt that the keys of an account have, which its password must share."""
    for account in directory.accounts.values():
        if account.name == name and account.id in directory.keys_of:
            return directory.scram_salt(account)
    return None


def check_password_length(password: str) -> None:
    """Raises: Refusal when ``password`` is too short, or too long."""
    if len(password) < LEAST_PASSWORD_CHARACTERS:
        raise Refusal(f"the password needs at least {LEAST_PASSWORD_CHARACTERS} characters")
    if len(password) > MOST_PASSWORD_CHARACTERS:
        raise Refusal(f"the password has more than {MOST_PASSWORD_CHARACTERS} characters")
