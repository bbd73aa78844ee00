"""Signing: what takes long is done by the executor, and by nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.signing import Signing
from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.directory.model import Directory
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.mailauth.dkim_sign import UnusableKey, key_to_pem, new_key
from mailrelay.queue.entry import Content, Message, NewMessage

BODY = b"From: a@d.test\r\nSubject: hi\r\n\r\nhello\r\n"


class Held:
    """An executor whose work waits."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """See Executor."""
        done: Deferred[Any] = Deferred()
        self.waiting.append(lambda: execute(work, *args, **kwargs).chainDeferred(done))
        return done


def key(pem: bytes) -> StoredKey:
    """One in use."""
    rsa = Algorithm.RSA.value
    return StoredKey("d.test", "s", rsa, pem, "", KeyState.ACTIVE, 0.0)


class ExecutorTests(SynchronousTestCase):
    """A message of one of ours."""

    def signing(self, pem: bytes) -> tuple[Signing, Held]:
        """With a key of d.test."""
        directory, held = Directory(dkim_keys={"d.test": [key(pem)]}), Held()

        def read_spool(name: str, offset: int, size: int) -> Deferred[bytes]:
            raise AssertionError(name)

        return Signing(lambda: directory, held, read_spool, lambda: 9.0), held

    def test_elsewhere(self) -> None:
        """Neither the key is read, nor the body hashed, before the executor does it; then both."""
        signing, held = self.signing(key_to_pem(new_key(Algorithm.RSA)))
        content = Content(b"", BODY, None, len(BODY))
        new = NewMessage(Message(1, 1, None, 0.0, len(BODY), "submission"), content, [], [])
        signed = signing.signed(new, BODY)
        self.assertNoResult(signed)
        [work] = held.waiting
        work()
        prefix = self.successResultOf(signed).content.prefix
        self.assertTrue(prefix.startswith(b"DKIM-Signature: v=1; a=rsa-sha256;"), prefix)

    def test_fault_of_ours(self) -> None:
        """A key that cannot be read leaves the message as it is."""
        signing, held = self.signing(b"no key")
        content = Content(b"", BODY, None, len(BODY))
        new = NewMessage(Message(1, 1, None, 0.0, len(BODY), "submission"), content, [], [])
        signed = signing.signed(new, BODY)
        [work] = held.waiting
        work()
        self.assertIs(self.successResultOf(signed), new)
        self.assertEqual(len(self.flushLoggedErrors(UnusableKey)), 1)
