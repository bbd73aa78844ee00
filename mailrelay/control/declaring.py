"""What there is, as it is declared: in one order, whatever the order it was made in.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from attrs import evolve, frozen

from mailrelay.control.account import dead_logins
from mailrelay.control.declared import (
    Declared,
    DeclaredAccount,
    DeclaredAlias,
    DeclaredDomain,
    DeclaredEndpoint,
    DeclaredIncoming,
    DeclaredKey,
    DeclaredOutgoing,
    DeclaredRule,
    DeclaredSuppression,
    DeclaredTemplate,
)
from mailrelay.control.endpoints import ListedEndpoint
from mailrelay.control.suppression import ListedSuppression
from mailrelay.directory.aliases import Alias
from mailrelay.directory.keys import APIKey, Scope
from mailrelay.directory.model import CATCH_ALL, Account, Directory, Domain
from mailrelay.policy.holds import HoldRule
from mailrelay.policy.suppression import Cause
from mailrelay.smtp.address import Address
from mailrelay.templates.model import Source
from mailrelay.webhooks.call import Endpoint, EndpointKind


@frozen
class ListedTemplate:
    """What a template says now, and the name of its account."""

    account: str
    id: int
    name: str
    source: Source


@frozen
class Stored:
    """The directory with what a snapshot of it leaves out, of one moment."""

    directory: Directory
    endpoints: Mapping[int, Sequence[Endpoint]]  # of outgoing and incoming, by account
    rules: Sequence[HoldRule]
    with_messages: frozenset[int]  # accounts that have some in their mailboxes
    standard: Sequence[ListedEndpoint] = ()
    templates: Sequence[ListedTemplate] = ()
    suppressed: Sequence[ListedSuppression] = ()  # of the lists that were asked for


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
        sorted_endpoints(map(declared_endpoint, stored.standard)),
        tuple(sorted(map(declared_template, stored.templates), key=lambda t: (t.account, t.name))),
        sorted_suppressions(map(declared_suppression, stored.suppressed)),
        sorted_aliases(map(declared_alias, directory.aliases.values())),
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
        webhook_endpoint=sorted_endpoints(
            evolve(one, secret=None) for one in declared.webhook_endpoint
        ),
    )


def address_text(localpart: str, domain: str) -> str:
    """A key of the directory's addresses, as people write it."""
    return f"@{domain}" if localpart == CATCH_ALL else str(Address(localpart, domain))


def split(text: str) -> tuple[str, str]:
    """A normal address, or catch-all, as the directory keys it."""
    if text.startswith("@"):
        return CATCH_ALL, text[1:]
    address = Address.parse(text)
    return address.localpart, address.domain


def declared_alias(one: Alias) -> DeclaredAlias:
    """An alias with its members."""
    return DeclaredAlias(
        str(one),
        tuple(sorted(map(str, one.members))),
        one.post_public,
        one.list_members,
        one.allow_from,
        one.disabled,
        one.on_disabled,
        None if one.owner is None else str(one.owner),
        tuple(sorted(map(str, one.posters))),
        one.rewrite,
        one.dmarc_fallback,
        one.is_list,
        one.removes_after,
        one.requires_dkim,
    )


def sorted_aliases(aliases: Iterable[DeclaredAlias]) -> Sequence[DeclaredAlias]:
    """By address."""
    return tuple(sorted(aliases, key=lambda one: one.address))


def declared_key(account: str, key: APIKey) -> DeclaredKey:
    """A key of ``account``; its end to the second."""
    return DeclaredKey(
        account,
        key.name,
        tuple(scope for scope in Scope if scope in key.scopes),
        tuple(sorted(key.senders)),
        key.networks,
        None if key.expires_at is None else _moment(key.expires_at),
        key.requests_per_minute,
        key.key_hash.hex(),
        key.scram_verifier or None,
    )


def declared_rule(account: str | None, rule: HoldRule) -> DeclaredRule:
    """A hold rule of ``account``, or of all."""
    everything = (account, rule.sender, rule.recipient) == (None, None, None)
    return DeclaredRule(account, rule.sender, rule.recipient, everything)


def declared_endpoint(one: ListedEndpoint) -> DeclaredEndpoint:
    """An endpoint, with the newest of its secrets."""
    endpoint = one.endpoint
    return DeclaredEndpoint(
        one.account,
        endpoint.name,
        endpoint.url,
        tuple(endpoint.events),
        tuple(endpoint.tags),
        endpoint.most_at_once,
        endpoint.most_together,
        endpoint.secrets[0].text if endpoint.secrets else None,
    )


def declared_template(one: ListedTemplate) -> DeclaredTemplate:
    """A template as it is now."""
    source = one.source
    return DeclaredTemplate(one.account, one.name, source.subject, source.text, source.html)


def declared_suppression(one: ListedSuppression) -> DeclaredSuppression:
    """A suppression; its times to the second."""
    found = one.suppression
    unknown = Cause.MANUAL if found.manual else Cause.BOUNCE  # it was not kept once
    return DeclaredSuppression(
        found.original_address,
        one.account,
        _moment(found.added_at),
        Cause(found.cause) if found.cause else unknown,
        found.manual,
        found.reason,
        found.evidence,
        None if found.expires_at is None else _moment(found.expires_at),
    )


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(int(at), UTC)


def sorted_endpoints(endpoints: Iterable[DeclaredEndpoint]) -> Sequence[DeclaredEndpoint]:
    """By account and name; what else is said only where these are the same."""
    return tuple(sorted(endpoints, key=lambda one: (one.account, one.name, one.url, repr(one))))


def sorted_suppressions(
    suppressions: Iterable[DeclaredSuppression],
) -> Sequence[DeclaredSuppression]:
    """The server's first, then by account; each list by address."""
    return tuple(sorted(suppressions, key=lambda one: (one.account or "", one.address)))


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


def domain_of(one: DeclaredDomain) -> Domain:
    """As it will be; its id is not known yet."""
    return Domain(
        *(0, one.name, one.separator, one.case_sensitive, one.disabled, one.dmarc, one.mta_sts)
    )


def _domain(domain: Domain) -> DeclaredDomain:
    return DeclaredDomain(
        domain.name,
        domain.separator,
        domain.case_sensitive,
        domain.disabled,
        domain.dmarc,
        domain.mta_sts,
    )


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
    authorization = one.authorization or None
    return DeclaredOutgoing(one.url, tuple(one.events), authorization, one.has_every_event)


def _incoming(one: Endpoint | None) -> DeclaredIncoming | None:
    return None if one is None else DeclaredIncoming(one.url, one.authorization or None)
