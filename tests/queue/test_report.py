"""DSNs as messages in the queue: who is told, and how the DSN itself travels."""

from __future__ import annotations

import re
from email import message_from_bytes
from itertools import count
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.dsn import Action, RecipientReport
from mailrelay.message.verdict import Verdict
from mailrelay.observe.events import EventKind
from mailrelay.queue.entry import Content, Message, NewMessage
from mailrelay.queue.report import HEADER_READ_BYTES, Reporter, admitted, may_report
from mailrelay.queue.settle import Settlement
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify
from mailrelay.smtp.reply import reply
from tests.queue.values import message

HEADER = b"Subject: hello\r\n"
BODY = b"\r\nbody\r\n"


class FakeStore:
    """Gives ids and one content; notes what is read of the spool."""

    def __init__(self, content: Content, spooled: bytes = b"") -> None:
        self._content, self._spooled = content, spooled
        self._ids = iter(range(100, 200))
        self.read: list[tuple[str, int, int]] = []

    def new_id(self) -> int:
        """See QueueStore."""
        return next(self._ids)

    def content(self, message_id: int) -> Deferred[Content]:
        """See QueueStore."""
        return succeed(self._content)

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See QueueStore."""
        self.read.append((name, offset, size))
        return succeed(self._spooled[offset : offset + size])


def told(action: Action = Action.FAILED, name: str = "r") -> RecipientReport:
    """A recipient's block."""
    return RecipientReport(Address(name, "example.net"), action, reply(550, "5.1.1", "no"))


class MayReportTests(SynchronousTestCase):
    """may_report: no backscatter (threat 12)."""

    def test_each(self) -> None:
        """Never a null reverse-path; automatic mail only when it is our own user's."""
        for changes, may in (
            ({}, True),
            ({"reverse_path": None}, False),
            ({"reverse_path": Address("postmaster", "")}, False),
            ({"is_automatic": True}, False),
            ({"is_automatic": True, "account_id": 7}, True),
        ):
            self.assertEqual(may_report(message(**changes)), may, str(changes))

    def test_forged(self) -> None:
        """Nor whoever is named as the sender of what may be forged."""
        for spf, dmarc, may in (
            ("fail", "none", False),
            ("pass", "fail", False),
            ("softfail", "temperror", True),
            ("pass", "pass", True),
        ):
            judged = message(verdict=Verdict(spf, dmarc))
            self.assertEqual(may_report(judged), may, (spf, dmarc))


