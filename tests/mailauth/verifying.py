"""What verifiers of signatures and seals are given: a message in pieces, keys, no thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from mailrelay.mailauth.dkim import raw_fields
from mailrelay.net.resolver import NoSuchDomain

T = TypeVar("T")


class TakesBody(Protocol):
    """A verifier."""

    def update(self, data: bytes) -> object:
        """Take the next piece of the body."""


V = TypeVar("V", bound=TakesBody)


def shown(message: bytes, cut: int, make: Callable[[list[bytes]], V]) -> V:
    """A verifier that was given all of ``message``, its body in pieces of ``cut`` bytes."""
    header, _, body = message.partition(b"\r\n\r\n")
    verifier = make(raw_fields(header))
    for at in range(0, len(body), cut):
        verifier.update(body[at : at + cut])
    return verifier


def texts_of(records: Mapping[str, Any]) -> Callable[[str], Deferred[list[bytes]]]:
    """A DNS of ``records``: keys, or what asking for them raises."""

    def texts(name: str) -> Deferred[list[bytes]]:
        found = records.get(name, NoSuchDomain(name))
        return fail(found) if isinstance(found, Exception) else succeed([found])

    return texts


async def compute(call: Callable[[], bool]) -> bool:
    """Calls at once what a server has a thread for."""
    return call()


def answer_of(asking: Coroutine[Any, Any, T]) -> T:
    """What is there without waiting.  Raises: what ``asking`` does."""
    found: list[Any] = []
    Deferred.fromCoroutine(asking).addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    answer: T = found[0]
    return answer
