"""What is told of a message that arrives: an event of what it answers, or itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Account, Directory, Domain
from mailrelay.message.verdict import Verdict
from mailrelay.net.threads import AtOnce
from mailrelay.observe.events import EventKind
from mailrelay.policy.file_links import PURPOSE, FileLinks
from mailrelay.policy.links import Links
from mailrelay.queue.entry import LARGE_BYTES, Content, Entry, Message
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.address import Address
from mailrelay.webhooks.arrival import READ_AT_ONCE, Arrival, Arrivals, Placed
from mailrelay.webhooks.sent import SentEntry

OWNER = Account(1, "alice", is_called_for_incoming=True)
BOB = Account(2, "bob", is_called_for_incoming=True)
DIRECTORY = Directory(
    {"example.org": Domain(1, "example.org")},
    {1: OWNER, 2: BOB},
    {("alice", "example.org"): 1, ("bob", "example.org"): 2},
)
SENT = SentEntry(66, 65, "joe@example.net")
PLACED = Placed(3, "Inbox", 1795251994.18515, b"Return-Path: <joe@example.net>\r\n")
LINKS = FileLinks(Links(b"secret", PURPOSE), "https://m.example.org", 60.0)
MAIL = b"From: Joe <joe@example.net>\r\nSubject: re\r\n\r\nhi\r\n"


def dsn(
    action: str = "failed", status: str = "5.1.1", diagnostic: str = "", more: str = ""
) -> bytes:
    """A DSN about joe@example.net."""
    block = f"Final-Recipient: rfc822; joe@example.net\r\nAction: {action}\r\nStatus: {status}\r\n"
    if diagnostic:
        block += f"Diagnostic-Code: smtp; {diagnostic}\r\n"
    return (
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\n\r\ntext\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; mx.example.net\r\nOriginal-Envelope-Id: env1\r\n\r\n{block}{more}"
        "--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <sent@example.org>\r\n\r\n--b--\r\n"
    ).encode()


def arf(
    type_: str = "abuse",
    mail_from: str = "bob@example.org",
    return_path: str = "",
    rcpt_to: str = "",
    message_id: str = "<sent@example.org>",
) -> bytes:
    """A feedback report about a message."""
    more = f"Original-Rcpt-To: {rcpt_to}\r\n" if rcpt_to else ""
    returned = f"Return-Path: <{return_path}>\r\n" if return_path else ""
    return (
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n"
        "--b\r\n\r\ntext\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: {type_}\r\nUser-Agent: Loop/1.0 \x1b[2J\r\nVersion: 1\r\n"
        f"Original-Mail-From: <{mail_from}>\r\n{more}\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\n{returned}Message-ID: {message_id}\r\n\r\n"
        "--b--\r\n"
    ).encode()


@define
class KeptEntries:
    """A SentEntries that knows one entry, by its FromID or its message."""

    asked: list[object] = field(factory=list)
    ended_as: str = ""

    def by_from_id(self, account_id: int, from_id: str) -> Deferred[SentEntry | None]:
        """See SentEntries."""
        self.asked.append((account_id, from_id))
        known = evolve(SENT, ended_as=self.ended_as)
        return succeed(known if (account_id, from_id) == (1, "known") else None)

    def by_message(
        self, account_id: int, envid: str, message_id: str, recipients: Sequence[str]
    ) -> Deferred[SentEntry | None]:
        """See SentEntries."""
        self.asked.append((account_id, envid, message_id, recipients))
        ours = recipients in ([SENT.recipient], []) and account_id == 1
        return succeed(SENT if ours and "sent@example.org" in message_id else None)


class ArrivalTests(SynchronousTestCase):
    """Arrivals."""

    def test_end_that_a_peer_told(self) -> None:
        """The failure was told: its DSN is no second event, and no mail to tell of either."""
        self.sent.ended_as = "failed"
        to = "alice+known@example.org"
        self.assertEqual(self.arrive(dsn(), to, reverse_path=None), Arrival())
        delayed = self.arrive(dsn("delayed", "4.0.0"), to, reverse_path=None)
        assert delayed.event is not None
        self.sent.ended_as = "delivered"
        failed = self.arrive(dsn(), to, reverse_path=None)
        assert failed.event is not None
        self.assertEqual(failed.event.kind, EventKind.FAILED)

    def setUp(self) -> None:
        """Nothing asked yet."""
        self.sent = KeptEntries()

    def arrive(
        self,
        content: bytes,
        recipient: str = "alice@example.org",
        *,
        owner: Account = OWNER,
        reverse_path: str | None = "joe@example.net",
        door: str = "mx",
        is_report: bool = False,
        verdict: Verdict | None = None,
    ) -> Arrival:
        """What is told of ``content``."""
        sender = Address.parse(reverse_path) if reverse_path else None
        message = Message(
            *(68, None, sender, 0.0, len(content), door),
            remote_ip="192.0.2.9",
            is_report=is_report,
            verdict=verdict,
        )
        kept = Content(b"Received: by mx\r\n", content, None, len(content))
        arrivals = Arrivals(
            self.sent,
            lambda: DIRECTORY,
            lambda id_: succeed(kept),
            lambda name, offset, size: self.fail("it is not in the spool"),
            AtOnce(),
            LINKS,
        )
        entry = Entry(69, message, Address.parse(recipient), 0.0, 0.0)
        return self.successResultOf(Deferred.fromCoroutine(arrivals.of(entry, owner, PLACED)))

    def bounce(self, content: bytes, recipient: str = "alice+known@example.org") -> Any:
        """The event of a bounce, which is there and has no payload."""
        arrival = self.arrive(content, recipient, reverse_path=None)
        self.assertIsNone(arrival.payload)
        assert arrival.event is not None
        return arrival.event

    def test_few_large_ones_at_once(self) -> None:
        """However many mailboxes a large message is for, few copies of it are in memory."""
        size = LARGE_BYTES + 1
        reading: list[Deferred[Content]] = []

        def content(id_: int) -> Deferred[Content]:
            reading.append(Deferred())
            return reading[-1]

        kept = KeptEntries()
        unspooled = lambda name, offset, size: succeed(b"")  # noqa: E731
        executor = AtOnce()
        arrivals = Arrivals(kept, lambda: DIRECTORY, content, unspooled, executor, LINKS)
        message = Message(68, None, None, 0.0, size, "mx")
        entry = Entry(69, message, Address.parse("alice@example.org"), 0.0, 0.0)
        told = [Deferred.fromCoroutine(arrivals.of(entry, OWNER, PLACED)) for _ in range(9)]
        self.assertEqual(len(reading), READ_AT_ONCE)
        reading[0].errback(StoreUnavailable("gone"))
        self.failureResultOf(told[0], StoreUnavailable)
        self.assertEqual(len(reading), READ_AT_ONCE + 1)
        for one in reading[1 : READ_AT_ONCE + 1]:
            one.callback(Content(b"", MAIL, None, size))
        for one in reading[READ_AT_ONCE + 1 :]:
            one.callback(Content(b"", MAIL, None, size))
        self.assertEqual(len(reading), 9)

    def test_incoming(self) -> None:
        """A message is told as mox tells it."""
        payload = self.arrive(MAIL, "alice+shop@example.org").payload
        assert payload is not None
        said = json.loads(payload)
        self.assertEqual(said["From"], [{"Name": "Joe", "Address": "joe@example.net"}])
        self.assertEqual((said["Subject"], said["Text"], said["Date"]), ("re", "hi\n", None))
        self.assertEqual(
            said["Meta"],
            {
                "MsgID": 3,
                "MailFrom": "joe@example.net",
                "MailFromValidated": False,
                "MsgFromValidated": False,
                "RcptTo": "alice+shop@example.org",
                "DKIMVerifiedDomains": [],
                "RemoteIP": "192.0.2.9",
                "Received": "2026-11-21T09:06:34.18515Z",
                "MailboxName": "Inbox",
                "Automated": False,
            },
        )

    def test_judged(self) -> None:
        """Whom it is from is told as it was judged; of junk nobody is told."""
        verdict = Verdict("pass", "fail", "none", True, False, ("x.example",), "", ("spf=pass",))
        owner = evolve(OWNER, is_told_of_received=True)
        arrival = self.arrive(MAIL, owner=owner, verdict=verdict)
        assert arrival.payload is not None and arrival.signed is not None
        meta = json.loads(arrival.payload)["Meta"]
        names = ("MailFromValidated", "MsgFromValidated", "DKIMVerifiedDomains")
        self.assertEqual([meta[name] for name in names], [True, False, ["x.example"]])
        self.assertEqual(
            json.loads(arrival.signed)["data"]["verdict"],
            {
                "spf": "pass",
                "dmarc": "fail",
                "arc": "none",
                "is_mail_from_valid": True,
                "is_from_valid": False,
                "dkim_domains": ["x.example"],
                "junk": "",
                "reasons": ["spf=pass"],
            },
        )
        junk = evolve(verdict, junk="DMARC")
        self.assertEqual(self.arrive(MAIL, owner=owner, verdict=junk), Arrival())

    def test_signed(self) -> None:
        """A signed endpoint is told of the same message in our own shape, with the whole header."""
        owner = evolve(OWNER, is_called_for_incoming=False, is_told_of_received=True)
        arrival = self.arrive(MAIL, owner=owner)
        self.assertIsNone(arrival.payload)
        assert arrival.signed is not None
        said = json.loads(arrival.signed)
        self.assertEqual(
            (said["type"], said["timestamp"]), ("message.received", "2026-11-21T09:06:34.18515Z")
        )
        mail = said["data"]
        self.assertEqual((mail["id"], mail["mailbox"], mail["text"]), (3, "Inbox", "hi\n"))
        self.assertEqual(
            [field["name"] for field in mail["headers"]],
            ["return-path", "received", "from", "subject"],
        )
        self.assertEqual((mail["is_automated"], mail["remote_ip"]), (False, "192.0.2.9"))
        self.assertTrue(mail["raw_url"].startswith("https://m.example.org/api/v1/files/"))
        both = self.arrive(MAIL, owner=evolve(OWNER, is_told_of_received=True))
        self.assertIsNotNone(both.payload)
        self.assertEqual(both.signed, arrival.signed)

    def test_long_text(self) -> None:
        """A signed endpoint is told 256 KiB of it, and that there is more."""
        owner = evolve(OWNER, is_called_for_incoming=False, is_told_of_received=True)
        for size, is_truncated in ((256 * 1024, False), (256 * 1024 + 1, True)):
            signed = self.arrive(b"\r\n" + b"x" * size, owner=owner).signed
            assert signed is not None
            mail = json.loads(signed)["data"]
            self.assertIs(mail["is_truncated"], is_truncated)
            self.assertEqual(len(mail["text"]), 256 * 1024)

    def test_nobody_to_tell(self) -> None:
        """Without an endpoint nothing is read; our own DSNs and imports are told to nobody."""
        silent = evolve(OWNER, is_called_for_incoming=False)
        self.assertEqual(self.arrive(MAIL, owner=silent), Arrival())
        for door in ("dsn", "import"):
            self.assertEqual(self.arrive(MAIL, "alice+known@example.org", door=door), Arrival())
        self.assertEqual(self.sent.asked, [])

    def test_dsn_to_a_from_id(self) -> None:
        """The code is the diagnostic's, of several lines too, else the status's."""
        for content, kind, code, status in (
            (dsn(diagnostic="550-5.1.1 no\r\n 550 5.1.1 user"), EventKind.FAILED, 550, "5.1.1"),
            (dsn("delayed", "4.2.2"), EventKind.DELAYED, 400, "4.2.2"),
            (dsn("delivered", "2.0.0"), EventKind.DELIVERED, 0, ""),
            (dsn("relayed", "2.0.0"), EventKind.RELAYED, 0, ""),
            (dsn("expanded", "2.0.0"), EventKind.EXPANDED, 0, ""),
            (dsn("invented", "2.0.0"), EventKind.UNRECOGNIZED, 0, ""),
        ):
            event = self.bounce(content)
            found = (event.kind, event.data["code"], event.data["status"], event.data["dsn"])
            self.assertEqual(found, (kind, code, status, True))
            self.assertEqual((event.entry_id, event.message_id, event.account_id), (66, 65, 1))
            self.assertEqual(event.data["recipient"], "joe@example.net")
            self.assertEqual(bool(event.data.get("answered")), code != 0)

    def test_unrecognized(self) -> None:
        """No DSN, and one of several recipients, is told as something that came back."""
        event = self.bounce(MAIL)
        self.assertEqual((event.kind, event.data.get("dsn")), (EventKind.UNRECOGNIZED, None))
        second = "\r\nFinal-Recipient: rfc822; x@example.net\r\nAction: failed\r\nStatus: 5.0.0\r\n"
        event = self.bounce(dsn(more=second))
        self.assertEqual((event.kind, event.data["dsn"]), (EventKind.UNRECOGNIZED, True))

    def test_answer_of_a_person(self) -> None:
        """What a person writes to the FromID's address is unrecognized, too: mox has it so."""
        arrival = self.arrive(MAIL, "alice+known@example.org")
        assert arrival.event is not None
        self.assertEqual(arrival.event.kind, EventKind.UNRECOGNIZED)

    def test_by_message(self) -> None:
        """Without a FromID a DSN is known by its message, and not believed as far."""
        event = self.bounce(dsn(), "alice@example.org")
        self.assertEqual((event.kind, event.data["matched_by"]), (EventKind.FAILED, "message"))
        expected = (1, "env1", "<sent@example.org>", ["joe@example.net"])
        self.assertEqual(self.sent.asked, [expected])
        self.assertEqual(self.bounce(dsn()).data["matched_by"], "from_id")

    def test_strangers_dsn(self) -> None:
        """A DSN of somebody else's message is an incoming message; so is another account's."""
        other = evolve(OWNER, id=2)
        content = dsn()
        for arrival in (
            self.arrive(content.replace(b"sent@", b"else@"), reverse_path=None),
            self.arrive(content, "alice+known@example.org", owner=other, reverse_path=None),
        ):
            self.assertIsNone(arrival.event)
            assert arrival.payload is not None
            self.assertTrue(json.loads(arrival.payload)["Meta"]["Automated"])

    # Complaints

    def complained(self, content: bytes, recipient: str = "bob@example.org", **given: Any) -> Any:
        """What a feedback report of that content leads to."""
        given = {"owner": BOB, "is_report": True, **given}
        return self.arrive(content, recipient, **given)

    def test_complaint_by_from_id(self) -> None:
        """The FromID in either return path is known whoever gets the report, who is told, too."""
        for content in (
            arf(mail_from="alice+known@example.org"),
            arf(mail_from="x@example.net", return_path="alice+known@example.org"),
            arf(mail_from="alice@example.org", return_path="alice+known@example.org"),
        ):
            arrival = self.complained(content)
            event = arrival.event
            self.assertEqual(event.kind, EventKind.COMPLAINED)
            self.assertEqual((event.entry_id, event.message_id, event.account_id), (66, 65, 1))
            self.assertEqual(
                event.data,
                {
                    "recipient": "joe@example.net",
                    "matched_by": "from_id",
                    "feedback_type": "abuse",
                    "user_agent": "Loop/1.0 ?[2J",
                    "by": "joe@example.net",
                },
            )
            self.assertTrue(json.loads(arrival.payload)["Meta"]["Automated"])

    def test_complaint_to_its_sender(self) -> None:
        """Who gets the report of mail of its own is told of the event alone, as of a DSN."""
        for recipient in ("alice@example.org", "alice+known@example.org"):
            content = arf("Fraud", "alice+known@example.org")
            arrival = self.complained(content, recipient, owner=OWNER, reverse_path=None)
            self.assertEqual((arrival.payload, arrival.event.account_id), (None, 1))
            self.assertEqual(arrival.event.data["feedback_type"], "fraud")
            self.assertNotIn("by", arrival.event.data)
        arrival = self.complained(arf(), "alice+known@example.org", owner=OWNER)
        self.assertEqual(arrival.event.data["matched_by"], "from_id")

    def test_complaint_by_message(self) -> None:
        """Without a FromID, by the Message-ID: of the sender's mail, and of who gets the report."""
        for content, owner in (
            (arf(mail_from="alice@example.org"), BOB),
            (arf(mail_from="alice@example.org", rcpt_to="joe@example.net"), BOB),
            (arf(mail_from="alice@example.org", rcpt_to="redacted@example.net"), BOB),
            (arf(mail_from="x@example.net"), OWNER),
            (arf(mail_from="alice+unknown@example.org"), BOB),
        ):
            event = self.complained(content, owner=owner).event
            self.assertEqual((event.kind, event.account_id), (EventKind.COMPLAINED, 1))
            self.assertEqual(event.data["matched_by"], "message")
        arrival = self.complained(arf(mail_from="alice@example.org", message_id="<else@x.example>"))
        self.assertIsNone(arrival.event)
        self.assertIsNone(self.complained(arf()).event)  # of mail of Bob's, who sent none

    def test_other_feedback(self) -> None:
        """What is no complaint is something that came back, or an incoming message."""
        for type_ in ("not-spam", "auth-failure", "dmarc", ""):
            content = arf(type_, "alice+known@example.org")
            self.assertIsNone(self.complained(content).event)
            event = self.arrive(content, "alice+known@example.org").event
            assert event is not None
            self.assertEqual(event.kind, EventKind.UNRECOGNIZED)

    def test_reports_are_read_for_silent_owners(self) -> None:
        """A complaint is looked for though nobody is called; a message that is no report is not."""
        silent = evolve(BOB, is_called_for_incoming=False)
        content = arf(mail_from="alice+known@example.org")
        self.assertEqual(self.complained(content, owner=silent, is_report=False), Arrival())
        arrival = self.complained(content, owner=silent)
        self.assertEqual((arrival.event.kind, arrival.payload), (EventKind.COMPLAINED, None))
