"""The directory as a snapshot: validating a recipient is a dictionary look-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import TypeAlias

from attrs import field, frozen

from mailrelay.directory.aliases import Alias
from mailrelay.directory.credentials import ScramVerifier
from mailrelay.directory.dkim import StoredKey
from mailrelay.directory.keys import APIKey, Scope
from mailrelay.directory.peers import Peer
from mailrelay.directory.relays import RelayRule
from mailrelay.smtp.address import Address, MalformedAddress

REPORTS_AT = frozenset({"dmarc-reports", "tls-reports"})
"""Where others send reports, by the records that we have domains publish."""

ALWAYS_ACCEPTED = frozenset({"postmaster", "abuse"}) | REPORTS_AT
"""RFC 5321 section 4.5.1, RFC 2142 section 4."""

CATCH_ALL = ""
"""The localpart under which a domain's catch-all address is kept."""


class DMARCPolicy(StrEnum):
    """What receivers are asked to do with mail that is not from the domain it says."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class MTASTSMode(StrEnum):
    """What senders are to do when no host fits a policy, or its certificate does not."""

    NONE = "none"
    TESTING = "testing"
    ENFORCE = "enforce"


@frozen
class Domain:
    """A domain whose mail we take.  An empty ``separator`` means no plus-addressing."""

    id: int
    name: str
    separator: str = "+"
    case_sensitive: bool = False
    disabled: bool = False
    dmarc: DMARCPolicy = DMARCPolicy.NONE  # to publish
    mta_sts: MTASTSMode = MTASTSMode.NONE  # which we serve
    mta_sts_changed_at: float | None = None  # None as long as there was no policy


@frozen
class Account:
    """Somebody with a mailbox who may log in.  Limits of None mean no limit."""

    id: int
    name: str
    full_name: str = ""
    login_disabled: bool = False
    password_hash: str | None = field(default=None, repr=False)
    scram_verifier: str | None = field(default=None, repr=False)
    key: APIKey | None = field(default=None, eq=False, repr=False, kw_only=True)  # it came with
    quota_bytes: int | None = None
    messages_per_day: int | None = None
    from_id_logins: frozenset[str] = frozenset()  # logins whose mail gets FromIDs
    retired_kept_for: float | None = None  # seconds; None is the server's
    calls_kept_for: float | None = None
    is_called_for_outgoing: bool = False  # it has an endpoint for what became of its messages
    is_called_for_incoming: bool = False  # ... for messages put in its mailbox
    new_recipients_per_day: int | None = None  # to whom it never sent before
    is_told_of_received: bool = False  # ... by a signed endpoint
    forward_to: Address | None = None  # where its mail goes, which is confirmed
    forward_keeps_copy: bool = False  # ... and stays here, too
    forward_asked: Address | None = None  # where it would go, which is not confirmed
    has_second_factor: bool = False  # its pages ask for a code

    @property
    def scopes(self) -> frozenset[Scope]:
        """What whoever logged in may do."""
        return frozenset(Scope) if self.key is None else self.key.scopes


@frozen
class NoSuchUser:
    """The domain is ours, the localpart is nobody's."""


@frozen
class Foreign:
    """The domain is not ours."""


@frozen
class HandedOff:
    """An application of ours takes it, by the endpoint of this name."""

    name: str
    concurrency: int = 10  # posts at once
    synchronous: bool = False  # its answer is what the sender is told


@frozen
class DomainDisabled:
    """The domain is ours and switched off."""


Resolution: TypeAlias = Account | Alias | HandedOff | NoSuchUser | Foreign | DomainDisabled


