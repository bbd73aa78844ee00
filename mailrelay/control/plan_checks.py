"""What the directory would be once a declaration is applied, and whether that can be.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attrs import define, evolve, field

from mailrelay.control.account import checked_logins, dead_logins
from mailrelay.control.declared import Declared
from mailrelay.control.declaring import Stored, address_text, domain_of, split
from mailrelay.control.endpoints import MOST_ENDPOINTS
from mailrelay.control.errors import Refusal
from mailrelay.control.keys import MOST_KEYS
from mailrelay.control.plan import owners
from mailrelay.control.plan_aliases import AliasChecks, aliases_after
from mailrelay.directory.credentials import ScramVerifier
from mailrelay.directory.model import Account, Directory, matched_localpart
from mailrelay.templates.model import MOST_TEMPLATES


def check_references(
    stored: Stored, wanted: Declared, problem: Callable[[str, str], None], *, prune: bool
) -> None:
    """Tell of accounts that are named and will not be there."""
    names = {one.name for one in wanted.account}
    if not prune:
        names |= {account.name for account in stored.directory.accounts.values()}
    named: list[tuple[str, str | None]] = [
        ("postmaster", wanted.postmaster),
        ("everything_to", wanted.everything_to),
    ]
    for kind in ("key", "hold_rule", "webhook_endpoint", "template", "suppression"):
        things = enumerate(getattr(wanted, kind), 1)
        named += [(f"{kind}[{i}].account", one.account) for i, one in things]
    for place, name in named:
        if name is not None and name not in names:
            problem(place, f"no account {name}: add [[account]] with that name")


def directory_after(stored: Stored, wanted: Declared, *, prune: bool) -> Directory:
    """The directory once ``wanted`` is applied.  New accounts have ids below 0."""
    before = stored.directory
    domains = {} if prune else dict(before.domains)
    for domain in wanted.domain:
        domains[domain.name] = domain_of(domain)
    there = {account.name: account for account in before.accounts.values()}
    accounts = {} if prune else dict(before.accounts)
    ids: dict[str, int] = {}
    for i, one in enumerate(wanted.account, 1):
        account = there.get(one.name) or Account(-i, one.name)
        ids[one.name] = account.id
        accounts[account.id] = evolve(
            account,
            from_id_logins=frozenset(one.from_id_logins),
            scram_verifier=one.scram_verifier if one.password_hash else account.scram_verifier,
        )
    addresses = {} if prune else dict(before.addresses)
    addresses |= {split(text): ids[name] for text, name in owners(wanted.account).items()}
    aliases = {} if prune else dict(before.aliases)
    aliases |= aliases_after(wanted.alias, before)
    return Directory(domains, accounts, addresses, aliases=aliases)


@define
class PlanChecks:
    """Looks at what ``wanted``, which is normal, refers to; ``problem`` is told place and text."""

    stored: Stored
    wanted: Declared
    prune: bool
    problem: Callable[[str, str], None]
    _after: Directory = field(init=False)

    def __attrs_post_init__(self) -> None:
        """What would be."""
        self._after = directory_after(self.stored, self.wanted, prune=self.prune)

    def look(self) -> None:
        """Tell every problem."""
        self._accounts()
        self._domains()
        AliasChecks(self.stored.directory, self._after, self.problem).look(self.wanted)
        self._keys()
        self._counts()
        if self.prune:
            self._removed()

    def _accounts(self) -> None:
        for i, one in enumerate(self.wanted.account, 1):
            for text in one.addresses:
                domain = split(text)[1]
                if domain in self.stored.directory.domains and domain not in self._after.domains:
                    remedy = f"add [[domain]] with name {domain}, since --prune would remove it"
                    self.problem(f"account[{i}].addresses", remedy)
            try:
                checked_logins(self._after, one.name, one.from_id_logins)
            except Refusal as error:
                self.problem(f"account[{i}].from_id_logins", str(error))

    def _domains(self) -> None:
        """Addresses and logins that would be found no more."""
        before = self.stored.directory
        for i, one in enumerate(self.wanted.domain, 1):
            domain = self._after.domains[one.name]
            was = before.domains.get(one.name)
            if was is None or (was.separator, was.case_sensitive) == (
                domain.separator,
                domain.case_sensitive,
            ):
                continue
            for localpart, name in (*before.addresses, *before.aliases):
                if name == one.name and matched_localpart(localpart, domain) != localpart:
                    text = address_text(localpart, name)
                    self.problem(f"domain[{i}]", f"{text} would be found no more: remove it first")
        declared = {one.name for one in self.wanted.account}
        for account in self._after.accounts.values():
            if account.name in declared:
                continue
            for login in sorted(dead_logins(self._after, account) - dead_logins(before, account)):
                remedy = f"mailrelay account set {account.name} --no-from-id-logins"
                self.problem("", f"FromIDs of {login} would be no more: {remedy}")

    def _keys(self) -> None:
        known = self.stored.directory
        names = {account.id: account.name for account in known.accounts.values()}
        for i, one in enumerate(self.wanted.key, 1):
            there = known.keys.get(bytes.fromhex(one.key_hash)) if one.key_hash else None
            if there is not None and names.get(there.account_id) != one.account:
                owner = names.get(there.account_id)
                self.problem(f"key[{i}].account", f"the key is {owner}'s: revoke it there first")
        self._salts()

    def _counts(self) -> None:
        mosts = (
            ("key", MOST_KEYS),
            ("webhook_endpoint", MOST_ENDPOINTS),
            ("template", MOST_TEMPLATES),
        )
        for kind, most in mosts:
            for name, count in Counter(one.account for one in getattr(self.wanted, kind)).items():
                if count > most:
                    self.problem(kind, f"{name} has {count}: an account has at most {most}")

    def _salts(self) -> None:
        """One SCRAM exchange does for the password and all keys: their salts are the same."""
        salts: dict[str, bytes] = {}
        for one in self._after.accounts.values():
            if one.scram_verifier:
                salts[one.name] = ScramVerifier.parse(one.scram_verifier).salt
        for i, key in enumerate(self.wanted.key, 1):
            if key.scram_verifier:
                salt = ScramVerifier.parse(key.scram_verifier).salt
                if salts.setdefault(key.account, salt) != salt:
                    text = f"has another salt than the password or another key of {key.account}"
                    self.problem(f"key[{i}].scram_verifier", text)

    def _removed(self) -> None:
        kept = {one.name for one in self.wanted.account}
        for account in self.stored.directory.accounts.values():
            if account.name in kept:
                continue
            remove = f"account {account.name} would be removed"
            if account.id in self.stored.with_messages:
                self.problem("", f"{remove} and has messages: remove them first, or declare it")
            directory, wanted = self.stored.directory, self.wanted
            for duty, id_, other in (
                ("postmaster", directory.postmaster_id, wanted.postmaster),
                ("everything_to", directory.everything_to, wanted.everything_to),
            ):
                if id_ == account.id and other is None:
                    self.problem("", f"{remove} and is the {duty}: name another one")
