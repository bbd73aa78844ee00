"""The directory from and to a declaration: shown before it is made, and made in steps.

What was done before a crash stays done, and the same declaration then goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.changes import Plan
from mailrelay.control.declared import Declaration, Declared
from mailrelay.control.declared_checks import DeclarationChecks
from mailrelay.control.declaring import Stored, declared_of, without_secrets
from mailrelay.control.directory import check_password_length
from mailrelay.control.endpoints import EndpointControl
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.holds import HoldControl
from mailrelay.control.plan import plan_of
from mailrelay.control.plan_checks import PlanChecks, check_references
from mailrelay.control.steps import (
    AddEndpoint,
    AddKey,
    AddRule,
    AddSuppression,
    AddTemplate,
    DirectoryStep,
    LoneStep,
    RemoveEndpoint,
    RemoveRule,
    RemoveSuppression,
    RemoveTemplate,
    SetEndpoint,
    SetTemplate,
    Step,
)
from mailrelay.control.suppression import ListedSuppression, SuppressionControl
from mailrelay.control.templates import TemplateControl, UnusableTemplate
from mailrelay.directory.credentials import ScramVerifier, check_password, hash_password
from mailrelay.directory.model import Account
from mailrelay.net.threads import Executor
from mailrelay.templates.model import Source

STEPS_AT_ONCE = 25
"""In one transaction: a long one would hold up the server's."""


DIRECTORY, ALONE, SERVERS_LIST = object(), object(), object()
"""How steps are made, beside those of each account's suppression list."""


class DeclaredRecords(Protocol):
    """The whole directory's rows.  Methods fail with Refusal's kinds, and StoreUnavailable."""

    def load(self) -> Deferred[Stored]:
        """Everything, at one moment."""

    def change(self, actor: str, wanted: Sequence[DirectoryStep]) -> Deferred[None]:
        """Make all of these changes or none, in order; told to running processes, and audited."""


@frozen
class ListControls:
    """What changes the things that are changed one at a time."""

    holds: HoldControl
    endpoints: EndpointControl
    templates: TemplateControl
    suppression: SuppressionControl

    async def make(self, step: LoneStep) -> None:
        """Make one change.  Raises: Refusal."""
        match step:
            case AddRule():
                await self.holds.add(step.account, step.sender, step.recipient)
            case AddEndpoint():
                await self.endpoints.add(step.account, step.fields, step.secret)
            case SetEndpoint():
                await self.endpoints.change(step.id, step.fields)
                if step.secret is not None:
                    await self.endpoints.rotate(step.id, secret=step.secret)
            case AddTemplate():
                await self.templates.add(step.account, step.name, step.source)
            case SetTemplate():
                await self.templates.change(step.account, step.id, step.name, step.source)
            case _:
                await self._remove(step)

    async def _remove(
        self, step: RemoveRule | RemoveEndpoint | RemoveTemplate | RemoveSuppression
    ) -> None:
        match step:
            case RemoveRule():
                await self.holds.remove(step.id)
            case RemoveEndpoint():
                await self.endpoints.remove(step.id)
            case RemoveTemplate():
                await self.templates.remove(step.account, step.id)
            case RemoveSuppression():
                await self.suppression.remove(step.account, step.base)

    async def suppress(self, wanted: Sequence[AddSuppression]) -> None:
        """Put addresses on one list; what is listed otherwise is never off it meanwhile."""
        for replacing in (False, True):
            new = [step.new for step in wanted if step.is_replaced is replacing]
            await self.suppression.import_all(wanted[0].account, new, replacing=replacing)

    async def listed(self, accounts: Iterable[str | None]) -> Sequence[ListedSuppression]:
        """The lists of those accounts that are there; None is the server's."""
        found: list[ListedSuppression] = []
        for account in accounts:
            with suppress(NoSuch):
                found += await self.suppression.everything(account)
        return found


@frozen
class ApplyControl:
    """What may be asked of the directory as a whole.  ``random`` gives 16 fresh bytes."""

    records: DeclaredRecords
    lists: ListControls
    executor: Executor
    random: Callable[[], bytes]
    now: Callable[[], float]
    actor: str

    async def export(self, *, secrets: bool, suppressions: bool = False) -> Declared:
        """What there is."""
        stored = await self.records.load()
        if suppressions:
            accounts = [None, *(one.name for one in stored.directory.accounts.values())]
            stored = evolve(stored, suppressed=await self.lists.listed(accounts))
        declared = declared_of(stored)
        return declared if secrets else without_secrets(declared)

    async def plan(
        self, declaration: Declaration, problem: Callable[[str, str], None], *, prune: bool
    ) -> Plan | None:
        """What must change; None when ``problem`` was told why that cannot be.  Changes nothing."""
        stored = await self.records.load()
        lists = {one.account for one in declaration.declared.suppression}
        stored = evolve(stored, suppressed=await self.lists.listed(sorted(lists, key=str)))
        told = 0

        def tell(place: str, text: str) -> None:
            nonlocal told
            told += 1
            problem(place, text)

        wanted = DeclarationChecks(tell, stored.directory).normal(declaration.declared)
        check_references(stored, wanted, tell, prune=prune)
        self._check_passwords(declaration, tell)
        await self._check_templates(wanted, tell)
        if not told:
            PlanChecks(stored, wanted, prune, tell).look()
        if told:
            return None
        wanted = await self._with_hashes(stored, wanted, declaration.passwords)
        return plan_of(stored, wanted, self.now(), prune=prune)

    async def apply(self, plan: Plan) -> None:
        """Make the changes.  Raises: Refusal when the directory is another by now."""
        for kind, group in groupby((change.step for change in plan.changes), _together):
            steps: list[Any] = list(group)
            if kind is DIRECTORY:
                for at in range(0, len(steps), STEPS_AT_ONCE):
                    batch = [self._dated(step) for step in steps[at : at + STEPS_AT_ONCE]]
                    await self.records.change(self.actor, batch)
            elif kind is ALONE:
                for step in steps:
                    await self.lists.make(step)
            else:
                await self.lists.suppress(steps)

    def _dated(self, step: DirectoryStep) -> DirectoryStep:
        if isinstance(step, AddKey):
            return evolve(step, key=evolve(step.key, created_at=self.now()))
        return step

    async def _check_templates(self, wanted: Declared, problem: Callable[[str, str], None]) -> None:
        for i, one in enumerate(wanted.template, 1):
            try:
                source = Source(one.subject, one.text, one.html)
                await self.lists.templates.check(one.name, source)
            except UnusableTemplate as error:
                problem(f"template[{i}].{error.field}", str(error))

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


def _together(step: Step) -> object:
    """The same for neighbours that are made together."""
    if isinstance(step, AddSuppression):
        return step.account or SERVERS_LIST
    return ALONE if isinstance(step, LoneStep) else DIRECTORY
