"""What there is, as it is declared: in one order, whatever the order it was made in.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from attrs import evolve, frozen

from mailrelay.control.account import dead_logins
from mailrelay.control.declared import (
    Declared,
    DeclaredAccount,
    DeclaredDomain,
    DeclaredIncoming,
    DeclaredKey,
    DeclaredOutgoing,
    DeclaredRule,
)
from mailrelay.directory.keys import APIKey, Scope
from mailrelay.directory.model import CATCH_ALL, Account, Directory, Domain
from mailrelay.policy.holds import HoldRule
from mailrelay.smtp.address import Address
from mailrelay.webhooks.call import Endpoint, EndpointKind


@frozen
class Stored:
    """The directory with what a snapshot of it leaves out, of one moment."""

    directory: Directory
    endpoints: Mapping[int, Sequence[Endpoint]]  # of outgoing and incoming, by account
    rules: Sequence[HoldRule]
    with_messages: frozenset[int]  # accounts that have some in their mailboxes


def declared_of(stored: Stored) -> Declared:
    """Everything, secrets too."""
    directory = stored.directory
    accounts = sorted(directory.accounts.values(), key=lambda account: account.name)
    return Declared(
        _name(directory, directory.postmaster_id),
        _name(directory, directory.everything_to),
        tuple(sorted(map(_domain, directory.domains.values()), key=lambda one: one.name)),
        tuple(_account(directory, one, stored.endpoints.get(one.id, ())) for one in accounts),
        sorted_keys(
            declared_key(directory.accounts[key.account_id].name, key)
            for key in directory.keys.values()
            if key.account_id in directory.accounts
        ),
        sorted_rules(
            declared_rule(_name(directory, rule.account_id), rule)
            for rule in stored.rules
            if rule.account_id is None or rule.account_id in directory.accounts
        ),
    )


def without_secrets(declared: Declared) -> Declared:
    """What may be seen by whoever may see the directory."""
    return evolve(
        declared,
        account=tuple(
            evolve(
                one,
                password_hash=None,
                scram_verifier=None,
                outgoing_webhook=one.outgoing_webhook
                and evolve(one.outgoing_webhook, authorization=None),
                incoming_webhook=one.incoming_webhook
                and evolve(one.incoming_webhook, authorization=None),
            )
            for one in declared.account
        ),
        key=tuple(evolve(one, key_hash=None, scram_verifier=None) for one in declared.key),
    )


def address_text(localpart: str, domain: str) -> str:
    """A key of the directory's addresses, as people write it."""
    return f"@{domain}" if localpart == CATCH_ALL else str(Address(localpart, domain))


def declared_key(account: str, key: APIKey) -> DeclaredKey:
    """A key of ``account``; its end to the second."""
    expires = None
    if key.expires_at is not None:
        expires = datetime.fromtimestamp(int(key.expires_at), UTC)
    return DeclaredKey(
        account,
        key.name,
        tuple(scope for scope in Scope if scope in key.scopes),
        tuple(sorted(key.senders)),
        key.networks,
        expires,
        key.requests_per_minute,
        key.key_hash.hex(),
        key.scram_verifier or None,
    )


def declared_rule(account: str | None, rule: HoldRule) -> DeclaredRule:
    """A hold rule of ``account``, or of all."""
    everything = (account, rule.sender, rule.recipient) == (None, None, None)
    return DeclaredRule(account, rule.sender, rule.recipient, everything)


def sorted_keys(keys: Iterable[DeclaredKey]) -> Sequence[DeclaredKey]:
    """By account and name; the hash only where these are the same."""
    return tuple(sorted(keys, key=lambda one: (one.account, one.name, one.key_hash or "")))


def sorted_rules(rules: Iterable[DeclaredRule]) -> Sequence[DeclaredRule]:
    """By account, sender and recipient, what is any first."""
    return tuple(
        sorted(
            rules,
            key=lambda one: tuple(
                (part is not None, part or "") for part in (one.account, one.sender, one.recipient)
            ),
        )
    )


def _name(directory: Directory, account_id: int | None) -> str | None:
    account = directory.accounts.get(account_id) if account_id is not None else None
    return account.name if account is not None else None


def _domain(domain: Domain) -> DeclaredDomain:
    return DeclaredDomain(domain.name, domain.separator, domain.case_sensitive, domain.disabled)


def _account(
    directory: Directory, account: Account, endpoints: Sequence[Endpoint]
) -> DeclaredAccount:
    called = {endpoint.kind: endpoint for endpoint in endpoints}
    owned = [key for key, owner in directory.addresses.items() if owner == account.id]
    living = account.from_id_logins - dead_logins(directory, account)
    return DeclaredAccount(
        account.name,
        account.full_name,
        tuple(sorted(address_text(*key) for key in owned)),
        account.login_disabled,
        None,
        account.password_hash or None,
        account.scram_verifier or None,
        account.quota_bytes,
        account.messages_per_day,
        account.new_recipients_per_day,
        tuple(sorted(living)),
        account.retired_kept_for,
        account.calls_kept_for,
        _outgoing(called.get(EndpointKind.OUTGOING)),
        _incoming(called.get(EndpointKind.INCOMING)),
    )


def _outgoing(one: Endpoint | None) -> DeclaredOutgoing | None:
    if one is None:
        return None
    return DeclaredOutgoing(one.url, tuple(one.events), one.authorization or None)


def _incoming(one: Endpoint | None) -> DeclaredIncoming | None:
    return None if one is None else DeclaredIncoming(one.url, one.authorization or None)
