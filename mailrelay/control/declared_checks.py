"""What a declared directory must be: every problem is told, with its place.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError
from argon2.low_level import Type
from attrs import define, evolve, field

from mailrelay.control.account import EndpointChange, checked_endpoint, checked_retention
from mailrelay.control.declared import (
    Declared,
    DeclaredAccount,
    DeclaredDomain,
    DeclaredKey,
    DeclaredRule,
)
from mailrelay.control.declared_alias_checks import normal_alias
from mailrelay.control.declared_list_checks import (
    base_of,
    check_zone,
    normal_endpoint,
    normal_suppression,
)
from mailrelay.control.declaring import address_text
from mailrelay.control.directory_checks import (
    HIGHEST_LIMITS,
    address_key,
    check_account_name,
    checked_domain,
    checked_full_name,
    checked_limit,
    checked_separator,
)
from mailrelay.control.errors import Refusal
from mailrelay.control.holds import NULL_SENDER, normal_part
from mailrelay.control.keys import BadKey, NewKey, checked_key
from mailrelay.directory.credentials import ScramVerifier
from mailrelay.directory.keys import Scope
from mailrelay.directory.model import Directory, Domain
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.webhooks.call import EndpointKind

T = TypeVar("T")

KEY_HASH_DIGITS = 64
MAX_HASH_CHARACTERS = 300
LEAST_SCRAM_ROUNDS, MOST_SCRAM_ROUNDS = 4096, 1_000_000
"""RFC 7677 section 4; a client does all of them at every login."""


@define
class DeclarationChecks:
    """Makes a declaration normal; ``problem`` is told of a place in it, and what is wrong there.

    ``directory`` is what there is: its domains may be named, and its addresses stay as they are.
    """

    problem: Callable[[str, str], None]
    directory: Directory
    _domains: Mapping[str, Domain] = field(factory=dict)
    _known: frozenset[str] = frozenset()  # addresses

    def normal(self, declared: Declared) -> Declared:
        """``declared`` in the spelling of what there is, in its own order."""
        domains = [self._domain(f"domain[{i}]", one) for i, one in enumerate(declared.domain, 1)]
        self._unique("domain", "name", [one.name for one in domains])
        new = {d.name: Domain(0, d.name, d.separator, d.case_sensitive) for d in domains}
        self._domains = {**self.directory.domains, **new}
        self._known = frozenset(address_text(*key) for key in self.directory.addresses)
        accounts = [
            self._account(f"account[{i}]", one) for i, one in enumerate(declared.account, 1)
        ]
        self._unique("account", "name", [one.name for one in accounts])
        self._one_owner(accounts)
        aliases = [
            normal_alias(f"alias[{i}]", one, self._domains, self.problem)
            for i, one in enumerate(declared.alias, 1)
        ]
        self._unique("alias", "address", [one.address for one in aliases])
        keys = [self._key(f"key[{i}]", one) for i, one in enumerate(declared.key, 1)]
        self._unique("key", "key_hash", [one.key_hash for one in keys])
        rules = [self._rule(f"hold_rule[{i}]", one) for i, one in enumerate(declared.hold_rule, 1)]
        self._unique("hold_rule", "", rules)
        endpoints = [
            normal_endpoint(f"webhook_endpoint[{i}]", one, self.problem)
            for i, one in enumerate(declared.webhook_endpoint, 1)
        ]
        suppressed = [
            normal_suppression(f"suppression[{i}]", one, self.problem)
            for i, one in enumerate(declared.suppression, 1)
        ]
        self._unique("suppression", "address", [(one.account, base_of(one)) for one in suppressed])
        templates = [(one.account, one.name) for one in declared.template]
        self._unique("template", "name", templates)
        return Declared(
            declared.postmaster,
            declared.everything_to,
            domains,
            accounts,
            keys,
            rules,
            endpoints,
            declared.template,
            suppressed,
            aliases,
        )

    def _checked(self, place: str, given: T, check: Callable[..., Any], *more: object) -> Any:
        """What ``check`` makes of ``given``; that itself when it is refused."""
        try:
            return check(given, *more)
        except Refusal as error:
            self.problem(place, str(error))
            return given

    def _unique(self, kind: str, name: str, values: Sequence[object]) -> None:
        first: dict[object, int] = {}
        for i, value in enumerate(values, 1):
            if value is not None and first.setdefault(value, i) != i:
                place = f"{kind}[{i}].{name}" if name else f"{kind}[{i}]"
                self.problem(place, f"is that of {kind}[{first[value]}], too: keep one of them")

    def _one_owner(self, accounts: Sequence[DeclaredAccount]) -> None:
        owners: dict[str, str] = {}
        for i, one in enumerate(accounts, 1):
            for address in one.addresses:
                owner = owners.setdefault(address, one.name)
                if owner != one.name:
                    text = f"{address} is {owner}'s, too: give it to one of them"
                    self.problem(f"account[{i}].addresses", text)

    def _domain(self, place: str, one: DeclaredDomain) -> DeclaredDomain:
        return evolve(
            one,
            name=self._checked(f"{place}.name", one.name, checked_domain),
            separator=self._checked(f"{place}.separator", one.separator, checked_separator),
        )

    def _account(self, place: str, one: DeclaredAccount) -> DeclaredAccount:
        self._checked(f"{place}.name", one.name, check_account_name)
        self._checked(f"{place}.full_name", one.full_name, checked_full_name)
        self._password(place, one)
        limits = {
            name: self._checked(f"{place}.{name}", getattr(one, name) or 0, checked_limit, most)
            for name, most in HIGHEST_LIMITS.items()
        }
        for name in ("retired_kept_for", "calls_kept_for"):
            if getattr(one, name) is not None:
                self._checked(f"{place}.{name}", "they", checked_retention, getattr(one, name))
        places = [(f"{place}.addresses[{i}]", text) for i, text in enumerate(one.addresses, 1)]
        return evolve(
            self._with_webhooks(place, one),
            addresses=tuple(sorted({self._address(*each) for each in places})),
            from_id_logins=tuple(sorted({self._login(place, text) for text in one.from_id_logins})),
            **limits,
        )

    def _with_webhooks(self, place: str, one: DeclaredAccount) -> DeclaredAccount:
        incoming, outgoing = one.incoming_webhook, one.outgoing_webhook
        if incoming is not None:
            change = EndpointChange(EndpointKind.INCOMING, incoming.url, incoming.authorization)
            self._checked(f"{place}.incoming_webhook", change, checked_endpoint)
        if outgoing is None:
            return one
        change = EndpointChange(
            EndpointKind.OUTGOING, outgoing.url, outgoing.authorization, outgoing.events
        )
        events = self._checked(f"{place}.outgoing_webhook", change, checked_endpoint).events
        return evolve(one, outgoing_webhook=evolve(outgoing, events=tuple(events)))

    def _password(self, place: str, one: DeclaredAccount) -> None:
        if one.password_file is not None and one.password_hash is not None:
            self.problem(f"{place}.password_file", "password_hash is set too: keep one of them")
        if one.password_hash is not None and not is_argon2id(one.password_hash):
            self.problem(f"{place}.password_hash", "is no argon2id hash: $argon2id$v=19$...")
        if one.scram_verifier is not None:
            if one.password_hash is None:
                self.problem(f"{place}.scram_verifier", "goes with password_hash: give it, too")
            self._verifier(f"{place}.scram_verifier", one.scram_verifier)

    def _verifier(self, place: str, text: str) -> None:
        try:
            made = ScramVerifier.parse(text)
        except ValueError:
            made = None
        if made is None or not LEAST_SCRAM_ROUNDS <= made.rounds <= MOST_SCRAM_ROUNDS:
            self.problem(place, "is no verifier as export --secrets writes it")

    def _address(self, place: str, text: str) -> str:
        if text.startswith("@"):
            domain = self._checked(place, text[1:], checked_domain)
            if domain not in self._domains:
                self.problem(place, f"no domain {domain}: add [[domain]] with that name")
            return f"@{domain}"
        if text in self._known:
            return text
        try:
            return address_text(*address_key(text, self._domains))
        except Refusal as error:
            self.problem(place, str(error))
            return text

    def _login(self, place: str, text: str) -> str:
        try:
            return str(Address.parse(text))
        except MalformedAddress as error:
            self.problem(f"{place}.from_id_logins", f"{text!r} is no address: {error}")
            return text

    def _key(self, place: str, one: DeclaredKey) -> DeclaredKey:
        try:
            made = checked_key(new_key_of(one), 0, now=0.0)
        except BadKey as error:
            name = error.field.split("[")[0]
            self.problem(f"{place}.{'expires' if name == 'expires_at' else name}", str(error))
            return one
        check_zone(f"{place}.expires", one.expires, self.problem)
        if (one.key_hash is None) != (one.scram_verifier is None):
            self.problem(f"{place}.key_hash", "goes with scram_verifier: give both or neither")
        if one.key_hash is not None and not _is_hash(one.key_hash):
            self.problem(f"{place}.key_hash", f"must be {KEY_HASH_DIGITS} hexadecimal digits")
        if one.scram_verifier is not None:
            self._verifier(f"{place}.scram_verifier", one.scram_verifier)
        return evolve(
            one,
            scopes=tuple(scope for scope in Scope if scope in made.scopes),
            senders=tuple(sorted(made.senders)),
            networks=made.networks,
        )

    def _rule(self, place: str, one: DeclaredRule) -> DeclaredRule:
        says_nothing = (one.account, one.sender, one.recipient) == (None, None, None)
        if says_nothing != one.everything:
            self.problem(
                f"{place}.everything" if one.everything else place,
                "name account, sender or recipient, or say everything = true, not both",
            )
        sender, recipient = one.sender, one.recipient
        if sender not in (None, NULL_SENDER):
            sender = self._checked(f"{place}.sender", sender, normal_part)
        if recipient is not None:
            recipient = self._checked(f"{place}.recipient", recipient, normal_part)
        return evolve(one, sender=sender, recipient=recipient)


def new_key_of(one: DeclaredKey) -> NewKey:
    """What a key is to be."""
    return NewKey(
        name=one.name,
        scopes=frozenset(one.scopes),
        senders=one.senders,
        networks=one.networks,
        expires_at=None if one.expires is None else one.expires.timestamp(),
        requests_per_minute=one.requests_per_minute,
    )


def is_argon2id(text: str) -> bool:
    """Whether ``text`` is a hash that passwords are compared with."""
    try:
        parameters = extract_parameters(text[: MAX_HASH_CHARACTERS + 1])
    except (InvalidHashError, ValueError):
        return False
    return parameters.type is Type.ID and len(text) <= MAX_HASH_CHARACTERS and text.isascii()


def _is_hash(text: str) -> bool:
    return len(text) == KEY_HASH_DIGITS and set(text) <= set("0123456789abcdef")
