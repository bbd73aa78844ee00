"""Which signatures and seals a message needs, and where what was made for it goes.  Pure.

Invariant: what is on top of all copies holds for each of them: a signature that one copy's change
breaks, or that tells of somebody, is made for the others one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from attrs import evolve, field, frozen

from mailrelay.directory.dkim import StoredKey
from mailrelay.mailauth.arc_seal import Sealing, can_seal
from mailrelay.mailauth.dkim import Algorithm, field_name, raw_fields
from mailrelay.mailauth.dkim_sign import SIGNED
from mailrelay.message.edit import Edit, Stretch
from mailrelay.message.header import addresses_in, header_end, unfolded
from mailrelay.queue.entry import Entry, NewMessage

K = TypeVar("K")

Keys = Callable[[str], Sequence[StoredKey]]
"""The keys in use of a domain."""


@frozen
class Job:
    """Something to be made: a signature of each key, or a set of the first one.

    It is for the ``entries`` of those numbers; for all of them, now and later, when there are none.
    """

    fields: Sequence[bytes]
    keys: Sequence[StoredKey]
    entries: frozenset[int] = frozenset()
    seals: bool = False


@frozen
class Whole:
    """A message's header section as it is kept: ``prefix`` and what came."""

    prefix: bytes
    header: bytes
    fields: Sequence[bytes] = field(init=False)

    @fields.default
    def _raw(self) -> Sequence[bytes]:
        return raw_fields(self.header)

    @classmethod
    def of(cls, prefix: bytes, head: bytes) -> Whole:
        """Of what begins with these."""
        start = prefix + head
        return cls(prefix, start[: header_end(start)])

    def edited(self, stretches: tuple[Stretch, ...]) -> Sequence[bytes]:
        """The fields of a copy, but for those in front."""
        if not stretches:
            return self.fields
        came = self.header[len(self.prefix) :]
        return raw_fields(self.prefix + Edit(b"", stretches).edited(came))


def author_domain(fields: Sequence[bytes]) -> str:
    """The domain of all who are in From; "" where there is not one."""
    found = {
        address.domain
        for raw in fields
        if field_name(raw) == "from"
        for address in addresses_in(unfolded(raw.partition(b":")[2]))
    }
    return found.pop() if len(found) == 1 else ""


def jobs_of(
    whole: Whole,
    leaving: Sequence[Entry],
    shared: Sequence[StoredKey],
    sealing: Sealing | None,
    active: Keys,
    own_keys: Callable[[], Sequence[StoredKey]],
) -> Sequence[Job]:
    """What is to be made for a message, of which copies are ``leaving`` this server.

    ``shared`` are the keys of its author, if that is one of ours.  A copy that an alias changes is
    signed by the alias's domain, as is one with fields of a list.
    """
    is_secret = any(entry.answers_as_alias for entry in leaving)
    jobs = [Job(whole.fields, shared)] if shared and not is_secret else []
    alone = shared if is_secret else []
    jobs += _signatures(whole, leaving, alone, active)
    if sealing is not None and can_seal(sealing.found):
        jobs += _seals(whole, leaving, active, own_keys)
    return jobs


def _signatures(
    whole: Whole, leaving: Sequence[Entry], alone: Sequence[StoredKey], active: Keys
) -> Iterator[Job]:
    for edit, entries in _grouped(leaving, lambda entry: entry.edit or Edit()):
        front = raw_fields(edit.front)
        fields = [*front, *whole.edited(edit.stretches)]
        keys: Sequence[StoredKey] = []
        if edit.stretches:
            keys = active(author_domain(fields))
        elif any(field_name(raw) in SIGNED for raw in front):
            keys = _of_alias(entries[0], active)
        elif alone:
            keys = alone
        if keys:
            yield Job(fields, keys, _numbers(entries))


def _seals(
    whole: Whole,
    leaving: Sequence[Entry],
    active: Keys,
    own_keys: Callable[[], Sequence[StoredKey]],
) -> Iterator[Job]:
    passed_on = [entry for entry in leaving if entry.alias is not None]

    def alike(entry: Entry) -> tuple[str, tuple[Stretch, ...]]:
        assert entry.alias is not None
        return entry.alias.domain, entry.edit.stretches if entry.edit is not None else ()

    for (_, stretches), entries in _grouped(passed_on, alike):
        keys = _of_alias(entries[0], active) or own_keys()
        if keys:
            # RSA first: few others check Ed25519 in seals.
            first = sorted(keys, key=lambda key: key.algorithm != Algorithm.RSA.value)
            yield Job(whole.edited(stretches), first[:1], _numbers(entries), seals=True)


def _of_alias(entry: Entry, active: Keys) -> Sequence[StoredKey]:
    return active(entry.alias.domain) if entry.alias is not None else []


def _grouped(
    entries: Sequence[Entry], alike: Callable[[Entry], K]
) -> Iterable[tuple[K, list[Entry]]]:
    groups: dict[K, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(alike(entry), []).append(entry)
    return groups.items()


def _numbers(entries: Sequence[Entry]) -> frozenset[int]:
    return frozenset(entry.id for entry in entries)


def with_made(new: NewMessage, made: Sequence[tuple[Job, bytes]]) -> NewMessage:
    """``new`` with what was made for it: on top of all, or in front of single copies."""
    fronts: dict[int, bytes] = {}
    for job, added in made:
        if not job.entries:
            new = _with_fields(new, added)
        for number in job.entries:
            fronts[number] = added + fronts.get(number, b"")
    entries = [_in_front(entry, fronts) for entry in new.entries]
    return evolve(new, entries=entries) if fronts else new


def _in_front(entry: Entry, fronts: Mapping[int, bytes]) -> Entry:
    added = fronts.get(entry.id)
    if added is None:
        return entry
    edit = entry.edit or Edit()
    return evolve(entry, edit=evolve(edit, front=added + edit.front))


def _with_fields(new: NewMessage, added: bytes) -> NewMessage:
    """``new`` with fields on top, which count for its size."""
    size = new.message.size_bytes + len(added)
    message = evolve(new.message, size_bytes=size)
    events = [
        evolve(event, data={**event.data, "size_bytes": size})
        if "size_bytes" in event.data
        else event
        for event in new.events
    ]
    entries = [evolve(entry, message=message) for entry in new.entries]
    content = evolve(new.content, prefix=added + new.content.prefix)
    return evolve(new, message=message, content=content, entries=entries, events=events)
