"""What must change so that the directory is as declared.  Pure.

A declaration says of what it names everything but secrets: a setting that it leaves out is at its
default.  What it does not name stays, unless it is pruned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from mailrelay.control.account import EndpointChange, stored_logins
from mailrelay.control.bootstrap import EVERYTHING_TO, POSTMASTER
from mailrelay.control.changes import Change, Plan, Setting, differences, rule_text
from mailrelay.control.declared import (
    Declared,
    DeclaredAccount,
    DeclaredDomain,
    DeclaredIncoming,
    DeclaredOutgoing,
)
from mailrelay.control.declaring import Stored, declared_of, declared_rule, domain_of, split
from mailrelay.control.directory_checks import NEW_ACCOUNT
from mailrelay.control.plan_aliases import aliases_plan
from mailrelay.control.plan_keys import keys_plan
from mailrelay.control.plan_lists import endpoints_plan, suppressions_plan, templates_plan
from mailrelay.control.steps import (
    AddAccount,
    AddAddress,
    AddDomain,
    AddRule,
    RemoveAccount,
    RemoveAddress,
    RemoveDomain,
    RemoveRule,
    SetAccount,
    SetDomain,
    SetDuty,
    Step,
)
from mailrelay.webhooks.call import EndpointKind

_DOMAIN = ("separator", "case_sensitive", "disabled", "dmarc", "mta_sts")
_ACCOUNT = (
    "full_name",
    "login_disabled",
    "quota_bytes",
    "messages_per_day",
    "new_recipients_per_day",
    "from_id_logins",
    "retired_kept_for",
    "calls_kept_for",
)
_PASSWORD = ("password_hash", "scram_verifier")


def plan_of(stored: Stored, wanted: Declared, now: float, *, prune: bool) -> Plan:
    """How ``wanted``, which is normal and fits ``stored``, comes about."""
    return Planner(stored, wanted, now).plan(prune=prune)


@define
class Planner:
    """Finds the changes of one declaration."""

    stored: Stored
    wanted: Declared
    now: float
    _current: Declared = field(init=False)
    _changes: list[Change] = field(factory=list)
    _removals: list[Change] = field(factory=list)  # the last is to be removed first
    _notes: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        """What there is, as it would be declared."""
        self._current = declared_of(self.stored)

    def plan(self, *, prune: bool) -> Plan:
        """See plan_of."""
        self._domains()
        self._accounts()
        self._addresses()
        self._webhooks()
        self._duties()
        aliases = aliases_plan(self._current, self.wanted)
        self._changes += aliases.changes
        self._removals += aliases.removals
        keys = keys_plan(self.stored, self.wanted)
        self._changes += keys.changes
        self._removals += keys.removals
        self._rules()
        parts = (
            endpoints_plan(self.stored, self.wanted),
            templates_plan(self.stored, self.wanted),
            suppressions_plan(self.stored, self.wanted, self.now),
        )
        for part in parts:
            self._changes += part.changes
            self._removals += part.removals
        removals = self._removals[::-1]
        if prune:
            # Before anything is added: an account's keys may be as many as it can have.
            freed = [one for one in removals if one.kind == "key"]
            others = [one for one in removals if one.kind != "key"]
            return Plan([*freed, *self._changes, *others], (), [*self._notes, *keys.notes])
        return Plan(self._changes, removals, [*self._notes, *keys.notes])

    def _domains(self) -> None:
        there = {one.name: one for one in self._current.domain}
        for one in self.wanted.domain:
            before = there.pop(one.name, None)
            if before is None:
                made = domain_of(one)
                found = differences(DeclaredDomain(one.name), one, _DOMAIN)
                self._changes.append(Change("add", "domain", one.name, AddDomain(made), found))
            elif found := differences(before, one, _DOMAIN):
                step = SetDomain(one.name, {each.name: each.after for each in found})
                self._changes.append(Change("change", "domain", one.name, step, found))
        for name in there:
            self._removals.append(Change("remove", "domain", name, RemoveDomain(name)))

    def _accounts(self) -> None:
        there = {one.name: one for one in self._current.account}
        for one in self.wanted.account:
            before = there.pop(one.name, None)
            names = _ACCOUNT if one.password_hash is None else (*_ACCOUNT, *_PASSWORD)
            found = differences(before or DeclaredAccount(one.name), one, names)
            values = _columns(one, [each.name for each in found])
            if before is None:
                step: Step = AddAccount(one.name, {**NEW_ACCOUNT, **values})
                self._changes.append(Change("add", "account", one.name, step, found))
                if one.password_hash is None:
                    self._notes.append(
                        f"account {one.name} gets no login: give it password_file, or"
                        f" mailrelay account set {one.name} --password"
                    )
            elif found:
                step = SetAccount(one.name, values)
                self._changes.append(Change("change", "account", one.name, step, found))
        for name in there:
            self._removals.append(Change("remove", "account", name, RemoveAccount(name)))

    def _addresses(self) -> None:
        there = owners(self._current.account)
        for text, account in owners(self.wanted.account).items():
            before = there.pop(text, None)
            if before != account:
                step = AddAddress(*split(text), account, is_moved=before is not None)
                action = "add" if before is None else "change"
                setting = Setting("account", before, account)
                self._changes.append(Change(action, "address", text, step, [setting]))
        for text, account in there.items():
            gone = RemoveAddress(*split(text))
            setting = Setting("account", account, None)
            self._removals.append(Change("remove", "address", text, gone, [setting]))

    def _webhooks(self) -> None:
        there = {one.name: one for one in self._current.account}
        for one in self.wanted.account:
            before = there.get(one.name, DeclaredAccount(one.name))
            for kind, old, new in (
                (EndpointKind.OUTGOING, before.outgoing_webhook, one.outgoing_webhook),
                (EndpointKind.INCOMING, before.incoming_webhook, one.incoming_webhook),
            ):
                self._webhook(one.name, kind, old, new)

    def _webhook(
        self,
        account: str,
        kind: EndpointKind,
        old: DeclaredOutgoing | DeclaredIncoming | None,
        new: DeclaredOutgoing | DeclaredIncoming | None,
    ) -> None:
        name = f"{account} {kind.value}"
        if new is None:
            if old is not None:
                step = SetAccount(account, {}, [EndpointChange(kind, is_removed=True)])
                gone = Setting("url", old.url, None)
                self._removals.append(Change("remove", "webhook", name, step, [gone]))
            return
        is_new = old is None or old.url != new.url
        names = ["url", "events", "has_every_event"] if kind is EndpointKind.OUTGOING else ["url"]
        if is_new or new.authorization is not None:
            names.append("authorization")
        found = differences(old or type(new)(""), new, names)
        if found:
            change = EndpointChange(
                kind,
                new.url if is_new else None,
                new.authorization,
                getattr(new, "events", None),
                getattr(new, "has_every_event", None),
            )
            step = SetAccount(account, {}, [change])
            action = "add" if old is None else "change"
            self._changes.append(Change(action, "webhook", name, step, found))

    def _duties(self) -> None:
        for name, setting in (("postmaster", POSTMASTER), ("everything_to", EVERYTHING_TO)):
            before, after = getattr(self._current, name), getattr(self.wanted, name)
            if after is not None and after != before:
                step = SetDuty(setting, after)
                change = Change("change", "duty", name, step, [Setting("account", before, after)])
                self._changes.append(change)

    def _rules(self) -> None:
        named = {id_: account.name for id_, account in self.stored.directory.accounts.items()}
        kept = {one.name for one in self.wanted.account}
        there = {}
        for rule in self.stored.rules:
            account = None if rule.account_id is None else named.get(rule.account_id)
            there[declared_rule(account, rule)] = rule.id
        for one in self.wanted.hold_rule:
            if there.pop(one, None) is None:
                step = AddRule(one.account, one.sender, one.recipient)
                self._changes.append(Change("add", "hold rule", rule_text(one), step))
        for one, id_ in there.items():
            if one.account is None or one.account in kept:  # the others go with their account
                gone = Change("remove", "hold rule", rule_text(one), RemoveRule(id_))
                self._removals.append(gone)


def owners(accounts: Sequence[DeclaredAccount]) -> dict[str, str]:
    """The account of each address."""
    return {text: one.name for one in accounts for text in one.addresses}


def _columns(one: DeclaredAccount, names: Sequence[str]) -> Mapping[str, Any]:
    values = {name: getattr(one, name) for name in names}
    if "from_id_logins" in values:
        values["from_id_logins"] = stored_logins(one.from_id_logins)
    return values
