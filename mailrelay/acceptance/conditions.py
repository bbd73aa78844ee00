"""On what a message is stored, and what is kept with it.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.directory.model import Account, Directory
from mailrelay.queue.entry import Conditions, Entry, Message, StoredAnswer

NONE = Conditions()


def conditions_of(
    directory: Directory,
    source: Source,
    envelope: Envelope,
    message: Message,
    entries: Sequence[Entry],
    kept: StoredAnswer | None,
) -> Conditions | None:
    """Those of ``message``; ``kept`` is told whoever submits it again."""
    account = source.submitter.account
    limit = account.new_recipients_per_day if account is not None else None
    chosen = next((e.from_id for e in entries if e.own_reverse_path is None), None)
    answer = envelope.answer(message, entries) if envelope.answer is not None else kept
    room_in = only_quotas(directory, entries)
    conditions = Conditions(chosen or None, limit, answer, envelope.notes, room_in)
    return conditions if conditions != NONE else None


def conditions_of_report(
    envelope: Envelope, message: Message, entries: Sequence[Entry]
) -> Conditions | None:
    """Those of ``message``, which stands in place of a report that came."""
    answer = envelope.answer(message, entries) if envelope.answer is not None else None
    conditions = Conditions(answer=answer, notes=envelope.notes)
    return conditions if conditions != NONE else None


def only_quotas(directory: Directory, entries: Sequence[Entry]) -> frozenset[int]:
    """The accounts of ``entries`` when aliases alone lead to them, and each has a quota."""
    if not all(entry.alias is not None for entry in entries):
        return frozenset()
    found = [directory.resolve(entry.recipient) for entry in entries]
    has_quota = [isinstance(one, Account) and one.quota_bytes is not None for one in found]
    if not all(has_quota):
        return frozenset()
    return frozenset(one.id for one in found if isinstance(one, Account))
