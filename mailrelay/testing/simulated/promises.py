"""The promises of the design, checked against what submitters, peers and the store remember."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from attrs import define, field

from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Entry, EntryState
from mailrelay.queue.schedule import RetryProfile
from mailrelay.queue.transport import Job, Result
from mailrelay.testing.simulated.http_hops import APPLICATION, KEYED, OF_PEERS, SITE
from mailrelay.testing.simulated.node import Life
from mailrelay.testing.simulated.peers import CHAIN, CHARACTERS, Peers
from mailrelay.testing.simulated.submitters import Acknowledged, Submitters
from mailrelay.testing.simulated.timetable import Timetable
from mailrelay.testing.simulated.world import World

IN_FLIGHT = 3.0
"""Seconds within which an outcome must be recorded when the store works."""

SOON = 1.0
"""Seconds until a hold is seen by whoever was just about to attempt."""

TELLING = (*OF_PEERS, SITE)
"""Next hops that tell later what became of what they took."""


@define(eq=False)
class Promises:
    """Watches a run; what is broken is told to the world."""

    world: World
    path: Path
    submitters: Submitters
    peers: Peers
    profile: RetryProfile
    held_since: dict[int, float] = field(factory=dict)
    timetable: Timetable = field(init=False)
    _running: dict[int, int] = field(factory=dict)  # entry to life
    _reports: dict[int, tuple[str, bytes]] = field(factory=dict)  # recipient and content
    _store: sqlite3.Connection | None = None

    def __attrs_post_init__(self) -> None:
        self.timetable = Timetable(self.world, self.profile, self.submitters)

    @property
    def store(self) -> sqlite3.Connection:
        """A reader of the node's store."""
        if self._store is None:
            self._store = sqlite3.connect(self.path, isolation_level=None)
        return self._store

    def close(self) -> None:
        """Let the store go."""
        if self._store is not None:
            self._store.close()
            self._store = None

    # While it runs

    def attempt_begins(self, life: Life, job: Job) -> None:
        """What must hold of each entry that is attempted."""
        for entry in job.entries:
            self.world.note(f"attempt {entry.id} {entry.recipient} number {entry.attempts + 1}")
            if self._running.get(entry.id) == life.number:
                self.world.violated(f"entry {entry.id} is attempted twice at once")
            self._running[entry.id] = life.number
            # Without a peer, only the transaction that delivers looks whether it is held.
            if self._is_held(entry) and not job.destination.is_local:
                self.world.violated(f"entry {entry.id} is attempted though it is held")
            self.timetable.attempt_begins(entry)
            if not job.destination.is_local:
                self._check_recorded(entry)

    def _check_recorded(self, entry: Entry) -> None:
        number = entry.attempts + 1
        attempts, begun_at, due, state = self.store.execute(
            "SELECT attempts, last_attempt_at, next_attempt_at, state FROM entry WHERE id = ?",
            (entry.id,),
        ).fetchone()
        if state == EntryState.RETIRED.value and entry.recipient.domain in TELLING:
            return  # the peer tells of it just now
        stepped = bool(self.world.forward_steps)
        if attempts != number or (due <= self.world.now() and not stepped):
            self.world.violated(f"attempt {number} of entry {entry.id} is not recorded first")
        else:
            self.timetable.begun(entry, begun_at, due)

    def heard(self, events: Sequence[NewEvent]) -> None:
        """What the node was told to be committed."""
        self.timetable.heard(events)
        if any(event.kind is EventKind.REPORTED for event in events):
            self._read_reports()

    def attempt_ended(self, life: Life, job: Job, result: Result) -> None:
        """An attempt's outcome is known to the node."""
        for entry, outcome in zip(job.entries, result.outcomes, strict=True):
            self._running.pop(entry.id, None)
            self.world.note(f"outcome {entry.id} {type(outcome).__name__} {outcome.reply}")

    def _is_held(self, entry: Entry) -> bool:
        """Whether it is held for so long that the node must have known."""
        held = self.held_since.get(entry.id)
        return held is not None and self.world.seconds() - held > SOON

    # Whenever nothing is under way in a thread

    def check_store(self) -> None:
        """What must hold of the store at any moment, crashes included."""
        self._read_reports()
        for wrong, query in _NEVER.items():
            found = self.store.execute(query).fetchall()
            if found:
                self.world.violated(f"{wrong}: {found[:5]}")

    def unretired(self) -> int:
        """Entries that are still to be delivered, by whoever has them."""
        living = "SELECT count(*) FROM entry WHERE state <> 2 OR outcome = 'handed_over'"
        [(count,)] = self.store.execute(living).fetchall()
        return int(count)

    def is_all_told(self) -> bool:
        """Whether everything that next hops tell of is known here."""
        return not self._untold()

    def _untold(self) -> Sequence[str]:
        outcomes = dict(self.store.execute("SELECT recipient, outcome FROM entry").fetchall())
        return [
            f"{recipient} is {outcomes.get(recipient)} here, and {' or '.join(sorted(told))} there"
            for recipient, told in self.peers.told.items()
            if outcomes.get(recipient) not in told
        ]

    # In the end

    def check_end(self) -> None:
        """What must hold once nothing more happens."""
        self.check_store()
        for id_, recipient, state in self.store.execute(
            "SELECT id, recipient, state FROM entry WHERE state <> 2 ORDER BY id"
        ):
            name = EntryState(state).name.lower()
            self.world.violated(f"entry {id_} to {recipient} is {name} and nobody moves it")
        waiting = "SELECT recipient FROM entry WHERE outcome = 'handed_over'"
        for (recipient,) in self.store.execute(waiting):
            self.world.violated(f"{recipient} was relayed, and that is not known here")
        for wrong in self._untold():
            self.world.violated(wrong)
        for (key,) in self.store.execute(_AWAITED_IN_VAIN):
            self.world.violated(f"more is awaited of what a peer has as {key}, and all was told")
        self._check_acknowledged()
        self._check_duplicates()
        self._check_reports()

    def _check_acknowledged(self) -> None:
        outcomes = dict(self.store.execute("SELECT recipient, outcome FROM entry").fetchall())
        at_peers = {a.recipient: a for a in self.peers.accepted}
        in_mailboxes = {
            row[0] for row in self.store.execute("SELECT recipient FROM mailbox_message")
        }
        for promised in self.submitters.acknowledged.values():
            recipient = promised.recipient
            outcome = outcomes.get(recipient)
            if outcome is None:
                self.world.violated(f"{recipient} was answered 250 and is lost")
            elif outcome == "delivered" and recipient not in in_mailboxes:
                if recipient not in at_peers:
                    self.world.violated(f"{recipient} counts as delivered and nobody has it")
                elif not at_peers[recipient].content.endswith(promised.body):
                    self.world.violated(f"{recipient} arrived changed")
        for recipient in at_peers:
            if recipient not in self.submitters.tried and ".s@" not in recipient:
                self.world.violated(f"{recipient} was delivered and never submitted")

    def _check_duplicates(self) -> None:
        by_recipient = defaultdict(list)
        for acceptance in self.peers.accepted:
            by_recipient[acceptance.recipient, _message_id(acceptance.content)].append(acceptance)
        by_key = Counter(a.recipient for a in self.peers.accepted if a.recipient.endswith(KEYED))
        for recipient, count in by_key.items():
            if count > 1:
                self.world.violated(f"{recipient} was taken twice, by different keys")
        for (recipient, _), copies in by_recipient.items():
            for one, later in pairwise(copies):
                if one.heard_at is None:
                    continue  # the answer never reached the node: it had to send again
                if not self._was_in_flight(one.heard_at, later.at):
                    self.world.violated(f"{recipient} was delivered twice without need")
        twice = "SELECT recipient FROM mailbox_message GROUP BY recipient, message_id"
        for (recipient,) in self.store.execute(f"{twice} HAVING count(*) > 1"):
            self.world.violated(f"{recipient} is in the mailbox twice")
        handed_in = "SELECT recipient FROM mailbox_message WHERE recipient LIKE 'user+h%'"
        for (recipient,) in self.store.execute(f"{handed_in} GROUP BY 1 HAVING count(*) > 1"):
            self.world.violated(f"{recipient} was handed in once and is in the mailbox twice")

    def _was_in_flight(self, heard_at: float, later: float) -> bool:
        """Whether a crash kept a good outcome from being recorded."""
        crash = next((at for at in self.world.crashes if heard_at <= at <= later), None)
        if crash is None:
            return False
        return crash - heard_at < IN_FLIGHT or self.world.was_full(heard_at, crash)

    def _check_reports(self) -> None:
        """One DSN for each outcome that is to be told, none for the others."""
        self._read_reports()
        told: Counter[tuple[str, str]] = Counter()
        for recipient, content in self._reports.values():
            if not recipient:
                self.world.violated("a DSN to the null reverse-path")
            for final, action in _REPORTED.findall(content):
                told[final.decode(), action.decode()] += 1
        outcomes = dict(self.store.execute("SELECT recipient, outcome FROM entry").fetchall())
        for promised in self.submitters.acknowledged.values():
            outcome = outcomes.get(promised.recipient)
            is_told = promised.recipient in self.peers.told
            for action, counts in _expected(promised, outcome, is_told=is_told).items():
                count = told.pop((promised.recipient, action), 0)
                if count not in counts:
                    self.world.violated(
                        f"{count} DSNs tell that {promised.recipient} is {action}"
                        f" ({outcome}, NOTIFY={promised.notify})"
                    )
        for recipient, action in told:
            if recipient not in self.submitters.tried:
                self.world.violated(f"a DSN tells that {recipient} is {action}")

    def _read_reports(self) -> None:
        """Keep what DSNs say: when one cannot be delivered its content is dropped."""
        for id_, recipient, body in self.store.execute(
            "SELECT message.id, entry.recipient, content.body FROM message"
            " JOIN entry ON message.id = entry.message_id"
            " JOIN content ON content.message_id = message.id WHERE door = 'dsn'"
        ):
            self._reports[id_] = recipient, body


