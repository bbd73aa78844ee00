"""The Message methods over an account's messages in memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Account
from mailrelay.mailbox.access import (
    AlreadyInMailbox,
    Beside,
    MailboxPage,
    MailboxQuery,
    NoSuchMailbox,
    StoredMessage,
)
from mailrelay.mailbox.model import MailboxMessage
from mailrelay.message.verdict import Verdict
from mailrelay.net.threads import AtOnce
from mailrelay.queue.entry import Content
from mailrelay.webapi import types
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.errors import APIError
from mailrelay.webapi.messages import Messages

CALLER = Caller(Account(1, "alice"), "alice@example.org", "192.0.2.1")
LISTED = MailboxMessage(
    7, 1, "Inbox", 1, 3, ["\\seen"], "a@x.example", "alice@example.org", 50.0, 40, "hello"
)
BODY = b"From: a@x.example\r\nSubject: hello\r\n\r\nhello\r\n"
STORED = StoredMessage(
    LISTED, "mx", "192.0.2.9", b"Delivered: x\r\n", Content(b"", BODY, None, len(BODY))
)


@define
class KeptMessages:
    """AccountMessages with one message, which is account 1's."""

    stored: StoredMessage = STORED
    flags: list[str] = field(factory=lambda: ["\\seen"])
    reads: list[int] = field(factory=list)

    def _is_there(self, account_id: int, id_: int) -> bool:
        return (account_id, id_) == (1, 7)

    def find(self, account_id: int, wanted: MailboxQuery) -> Deferred[MailboxPage]:
        """See AccountMessages."""
        return succeed(MailboxPage([self.stored.listed] if account_id == 1 else [], None))

    def mailboxes(self, account_id: int) -> Deferred[Sequence[str]]:
        """See AccountMessages."""
        return succeed(["Archive", "Inbox"])

    def get(self, account_id: int, id_: int) -> Deferred[StoredMessage | None]:
        """See AccountMessages."""
        return succeed(self.stored if self._is_there(account_id, id_) else None)

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See AccountMessages."""
        self.reads.append(offset)
        return succeed(BODY[offset : offset + min(size, 10)])

    def delete(self, account_id: int, id_: int) -> Deferred[bool]:
        """See AccountMessages."""
        return succeed(self._is_there(account_id, id_))

    def change_flags(
        self, account_id: int, id_: int, change: Callable[[Sequence[str]], Sequence[str]]
    ) -> Deferred[bool]:
        """See AccountMessages."""
        if self._is_there(account_id, id_):
            self.flags = list(change(self.flags))
        return succeed(self._is_there(account_id, id_))

    def unread(self, account_id: int, mailbox: str | None) -> Deferred[int]:
        """See AccountMessages."""
        return succeed(0)

    def beside(self, account_id: int, id_: int, mailbox: str) -> Deferred[Beside]:
        """See AccountMessages."""
        return succeed(Beside(None, None))

    def delete_all(self, account_id: int, ids: Sequence[int]) -> Deferred[int]:
        """See AccountMessages."""
        return succeed(sum(self._is_there(account_id, id_) for id_ in ids))

    def change_all(
        self,
        account_id: int,
        ids: Sequence[int],
        change: Callable[[Sequence[str]], Sequence[str]],
    ) -> Deferred[int]:
        """See AccountMessages."""
        return self.delete_all(account_id, ids)

    def move(self, account_id: int, id_: int, mailbox: str) -> Deferred[bool]:
        """See AccountMessages."""
        if mailbox not in ("Inbox", "Archive"):
            return fail(NoSuchMailbox(mailbox))
        return fail(AlreadyInMailbox(mailbox)) if mailbox == "Inbox" else succeed(True)


class MessagesTests(SynchronousTestCase):
    """Messages."""

    def setUp(self) -> None:
        """A message."""
        self.store = KeptMessages()
        self.messages = Messages(self.store, AtOnce())

    def done(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What came of a call."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def refused(self, work: Coroutine[Any, Any, Any]) -> str:
        """The code with which a call fails."""
        error = self.failureResultOf(Deferred.fromCoroutine(work), APIError).value
        assert isinstance(error, APIError)
        return error.code

    def test_get(self) -> None:
        """What came by SMTP tells its recipient and From; a DSN and a copy do not."""
        request = types.MessageRequest(msg_id=7)
        for door, recipient, told in (
            ("mx", "alice@example.org", ("alice@example.org", "a@x.example")),
            ("webapi", "alice@example.org", ("alice@example.org", "a@x.example")),
            ("dsn", "alice@example.org", ("", "")),
            ("import", "", ("", "")),
        ):
            listed = evolve(LISTED, recipient=recipient)
            self.store.stored = evolve(STORED, door=door, listed=listed)
            meta = self.done(self.messages.get(CALLER, request)).meta
            self.assertEqual((meta.rcpt_to, meta.msg_from), told, door)

    def test_judged(self) -> None:
        """Whom it is from is told as it was judged."""
        verdict = Verdict(is_from_valid=True, dkim_domains=("x.example",))
        self.store.stored = evolve(STORED, verdict=verdict)
        meta = self.done(self.messages.get(CALLER, types.MessageRequest(msg_id=7))).meta
        told = (meta.mail_from_validated, meta.msg_from_validated, meta.dkim_verified_domains)
        self.assertEqual(told, (False, True, ["x.example"]))

    def test_spooled(self) -> None:
        """A large message is read in pieces, prefix first, to its end."""
        self.store.stored = evolve(STORED, content=Content(b"", None, "spooled", len(BODY)))
        part = types.MessagePartRequest(msg_id=7)
        self.assertEqual(self.done(self.messages.part(CALLER, part)), b"hello\r\n")
        self.assertEqual(self.store.reads, [*range(0, len(BODY), 10)])

    def test_ids(self) -> None:
        """Zero is told apart where something changes; what is no id is asked of nobody."""
        for id_, get, delete in (
            (0, "messageNotFound", "user"),
            (8, "messageNotFound", "messageNotFound"),
            (-1, "messageNotFound", "messageNotFound"),
            (2**53, "messageNotFound", "messageNotFound"),
        ):
            request = types.MessageRequest(msg_id=id_)
            self.assertEqual(self.refused(self.messages.get(CALLER, request)), get)
            self.assertEqual(self.refused(self.messages.raw(CALLER, request)), get)
            self.assertEqual(self.refused(self.messages.delete(CALLER, request)), delete)

    def test_another_account(self) -> None:
        """Its ids are unknown."""
        other = evolve(CALLER, account=Account(2, "bob"))
        request = types.MessageRequest(msg_id=7)
        self.assertEqual(self.refused(self.messages.get(other, request)), "messageNotFound")

    def test_flags(self) -> None:
        """They are added and removed in any case; one that is none changes nothing."""
        flags = ["Work", "\\FLAGGED"]
        request = types.MessageFlagsRequest(msg_id=7, flags=flags)
        self.done(self.messages.add_flags(CALLER, request))
        self.assertEqual(self.store.flags, ["\\flagged", "\\seen", "work"])
        self.done(self.messages.remove_flags(CALLER, request))
        self.assertEqual(self.store.flags, ["\\seen"])
        wrong = types.MessageFlagsRequest(msg_id=7, flags=["x", "a b"])
        self.assertEqual(self.refused(self.messages.add_flags(CALLER, wrong)), "user")
        self.assertEqual(self.store.flags, ["\\seen"])

    def test_move(self) -> None:
        """To another mailbox that there is."""
        for mailbox, code in (("Inbox", "user"), ("Nothing", "user"), ("a\0b", "user")):
            request = types.MessageMoveRequest(msg_id=7, dest_mailbox_name=mailbox)
            self.assertEqual(self.refused(self.messages.move(CALLER, request)), code)
        request = types.MessageMoveRequest(msg_id=7, dest_mailbox_name="Archive")
        self.assertEqual(self.done(self.messages.move(CALLER, request)), types.Empty())
