"""The directory from and to a declaration: shown before it is made, and made in steps.

What was done before a crash stays done, and the same declaration then goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.changes import Change, Plan
from mailrelay.control.declared import Declaration, Declared
from mailrelay.control.declared_checks import DeclarationChecks
from mailrelay.control.declaring import Stored, declared_of, without_secrets
from mailrelay.control.directory import check_password_length
from mailrelay.control.errors import Refusal
from mailrelay.control.holds import HoldControl
from mailrelay.control.plan import plan_of
from mailrelay.control.plan_checks import PlanChecks, check_references
from mailrelay.control.steps import AddKey, AddRule, DirectoryStep, RemoveRule
from mailrelay.directory.credentials import ScramVerifier, check_password, hash_password
from mailrelay.directory.model import Account
from mailrelay.net.threads import Executor

STEPS_AT_ONCE = 25
"""In one transaction: a long one would hold up the server's."""


class DeclaredRecords(Protocol):
    """The whole directory's rows.  Methods fail with Refusal's kinds, and StoreUnavailable."""

    def load(self) -> Deferred[Stored]:
        """Everything, at one moment."""

    def change(self, actor: str, wanted: Sequence[DirectoryStep]) -> Deferred[None]:
        """Make all of these changes or none, in order; told to running processes, and audited."""


@frozen
class ApplyControl:
    """What may be asked of the directory as a whole.  ``random`` gives 16 fresh bytes."""

    records: DeclaredRecords
    holds: HoldControl
    executor: Executor
    random: Callable[[], bytes]
    now: Callable[[], float]
    actor: str

    async def export(self, *, secrets: bool) -> Declared:
        """What there is."""
        declared = declared_of(await self.records.load())
        return declared if secrets else without_secrets(declared)

    async def plan(
        self, declaration: Declaration, problem: Callable[[str, str], None], *, prune: bool
    ) -> Plan | None:
        """What must change; None when ``problem`` was told why that cannot be.  Changes nothing."""
        stored = await self.records.load()
        told = 0

        def tell(place: str, text: str) -> None:
            nonlocal told
            told += 1
            problem(place, text)

        wanted = DeclarationChecks(tell, stored.directory).normal(declaration.declared)
        check_references(stored, wanted, tell, prune=prune)
        self._check_passwords(declaration, tell)
        if not told:
            PlanChecks(stored, wanted, prune, tell).look()
        if told:
            return None
        wanted = await self._with_hashes(stored, wanted, declaration.passwords)
        return plan_of(stored, wanted, prune=prune)

    async def apply(self, plan: Plan) -> None:
        """Make the changes.  Raises: Refusal when the directory is another by now."""
        for batch in _batches(plan.changes):
            rule = batch[0].step
            if isinstance(rule, AddRule):
                await self.holds.add(rule.account, rule.sender, rule.recipient)
            elif isinstance(rule, RemoveRule):
                await self.holds.remove(rule.id)
            else:
                await self.records.change(self.actor, [self._dated(one) for one in batch])

    def _dated(self, change: Change) -> DirectoryStep:
        step = change.step
        assert not isinstance(step, (AddRule, RemoveRule))
        if isinstance(step, AddKey):
            return evolve(step, key=evolve(step.key, created_at=self.now()))
        return step

    def _check_passwords(
        self, declaration: Declaration, problem: Callable[[str, str], None]
    ) -> None:
        for i, one in enumerate(declaration.declared.account, 1):
            if one.name in declaration.passwords:
                try:
                    check_password_length(declaration.passwords[one.name])
                except Refusal as error:
                    problem(f"account[{i}].password_file", str(error))

    async def _with_hashes(
        self, stored: Stored, wanted: Declared, passwords: Mapping[str, str]
    ) -> Declared:
        """``wanted`` with the hashes of new passwords; one that fits the hash there is not new."""
        there = {account.name: account for account in stored.directory.accounts.values()}
        accounts = list(wanted.account)
        for i, one in enumerate(accounts):
            password, account = passwords.get(one.name), there.get(one.name)
            if password is None or (account and await self._fits(account, password)):
                continue
            salt = _salt_of_keys(stored, wanted, account, one.name) or self.random()
            hashed = await self.executor.run(hash_password, password)
            made = await self.executor.run(ScramVerifier.of, password, salt)
            accounts[i] = evolve(one, password_hash=hashed, scram_verifier=str(made))
        return evolve(wanted, account=accounts)

    def _fits(self, account: Account, password: str) -> Deferred[bool]:
        return self.executor.run(check_password, account.password_hash or "", password)


def _salt_of_keys(
    stored: Stored, wanted: Declared, account: Account | None, name: str
) -> bytes | None:
    """The salt that the password of an account must share with its keys."""
    verifiers = [key.scram_verifier for key in wanted.key if key.account == name]
    if account is not None:
        there = stored.directory.keys_of.get(account.id, ())
        verifiers = [*(key.scram_verifier for key in there), *verifiers]
    text = next(filter(None, verifiers), None)
    return None if text is None else ScramVerifier.parse(text).salt


def _batches(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """``changes`` in order, cut where a transaction ends; a hold rule is alone."""
    batch: list[Change] = []
    for change in changes:
        alone = isinstance(change.step, (AddRule, RemoveRule))
        if batch and (alone or len(batch) == STEPS_AT_ONCE):
            yield batch
            batch = []
        if alone:
            yield [change]
        else:
            batch.append(change)
    if batch:
        yield batch