def _expected(
    promised: Acknowledged, outcome: str | None, *, is_told: bool
) -> Mapping[str, Sequence[int]]:
    """How many DSNs of each action there may be for a recipient.

    ``is_told``: a next hop has it, and tells of it.
    """
    wanted = promised.notify.split(",") if promised.notify else ["FAILURE", "DELAY"]
    if promised.sender is None:
        wanted = []
    expected: dict[str, Sequence[int]] = dict.fromkeys(_ACTIONS, (0,))
    if "DELAY" in wanted:
        expected["delayed"] = (0, 1)
    if "FAILURE" in wanted and outcome == "failed":
        expected["failed"] = (1,)
    if "FAILURE" in wanted and is_told:
        expected["failed"] = (0, 1)  # given up here, when its answers were lost
    if "SUCCESS" in wanted and outcome == "delivered":
        domain = promised.recipient.rpartition("@")[2]
        if domain in TELLING:
            pass  # a peer was told what is wanted; a site cannot be
        elif str(promised.sender).endswith(f"@{CHAIN[0]}") and domain not in OWN:
            expected["relayed"] = (0, 1)  # any of the chain may have taken it
        elif domain not in CHARACTERS:
            expected["delivered"] = (1,)
        elif "DSN" in CHARACTERS[domain].extensions:
            expected["relayed"] = (0, 1)  # a host that refuses EHLO is one without DSN
        else:
            expected["relayed"] = (1,)
    return expected