@frozen
class Directory:
    """Everything at one moment.  Keys of ``addresses`` are (localpart as matched, domain)."""

    domains: Mapping[str, Domain] = field(factory=dict)
    accounts: Mapping[int, Account] = field(factory=dict)
    addresses: Mapping[tuple[str, str], int] = field(factory=dict)
    postmaster_id: int | None = None
    everything_to: int | None = None  # localserve: whose the mail of all other recipients is
    handed_off: Mapping[str, HandedOff] = field(factory=dict)  # by address or @domain
    keys: Mapping[bytes, APIKey] = field(factory=dict)  # by the hash
    aliases: Mapping[tuple[str, str], Alias] = field(factory=dict)  # keyed as addresses are
    peers: Mapping[str, Peer] = field(factory=dict)  # by name
    dkim_keys: Mapping[str, Sequence[StoredKey]] = field(factory=dict)  # by domain
    relay_rules: Sequence[RelayRule] = ()
    keys_of: Mapping[int, Sequence[APIKey]] = field(init=False)  # by account
    forwards: bool = field(init=False)  # some account's mail goes elsewhere

    @keys_of.default
    def _keys_by_account(self) -> Mapping[int, Sequence[APIKey]]:
        found: dict[int, list[APIKey]] = {}
        for key in self.keys.values():
            found.setdefault(key.account_id, []).append(key)
        return found

    @forwards.default
    def _forwards(self) -> bool:
        return any(account.forward_to is not None for account in self.accounts.values())

    @cached_property
    def listing(self) -> Mapping[Address, Sequence[Alias]]:
        """The aliases that list each of their members."""
        found: dict[Address, list[Alias]] = {}
        for alias in self.aliases.values():
            for member in alias.members:
                found.setdefault(member, []).append(alias)
        return found

    def resolve(self, recipient: Address) -> Resolution:
        """Whose mail for ``recipient`` is."""
        domain = self.domains.get(recipient.domain)
        if self.handed_off and (domain is None or not domain.disabled):
            endpoint = self._endpoint(recipient, domain)
            if endpoint is not None:
                return endpoint
        if domain is None:
            return self._of_no_domain(recipient)
        if domain.disabled:
            return DomainDisabled()
        found = self._found(recipient, domain)
        if found is not None:
            return found
        if recipient.localpart.lower() in ALWAYS_ACCEPTED and self.postmaster_id is not None:
            return self.accounts[self.postmaster_id]
        if self.everything_to is not None:
            return self.accounts[self.everything_to]
        return NoSuchUser()

    def is_synchronous(self, recipient: Address) -> bool:
        """Whether an application of ours answers mail for ``recipient`` while its sender waits."""
        if not self.handed_off:
            return False
        found = self.resolve(recipient)
        return isinstance(found, HandedOff) and found.synchronous

    def _endpoint(self, recipient: Address, domain: Domain | None) -> HandedOff | None:
        """Whose it is: an address's own endpoint, then an account, then its domain's endpoint."""
        localpart = matched_localpart(recipient.localpart, domain or Domain(0, recipient.domain))
        own = self.handed_off.get(f"{localpart}@{recipient.domain}")
        key = (localpart, recipient.domain)
        if own is not None or key in self.addresses or key in self.aliases:
            return own
        return self.handed_off.get(f"@{recipient.domain}")

    def alias(self, address: Address) -> Alias | None:
        """The alias that mail for ``address`` is for."""
        if not self.aliases or address.domain not in self.domains:
            return None
        found = self.resolve(address)
        return found if isinstance(found, Alias) else None

    def forwarding(self, address: Address) -> Account | None:
        """The account whose mail ``address`` is for, when that goes elsewhere."""
        if not self.forwards:
            return None
        found = self.resolve(address)
        return found if isinstance(found, Account) and found.forward_to is not None else None

    def passes_on(self, address: Address) -> bool:
        """Whether mail for ``address`` is for others than its mailbox."""
        return self.alias(address) is not None or self.forwarding(address) is not None

    def compared(self, address: Address) -> Address:
        """The same for every way to write one address: a suffix, and case where it is none."""
        domain = self.domains.get(address.domain) or Domain(0, address.domain, separator="")
        return Address(matched_localpart(address.localpart, domain), address.domain)

    def _of_no_domain(self, recipient: Address) -> Resolution:
        if self.everything_to is not None:
            return self.accounts[self.everything_to]
        # "<postmaster>" without a domain is the server's own (RFC 5321 section 4.5.1).
        if not recipient.domain and self.postmaster_id is not None:
            return self.accounts[self.postmaster_id]
        return Foreign()

    def _found(self, address: Address, domain: Domain) -> Account | Alias | None:
        matched = matched_localpart(address.localpart, domain)
        for key in ((matched, domain.name), (CATCH_ALL, domain.name)):
            if self.aliases and (alias := self.aliases.get(key)) is not None:
                return alias
            account_id = self.addresses.get(key)
            if account_id is not None:
                return self.accounts.get(account_id)
        return None

    def login(self, identity: str) -> Account | None:
        """The account that logs in as ``identity``: any of its addresses, suffix allowed."""
        try:
            address = Address.parse(identity)
        except MalformedAddress:
            return None
        domain = self.domains.get(address.domain)
        if domain is None or domain.disabled:
            return None
        localpart = matched_localpart(address.localpart, domain)
        account_id = self.addresses.get((localpart, domain.name))
        return self.accounts.get(account_id) if account_id is not None else None

    def scram_verifiers(self, account: Account) -> Sequence[ScramVerifier]:
        """What SCRAM tries: password and keys have one salt, so that one exchange does for all."""
        keys = self.keys_of.get(account.id, ())
        texts = [account.scram_verifier, *(key.scram_verifier for key in keys)]
        verifiers = [ScramVerifier.parse(text) for text in texts if text]
        return [one for one in verifiers if one.salt == verifiers[0].salt]

    def scram_salt(self, account: Account) -> bytes | None:
        """The salt of the account's verifiers, None when it has none."""
        return next((one.salt for one in self.scram_verifiers(account)), None)

    def login_key(self, identity: str) -> str:
        """The same for every way to write one login, existing or not."""
        try:
            address = Address.parse(identity)
        except MalformedAddress:
            return identity.lower()
        domain = self.domains.get(address.domain)
        if domain is None:
            return str(address).lower()
        return f"{matched_localpart(address.localpart, domain)}@{domain.name}"

    def owns(self, account: Account, address: Address) -> bool:
        """Whether ``account`` may send as ``address``: it is its own, or in its catch-all.

        With the key that it came with, only what that is for.
        """
        domain = self.domains.get(address.domain)
        if domain is None or domain.disabled:
            return False
        localpart = matched_localpart(address.localpart, domain)
        if account.key is not None and not account.key.may_send_as(localpart, domain.name):
            return False
        found = self._found(address, domain)
        if isinstance(found, Alias):
            return found.allow_from and not found.disabled and self._is_member(account, found)
        return found is not None and found.id == account.id

    def _is_member(self, account: Account, alias: Alias) -> bool:
        """Whether an address of ``account`` is listed in ``alias`` itself."""
        return any(self._own_of(address) == account.id for address in alias.members)

    def _own_of(self, address: Address) -> int | None:
        compared = self.compared(address)
        return self.addresses.get((compared.localpart, compared.domain))

    def senders_of(self, account: Account) -> list[str]:
        """What the account may send as, as written: its addresses, then aliases that allow it.

        Its catch-alls' other addresses are not listed.
        """
        own = [text for text in self.addresses_of(account) if text[:1] != "@"]
        aliases = (str(one) for one in self.aliases.values() if one.localpart and one.allow_from)
        written = (*own, *sorted(aliases))
        return [text for text in written if self.owns(account, Address.parse(text))]

    def retired_kept_for(self, account_id: int | None) -> float | None:
        """How long an account wants its retired entries kept, in seconds."""
        account = self.accounts.get(account_id) if account_id is not None else None
        return account.retired_kept_for if account is not None else None

    def addresses_of(self, account: Account) -> list[str]:
        """The account's addresses as written; a catch-all is ``@domain``."""
        owned = (key for key, owner in self.addresses.items() if owner == account.id)
        return sorted(f"{localpart}@{domain}" for localpart, domain in owned)


def matched_localpart(localpart: str, domain: Domain) -> str:
    """``localpart`` as addresses are keyed: without its suffix, lower case unless case counts."""
    if domain.separator:
        base = localpart.split(domain.separator, 1)[0]
        localpart = base or localpart
    return localpart if domain.case_sensitive else localpart.lower()
