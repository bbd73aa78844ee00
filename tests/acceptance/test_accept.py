"""What acceptance makes of an envelope: FromIDs, hold rules, the application's own data."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.accept import Acceptance, Accepted
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.making import Making
from mailrelay.acceptance.passing import PassingOn
from mailrelay.acceptance.refusal import Refused
from mailrelay.acceptance.wishes import BAD_TAGS, Wishes
from mailrelay.directory.model import Account, Directory, Domain
from mailrelay.message.srs import SRS
from mailrelay.observe.events import EventKind
from mailrelay.policy.from_id import ONE_RECIPIENT
from mailrelay.policy.relay import Submitter
from mailrelay.queue.entry import Entry, EntryState, NewMessage
from mailrelay.queue.store import NotStored, Together
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Mail, Rcpt

ALICE = Account(1, "alice", from_id_logins=frozenset({"alice@example.org"}))
DIRECTORY = Directory(
    {"example.org": Domain(1, "example.org")}, {1: ALICE}, {("alice", "example.org"): 1}
)
CONTENT = b"From: alice@example.org\r\n\r\nhello\r\n"
SUBMITTED = Source(
    "submission",
    "ESMTPA",
    Submitter(ALICE, login="alice@example.org"),
    peer_ip="192.0.2.9",
    keeps_from_id=True,
    needs_from=True,
)


@define
class KeptMessages:
    """An AcceptanceStore in memory."""

    added: list[NewMessage] = field(factory=list)
    last_id: int = 0

    def new_id(self) -> int:
        """See AcceptanceStore."""
        self.last_id += 1
        return self.last_id

    def add(self, message: NewMessage) -> Deferred[None]:
        """See AcceptanceStore."""
        self.added.append(message)
        return succeed(None)

    def add_all(
        self, messages: Sequence[NewMessage], together: Together
    ) -> Deferred[Sequence[NotStored | None]]:
        """See AcceptanceStore."""
        raise NotImplementedError


class AcceptTests(SynchronousTestCase):
    """Acceptance.accept."""

    def setUp(self) -> None:
        """An acceptance that holds what goes to held.example."""
        self.store, self.content = KeptMessages(), CONTENT
        tokens = iter(f"{n:032x}" for n in range(1, 100))
        making = Making(
            "mx.example.org",
            lambda: DIRECTORY,
            lambda: 1000.0,
            lambda: next(tokens),
            self.store.new_id,
            self.admitted,
            passing=PassingOn(SRS(b"secret")),
        )
        self.acceptance = Acceptance(
            making, self.store, lambda entries: None, lambda id_, content: None
        )

    def admitted(self, entry: Entry) -> Entry:
        """What the scheduler makes of an entry."""
        is_held = entry.recipient.domain == "held.example"
        return evolve(entry, state=EntryState.HELD) if is_held else entry

    def envelope(self, sender: str, *recipients: str) -> Envelope:
        """An envelope."""
        rcpts = [Rcpt(Address.parse(one)) for one in recipients]
        return Envelope(Mail(Address.parse(sender)), rcpts, Wishes({"k": "v"}))

    def accept(self, source: Source, envelope: Envelope) -> Deferred[Accepted]:
        """Accept a small message."""
        incoming = IncomingContent(lambda: self.fail("small content is not spooled"))
        incoming.write(self.content)
        return self.acceptance.accept(source, envelope, incoming)

    def test_from_ids(self) -> None:
        """Each recipient gets an id, and a reverse-path of its own that has it."""
        envelope = self.envelope("alice+x@example.org", "r@example.net", "s@example.net")
        entries = self.successResultOf(
            self.accept(evolve(SUBMITTED, keeps_from_id=False), envelope)
        ).entries
        ids = [entry.from_id for entry in entries]
        self.assertEqual(len({*ids, None}), 3)
        paths = [f"alice+{one}@example.org" for one in ids]
        self.assertEqual([str(entry.reverse_path) for entry in entries], paths)
        self.assertEqual(str(entries[0].message.reverse_path), "alice+x@example.org")

    def test_own_from_id(self) -> None:
        """A submitter may choose the id, for one recipient; it may be empty."""
        for sender, expected in (("alice+mine@example.org", "mine"), ("alice+@example.org", "")):
            accepted = self.accept(SUBMITTED, self.envelope(sender, "r@example.net"))
            [entry] = self.successResultOf(accepted).entries
            self.assertEqual((entry.from_id, str(entry.reverse_path)), (expected, sender))
        two = self.envelope("alice+mine@example.org", "r@example.net", "s@example.net")
        refused = self.failureResultOf(self.accept(SUBMITTED, two), Refused).value
        self.assertEqual(refused.reply, ONE_RECIPIENT)
        self.assertEqual(len(self.store.added), 2)

    def test_no_from_id(self) -> None:
        """Other logins, and mail of nobody, keep the reverse-path for all."""
        for submitter in (Submitter(ALICE, login="alice+api@example.org"), Submitter()):
            source = evolve(SUBMITTED, submitter=submitter, needs_from=False)
            accepted = self.accept(source, self.envelope("alice@example.org", "r@example.net"))
            [entry] = self.successResultOf(accepted).entries
            self.assertEqual((entry.from_id, entry.own_reverse_path), (None, None))

    def test_held(self) -> None:
        """What a hold rule keeps has its event in the same transaction."""
        self.accept(SUBMITTED, self.envelope("alice@example.org", "r@held.example"))
        self.accept(SUBMITTED, self.envelope("alice@example.org", "r@example.net"))
        held, free = self.store.added
        [_, event] = held.events
        self.assertEqual((event.kind, event.entry_id), (EventKind.HELD, held.entries[0].id))
        self.assertEqual([event.kind for event in free.events], [EventKind.ACCEPTED])

    def test_wishes_in_the_header(self) -> None:
        """Fields of a submission are heard, and refused when nobody understands them."""
        envelope = self.envelope("alice@example.org", "r@example.net")
        self.content = b"X-Mailrelay-Tags: a, b\r\nX-Mailrelay-Priority: high\r\n" + CONTENT
        self.accept(SUBMITTED, envelope)
        self.accept(evolve(SUBMITTED, keeps_from_id=False), envelope)
        said, unheard = (new.message for new in self.store.added)
        self.assertEqual((said.tags, said.is_urgent, said.extra), (("a", "b"), True, {"k": "v"}))
        self.assertEqual((unheard.tags, unheard.is_urgent), ((), False))
        self.content = b"X-Mailrelay-Tags: a,\r\n" + CONTENT
        refused = self.failureResultOf(self.accept(SUBMITTED, envelope), Refused).value
        self.assertEqual(refused.reply, BAD_TAGS)
        self.assertEqual(len(self.store.added), 2)

    def test_extra(self) -> None:
        """The application's data and the peer's address are kept with the message."""
        self.accept(SUBMITTED, self.envelope("alice@example.org", "r@example.net"))
        [new] = self.store.added
        self.assertEqual((new.message.extra, new.message.remote_ip), ({"k": "v"}, "192.0.2.9"))
