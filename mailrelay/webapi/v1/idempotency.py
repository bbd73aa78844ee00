"""Requests that may come again: one Idempotency-Key, one effect, one answer.

Invariants:

- Of the requests with one key of an account, one at the most has its effect, and all of them get
  its answer, for a day.
- The answer is kept in the transaction of what was done: after a crash either both are there or
  neither.  Two have many transactions: the import of suppressions keeps it after them, a replay
  its progress in each.
- What failed is not kept: it may be tried again with the same key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.answers import MadeOf
from mailrelay.queue.entry import ANSWERS_KEPT_FOR, StoredAnswer
from mailrelay.queue.store import AnsweredBefore
from mailrelay.web.request import Request
from mailrelay.webapi.v1.operations import Answer
from mailrelay.webapi.v1.problems import IN_FLIGHT, INVALID_FIELD, OTHER_REQUEST, Problem

R = TypeVar("R")

HEADER = "idempotency-key"


class AnswerStore(Protocol):
    """What was answered.  Methods may fail with StoreUnavailable."""

    def find(self, account_id: int, key: str) -> Deferred[StoredAnswer | None]:
        """The answer to the account's request of that key; None when there is none, or no more."""

    def keep(self, answer: StoredAnswer) -> Deferred[None]:
        """Keep an answer to what was done already."""

    def keeping(self, records: R, made_of: MadeOf) -> R:
        """``records`` whose write keeps, in its own transaction, the answer made of its result.

        For records whose method writes once.
        """


@frozen
class Promise:
    """The answer to a request will be kept under its key."""

    account_id: int
    key: str
    request_hash: bytes
    expires_at: float

    def kept(self, answer: Answer) -> StoredAnswer:
        """``answer`` as it is kept."""
        return StoredAnswer(
            self.account_id,
            self.key,
            self.request_hash,
            answer.status,
            encoded(answer.body if answer.kept is None else answer.kept),
            self.expires_at,
        )


def encoded(body: msgspec.Struct | None) -> bytes:
    """A body as it is sent."""
    return b"" if body is None else msgspec.json.encode(body) + b"\n"


def key_of(request: Request) -> str | None:
    """The request's key, None when it has none.  Raises: Problem."""
    values = request.headers.all(HEADER)
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        said = "must be given once, as 1 to 255 printable ASCII characters"
        raise Problem(INVALID_FIELD, said, "Idempotency-Key")
    return values[0]


_KEY = re.compile(r"[!-~]{1,255}")


def hash_of(request: Request, body_hash: bytes) -> bytes:
    """What tells one request from another of the same key."""
    head = f"{request.method}\0{request.path}\0{request.query}\0".encode()
    return hashlib.sha256(head + body_hash).digest()


@define
class Repeats:
    """Does what comes for the first time, and answers the rest as it was answered."""

    store: AnswerStore
    now: Callable[[], float]
    _under_way: set[tuple[int, str]] = field(factory=set)

    async def answer(
        self,
        account_id: int,
        key: str,
        request_hash: bytes,
        work: Callable[[Promise], Awaitable[Answer]],
    ) -> Answer:
        """The answer, of ``work`` or an earlier one.  Raises: Problem."""
        own = (account_id, key)
        if own in self._under_way:
            raise Problem(IN_FLIGHT, "ask again when it is done", headers={"Retry-After": "1"})
        self._under_way.add(own)
        try:
            found = await self.store.find(account_id, key)
            if found is not None:
                return _repeated(found, request_hash)
            promise = Promise(account_id, key, request_hash, self.now() + ANSWERS_KEPT_FOR)
            try:
                answer = await work(promise)
            except AnsweredBefore:  # by another process, meanwhile
                found = await self.store.find(account_id, key)
                if found is None:
                    raise
                return _repeated(found, request_hash)
            if not answer.is_kept:
                await self.store.keep(promise.kept(answer))
            return answer
        finally:
            self._under_way.discard(own)


def _repeated(found: StoredAnswer, request_hash: bytes) -> Answer:
    if found.request_hash != request_hash:
        raise Problem(OTHER_REQUEST, "another request had this key: use a new one")
    return Answer(
        found.status, headers={"Idempotency-Replayed": "true"}, encoded=found.answer, is_kept=True
    )