OWN = (APPLICATION, "example.org")
"""Domains whose mail goes no further."""

_ACTIONS = ("failed", "delayed", "delivered", "relayed")


def _message_id(content: bytes) -> bytes:
    match = re.search(rb"^Message-ID: *(\S+)", content[:4096], re.MULTILINE | re.IGNORECASE)
    return match.group(1) if match else b""


_REPORTED = re.compile(rb"Final-Recipient: rfc822; *(\S+)\r\n(?:[^\r\n]+\r\n)*?Action: (\w+)")

_ENDS = "('delivered', 'failed', 'canceled', 'handed_over')"
# Given up here, and told later that it was taken; relayed there, and bounced:
_OTHER_END = (
    "(kind = 'failed' AND outcome = 'delivered' AND ("
    + " OR ".join(f"recipient LIKE '%@{one}'" for one in TELLING)
    + f") OR kind = 'delivered' AND outcome = 'failed' AND recipient LIKE '%@{SITE}')"
)
_HANDED_OVER = "coalesce(sum(kind = 'handed_over'), 0)"

_NEVER = {
    "a message without its event": (
        "SELECT id FROM message WHERE (SELECT count(*) FROM event"
        " WHERE message_id = message.id AND kind = 'accepted') <> 1"
    ),
    "an event without its message": (
        "SELECT position FROM event WHERE NOT EXISTS"
        " (SELECT 1 FROM message WHERE message.id = event.message_id)"
    ),
    "a message without entries": (
        "SELECT id FROM message WHERE NOT EXISTS"
        " (SELECT 1 FROM entry WHERE entry.message_id = message.id)"
    ),
    "an entry whose state and events differ": (
        "SELECT entry.id, state, outcome, group_concat(kind) FROM entry"
        f" LEFT JOIN event ON event.entry_id = entry.id AND kind IN {_ENDS}"
        f" AND NOT {_OTHER_END} GROUP BY entry.id"
        f" HAVING count(kind) - {_HANDED_OVER} <> (state = 2 AND outcome <> 'handed_over')"
        f" OR {_HANDED_OVER} > (state = 2) OR (outcome = 'handed_over' AND {_HANDED_OVER} = 0)"
        " OR (state = 2 AND coalesce(outcome, '') NOT IN"
        " ('handed_over', coalesce(max(CASE WHEN kind <> 'handed_over' THEN kind END), '')))"
    ),
    "an entry with more outcomes than attempts": (
        "SELECT entry.id, attempts, count(kind) FROM entry"
        " JOIN event ON event.entry_id = entry.id AND kind IN ('delivered', 'delayed', 'failed')"
        # Of its own attempts a site says no number.
        f" AND NOT (recipient LIKE '%@{SITE}' AND json_extract(data, '$.attempt') IS NULL)"
        " GROUP BY entry.id HAVING count(kind) > attempts"
    ),
    "a hold without its event": (
        "SELECT entry.id, state, count(kind) FROM entry LEFT JOIN event"
        " ON event.entry_id = entry.id AND kind IN ('held', 'released') WHERE state < 2"
        " GROUP BY entry.id HAVING coalesce(sum(kind = 'held'), 0) -"
        " coalesce(sum(kind = 'released'), 0) <> state"
    ),
    "a DSN without its event": (
        "SELECT id FROM message WHERE door = 'dsn' AND NOT EXISTS (SELECT 1 FROM event"
        " WHERE kind = 'reported' AND json_extract(data, '$.queue_id') = message.id)"
    ),
    "an event without its DSN": (
        "SELECT position FROM event WHERE kind = 'reported' AND NOT EXISTS (SELECT 1 FROM message"
        " WHERE door = 'dsn' AND json_extract(event.data, '$.queue_id') = message.id)"
    ),
    "a living entry without content": (
        "SELECT entry.id FROM entry WHERE state < 2 AND NOT EXISTS"
        " (SELECT 1 FROM content WHERE content.message_id = entry.message_id)"
    ),
    "a mailbox message without content": (
        "SELECT id FROM mailbox_message WHERE NOT EXISTS"
        " (SELECT 1 FROM content WHERE content.message_id = mailbox_message.message_id)"
    ),
}
"""Queries that must find nothing."""

_AWAITED_IN_VAIN = (
    "SELECT key FROM peer_request WHERE open_until IS NOT NULL AND NOT EXISTS"
    " (SELECT 1 FROM entry WHERE entry.message_id = peer_request.message_id"
    " AND (state < 2 OR outcome = 'handed_over'))"
)
"""Requests of which no recipient's end is missing."""
