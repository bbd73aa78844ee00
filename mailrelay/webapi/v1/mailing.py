"""The work on a batch: its messages are made ready some at a time, and accepted together.

- What is not right is told of, or ends all of it, as the batch says.
- The reactor has its turn after every few messages; composing is a worker's.
- In memory are, of all messages together, no more than MOST_BYTES; large ones are spooled.  Nor
  is much more composed, whatever a batch asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TypeAlias

from attrs import define, field

from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.refusal import Refused, refused_by
from mailrelay.acceptance.several import Prepared, Several
from mailrelay.message.compose import compose
from mailrelay.message.draft import Draft, Unwritable
from mailrelay.queue.store import NotStored, Together
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.send import error_of, is_small, source_of
from mailrelay.webapi.v1.batch_fields import (
    Batch,
    BatchAnswer,
    BatchResult,
    item_problem,
    letter_of,
)
from mailrelay.webapi.v1.letter import Letter, Parties, problem_of_draft
from mailrelay.webapi.v1.operations import Answer, Call
from mailrelay.webapi.v1.outgoing import problem_of_refusal, sent
from mailrelay.webapi.v1.problems import TOO_LARGE, Problem
from mailrelay.webapi.v1.writing import Desk, Outgoing

MOST_BYTES = 64 * 1024 * 1024
"""Of all the messages of a batch, as they are sent."""

AT_ONCE = 20
"""Messages that are made ready before the reactor has its turn."""

Outcome: TypeAlias = Prepared | Problem


@define
class Mailing:
    """One batch on its way.  Each message's outcome is kept by its number."""

    desk: Desk
    several: Several
    call: Call
    batch: Batch
    _outcomes: dict[int, Outcome] = field(factory=dict)
    _recipients: int = 0  # of what may be sent so far
    _bytes: int = 0

    async def sent(self) -> Answer:
        """Send what can be.  Raises: Problem, NotStored, StoreUnavailable."""
        try:
            for at in range(0, len(self.batch.messages), AT_ONCE):
                await self._prepare(range(at, min(at + AT_ONCE, len(self.batch.messages))))
                await self.several.breathe()
        except BaseException:
            for one in self._prepared:
                one.abandon()
            raise
        refusals = await self._accepted()
        answer = self._answer(refusals)
        # Kept with the messages; and where there is none, nothing happened that must not again.
        return Answer(202 if answer.accepted else 200, answer, is_kept=True)

    @property
    def _prepared(self) -> list[Prepared]:
        outcomes = (self._outcomes.get(number) for number in range(len(self.batch.messages)))
        return [one for one in outcomes if isinstance(one, Prepared)]

    def _failed(self, number: int, problem: Problem) -> None:
        """A message is not sent.  Raises: Problem, when no other is to be, either."""
        self._outcomes[number] = problem
        if self.batch.all_or_nothing:
            place = f"messages[{number}]"
            at = f"{place}.{problem.field}" if problem.field else place
            raise Problem(problem.kind, problem.detail, at, problem.headers)

    # Until they are to be stored

    async def _prepare(self, numbers: Sequence[int]) -> None:
        checked = self._checked(numbers)
        account = self.call.caller.account
        filled = await self.desk.letters.filled_all(account, [one for _, one, _ in checked])
        ready: list[tuple[int, Outgoing]] = []
        for (number, _, parties), letter in zip(checked, filled, strict=True):
            try:
                if isinstance(letter, Problem):
                    raise letter
                ready.append((number, self.desk.ready(self.call.caller, letter, parties)))
            except Problem as problem:
                self._failed(number, problem)
        await self._compose(ready)

    def _checked(self, numbers: Sequence[int]) -> list[tuple[int, Letter, Parties]]:
        checked = []
        for number in numbers:
            try:
                letter = letter_of(self.batch, self.batch.messages[number])
                parties = self.desk.checked(self.call.caller, letter, self._recipients)
            except Problem as problem:
                self._failed(number, problem)
                continue
            self._recipients += len(parties.recipients)
            checked.append((number, letter, parties))
        return checked

    async def _compose(self, ready: Sequence[tuple[int, Outgoing]]) -> None:
        """Small ones in one piece of a worker's work, large ones each by itself."""
        sender = self.desk.sender
        small = [one.draft for _, one in ready if is_small(one.draft)]
        composed = iter(await sender.executor.run(_composed, small) if small else ())
        for number, one in ready:
            try:
                content = next(composed) if is_small(one.draft) else None
                await self._take(number, one, content)
            except Unwritable as error:
                self._failed(number, problem_of_draft(error, one.letter))
            except Refused as refused:
                self._failed(number, problem_of_refusal(error_of(refused)))
            except APIError as error:
                self._failed(number, problem_of_refusal(error))
            except Problem as problem:
                self._failed(number, problem)

    async def _take(self, number: int, one: Outgoing, composed: bytes | Unwritable | None) -> None:
        """Raises: Unwritable, Refused, APIError, Problem."""
        if isinstance(composed, Unwritable):
            raise composed
        sender = self.desk.sender
        if composed is None:
            at_least = _least_bytes(one.draft)
            # Before it is composed: a thousand times the batch's attachments are soon too much.
            self._take_room(at_least)
            content = await sender.content(partial(compose, one.draft))
        else:
            at_least = 0
            content = IncomingContent(sender.open_spool)
            content.write(composed)
        try:
            self._take_room(max(0, content.size_bytes - at_least))
        except Problem:
            content.abandon()
            raise
        source = source_of(one.caller)
        self._outcomes[number] = await self.several.prepare(source, one.envelope, content)

    def _take_room(self, size_bytes: int) -> None:
        """Count what is composed, of messages that fail after it, too.  Raises: Problem."""
        if self._bytes + size_bytes > MOST_BYTES:
            text = f"the messages of a batch have at most {MOST_BYTES} bytes: send it in parts"
            raise Problem(TOO_LARGE, text)
        self._bytes += size_bytes

    # Together

    async def _accepted(self) -> Sequence[NotStored | None]:
        prepared = self._prepared
        if not prepared:
            return []
        keep = self.call.keep
        together = Together(
            self.batch.all_or_nothing,
            None if keep is None else lambda why: keep(Answer(202, self._answer(why))),
        )
        try:
            return await self.several.accept(prepared, together)
        except Refused as refused:
            raise problem_of_refusal(error_of(refused)) from None

    def _answer(self, refusals: Sequence[NotStored | None]) -> BatchAnswer:
        """As it is told and kept; called in the writer's thread, too."""
        why = iter(refusals)
        outcomes = (self._outcomes[number] for number in range(len(self.batch.messages)))
        results = [_result(one, why) for one in outcomes]
        return BatchAnswer(accepted=sum(one.problem is None for one in results), results=results)


def _result(outcome: Outcome, why: Iterator[NotStored | None]) -> BatchResult:
    if isinstance(outcome, Problem):
        return item_problem(outcome)
    refusal = next(why)
    if refusal is not None:
        return item_problem(problem_of_refusal(error_of(refused_by(refusal))))
    told = sent(outcome.new.message, outcome.new.entries)
    return BatchResult(id=told.id, message_id=told.message_id, entries=told.entries)


def _least_bytes(draft: Draft) -> int:
    """What ``draft`` is going to have at the least: its files are sent as base64."""
    files = sum(file.size_bytes for file in draft.files) * 4 // 3
    return files + len(draft.text) + len(draft.html)


def _composed(drafts: Sequence[Draft]) -> Sequence[bytes | Unwritable]:
    composed: list[bytes | Unwritable] = []
    for draft in drafts:
        try:
            composed.append(b"".join(compose(draft)))
        except Unwritable as error:
            composed.append(error)
    return composed
