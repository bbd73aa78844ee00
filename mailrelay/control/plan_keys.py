"""Which of an account's keys a declaration means, and what becomes of them.  Pure.

A declared key with its hash is the key with that hash.  Without, it is one of that name, the most
alike first: a hash is in no file that is read by many, and a name may be given twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field

from mailrelay.control.changes import Change, Part, differences, taken
from mailrelay.control.declared import Declared, DeclaredKey
from mailrelay.control.declared_checks import new_key_of
from mailrelay.control.declaring import Stored, declared_key
from mailrelay.control.keys import checked_key
from mailrelay.control.steps import AddKey, RemoveKey, SetKey
from mailrelay.directory.keys import APIKey

_SETTINGS = ("name", "scopes", "senders", "networks", "expires", "requests_per_minute")


@define
class _Keys:
    """The keys that there are, less those that are spoken of."""

    left: list[tuple[DeclaredKey, APIKey]]
    changes: list[Change] = field(factory=list)
    notes: list[str] = field(factory=list)

    def meant(self, one: DeclaredKey) -> tuple[DeclaredKey, APIKey] | None:
        """The key that ``one`` declares, which is no longer left."""
        alike = ("account", "name") if one.key_hash is None else ("key_hash",)
        return taken(self.left, alike, _SETTINGS, one)

    def declare(self, one: DeclaredKey) -> None:
        """Find what ``one`` changes."""
        name = f"{one.account} {one.name}"
        pair = self.meant(one)
        if pair is None and one.key_hash is None:
            self.notes.append(
                f"key {one.name} of {one.account} is not made, since its hash is not there:"
                f" mailrelay key add {one.account}"
            )
        elif pair is None:
            found = differences(DeclaredKey(one.account, one.name, ()), one, _SETTINGS)
            self.changes.append(Change("add", "key", name, AddKey(one.account, _key(one)), found))
        elif found := differences(pair[0], one, self._names(one)):
            before, key = pair
            # The same end to the second is the same end.
            expires_at = key.expires_at if one.expires == before.expires else _key(one).expires_at
            verifier = one.scram_verifier or key.scram_verifier
            changed = evolve(_key(one), id=key.id, expires_at=expires_at, scram_verifier=verifier)
            self.changes.append(Change("change", "key", name, SetKey(changed), found))

    def _names(self, one: DeclaredKey) -> Sequence[str]:
        return _SETTINGS if one.scram_verifier is None else (*_SETTINGS, "scram_verifier")


def keys_plan(stored: Stored, wanted: Declared) -> Part:
    """What becomes of keys; those of accounts that are not declared are left alone."""
    directory = stored.directory
    there = [
        (declared_key(directory.accounts[key.account_id].name, key), key)
        for key in directory.keys.values()
        if key.account_id in directory.accounts
    ]
    keys = _Keys(sorted(there, key=lambda pair: pair[1].id))
    # With their hashes first: what is sure is not taken by what is only called the same.
    for one in sorted(wanted.key, key=lambda one: one.key_hash is None):
        keys.declare(one)
    declared = {one.name for one in wanted.account}
    removals = [
        Change("remove", "key", f"{one.account} {one.name}", RemoveKey(key.id))
        for one, key in keys.left
        if one.account in declared
    ]
    return Part(keys.changes, removals, keys.notes)


def _key(one: DeclaredKey) -> APIKey:
    made = checked_key(new_key_of(one), 0, now=0.0)
    return evolve(
        made,
        key_hash=bytes.fromhex(one.key_hash or ""),
        scram_verifier=one.scram_verifier,
    )