class ReporterTests(SynchronousTestCase):
    """Reporter.reports."""

    def reports(
        self, of: Message, *blocks: RecipientReport, store: FakeStore | None = None
    ) -> list[NewMessage]:
        """What is made of ``blocks``."""
        fake: Any = store or FakeStore(Content(HEADER, BODY, None, len(BODY)))
        tokens = (f"{n:032x}" for n in count())
        reporter = Reporter("mail.example.org", fake, lambda: 9000.0, lambda: next(tokens))
        return self.successResultOf(Deferred.fromCoroutine(reporter.reports(of, blocks, 9500.0)))

    def test_the_message(self) -> None:
        """A DSN has a null reverse-path, never asks for one, and is not answered."""
        [made] = self.reports(message(), told())
        self.assertIsNone(made.message.reverse_path)
        self.assertIsNone(made.message.account_id)
        self.assertTrue(made.message.is_automatic)
        self.assertFalse(may_report(made.message))
        [entry] = made.entries
        self.assertEqual(entry.recipient, message().reverse_path)
        self.assertEqual(entry.notify, frozenset({Notify.NEVER}))
        self.assertEqual((entry.queued_at, entry.next_attempt_at), (9000.0, 9000.0))
        assert made.content.body is not None
        self.assertEqual(made.message.size_bytes, len(made.content.body))
        self.assertIs(entry.message, made.message)

    def test_turns(self) -> None:
        """A stranger's waits for its turn, or is not made; an account's, and owners', do not."""
        fake: Any = FakeStore(Content(HEADER, BODY, None, len(BODY)))
        turns: list[float | None] = [9100.0, None]
        reporter = Reporter(
            "mail.example.org", fake, lambda: 9000.0, lambda: "0" * 32, turn=lambda _: turns.pop(0)
        )
        for of, dues in (
            (message(), [9100.0]),
            (message(), []),
            (message(account_id=7), [9000.0]),
        ):
            made = self.successResultOf(
                Deferred.fromCoroutine(reporter.reports(of, [told()], None))
            )
            self.assertEqual([one.entries[0].next_attempt_at for one in made], dues)
        owner = Address("owner", "example.net")
        settlement = Settlement([], [], None, [(owner, told())])
        [one] = self.successResultOf(
            Deferred.fromCoroutine(reporter.of(message(), settlement, None))
        )
        self.assertEqual((one.entries[0].recipient, one.entries[0].next_attempt_at), (owner, 9e3))

    def test_boundary(self) -> None:
        """The boundary is of the token: an original cannot hold a line that ends its own part."""
        made = self.reports(message(), told(), told(action=Action.DELAYED))
        bodies = [report.content.body or b"" for report in made]
        for n, body in enumerate(bodies):
            self.assertEqual(re.findall(rb'boundary="(.+)"', body), [b"=_dsn_%032x" % n])
            self.assertEqual(len(re.findall(rb"^--=_dsn_%032x(?:--)?\r\n" % n, body, re.M)), 4)

    def test_the_events(self) -> None:
        """The original's history tells of the DSN, and the DSN has its own."""
        [made] = self.reports(message(account_id=7), told())
        self.assertEqual(
            [(event.kind, event.message_id) for event in made.events],
            [(EventKind.REPORTED, 1), (EventKind.ACCEPTED, made.message.id)],
        )
        self.assertEqual(made.events[0].data, {"action": "failed", "queue_id": made.message.id})

    def test_one_for_each_action(self) -> None:
        """Recipients of one action share a DSN; another action has its own."""
        made = self.reports(message(), told(name="a"), told(Action.DELAYED, "b"), told(name="c"))
        finals = [one.content.body.count(b"Final-Recipient") for one in made if one.content.body]
        self.assertEqual(finals, [2, 1])
        self.assertEqual(len({one.message.id for one in made}), 2)

    def test_nobody_to_tell(self) -> None:
        """Nothing is made without recipients or for a null reverse-path."""
        self.assertEqual(self.reports(message()), [])
        self.assertEqual(self.reports(message(reverse_path=None), told()), [])

    def test_envelope_of_the_sender(self) -> None:
        """ENVID and RET of the original are honoured."""
        [made] = self.reports(message(envid="my id", ret="FULL"), told())
        assert made.content.body is not None
        self.assertIn(b"Original-Envelope-Id: my id\r\n", made.content.body)
        self.assertIn(HEADER + BODY, made.content.body)
        [made] = self.reports(message(ret="HDRS"), told())
        assert made.content.body is not None
        self.assertNotIn(b"\r\nbody\r\n", made.content.body)

    def test_spooled(self) -> None:
        """Of a large original only as much is read as is returned."""
        size = 50 * 1024 * 1024
        for ret, read in ((None, HEADER_READ_BYTES), ("FULL", 2 * 1024 * 1024)):
            store = FakeStore(Content(HEADER, None, "file", size), BODY)
            [made] = self.reports(message(ret=ret, size_bytes=size), told(), store=store)
            self.assertEqual(store.read, [("file", 0, read)])
            assert made.content.body is not None
            *_, last = message_from_bytes(made.content.body).walk()
            self.assertEqual(last.get_content_type(), "text/rfc822-headers")

    def test_international_sender(self) -> None:
        """A DSN to a sender beyond ASCII needs SMTPUTF8 on its way back."""
        [made] = self.reports(message(reverse_path=Address("ü", "example.org")), told())
        self.assertTrue(made.message.smtputf8)
        self.assertTrue(made.message.eight_bit)
        [made] = self.reports(message(), told())
        self.assertFalse(made.message.smtputf8 or made.message.eight_bit)

    def test_admitted(self) -> None:
        """Entries are placed by the scheduler before they are stored."""
        [made] = self.reports(message(), told())
        placed = admitted(made, lambda entry: evolve(entry, epoch=5))
        self.assertEqual([entry.epoch for entry in placed.entries], [5])
