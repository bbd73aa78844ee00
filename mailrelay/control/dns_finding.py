"""What a check of DNS found, and what it asks with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum

from attrs import field, frozen

from mailrelay.control.dns_records import Need, Published, Record, Topic
from mailrelay.net.http import HTTPAnswer
from mailrelay.net.lookup import Found, Lookups
from mailrelay.smtp.reply import printable

MOST_SEEN, LONGEST_SEEN = 10, 500


Fetch = Callable[[str], Awaitable[HTTPAnswer]]
"""The answer to a GET of a URL.  Raises: CallFailed."""


class Status(StrEnum):
    """How a record is; the values are shown."""

    OK = "ok"
    WARNING = "warning"  # mail goes, but not all is as it could be
    WRONG = "wrong"
    MISSING = "missing"
    UNKNOWN = "unknown"  # DNS, or a server, does not tell now


_GREEN = (Status.OK, Status.WARNING)


def _told(text: str) -> str:
    return printable(text, 2 * LONGEST_SEEN)


def _seen(values: Sequence[str]) -> tuple[str, ...]:
    """What others wrote, printable and with an end."""
    return tuple(printable(value, LONGEST_SEEN) for value in values[:MOST_SEEN])


@frozen
class Finding:
    """One record, or set of them.  ``publish`` is what should be there instead of ``seen``."""

    topic: Topic
    name: str
    type: str
    status: Status
    text: str = field(converter=_told)
    seen: Sequence[str] = field(default=(), converter=_seen)
    publish: Sequence[Record] = ()


@frozen
class CheckReport:
    """What was found of one domain.  ``addresses`` are those it was checked for."""

    domain: str
    addresses: Sequence[str]
    addresses_from: str  # who said that they are ours
    findings: Sequence[Finding]

    @property
    def is_green(self) -> bool:
        """Whether nothing is wrong; warnings do not count."""
        return all(one.status in _GREEN for one in self.findings)


@frozen
class Asked:
    """What is checked, and where it is looked up.  ``addresses`` are ours."""

    of: Published
    records: Sequence[Record]
    lookups: Lookups
    addresses: Sequence[str]
    fetch: Fetch
    validating: bool = False  # what the resolver says of DNSSEC is believed

    @property
    def domain(self) -> str:
        """The domain's name."""
        return self.of.domain.name

    def wanted(self, topic: Topic, name: str | None = None) -> Sequence[Record]:
        """The records of a topic that should be there."""
        return [
            one
            for one in self.records
            if one.topic is topic and one.need is not Need.HINT and name in (None, one.name)
        ]

    async def find(self, name: str, type_: str) -> Found:
        """What there is.  Raises: LookupFailed."""
        return await self.lookups.find(name, type_)

    async def addresses_of(self, name: str) -> Found:
        """Of both families.  Raises: LookupFailed."""
        found = [await self.find(name, type_) for type_ in ("A", "AAAA")]
        values = [value for one in found for value in one.values]
        return Found(found[0].name, values, any(one.exists for one in found))


def missing(records: Sequence[Record], text: str = "") -> Finding:
    """Nothing is there where ``records`` should be."""
    first = records[0]
    is_needed = any(one.need is Need.NEEDED for one in records)
    status = Status.MISSING if is_needed else Status.WARNING
    said = text or f"there is no {first.type} record: {first.why}"
    return Finding(first.topic, first.name, first.type, status, said, (), records)


def finding(
    record: Record,
    status: Status,
    text: str,
    seen: Sequence[str] = (),
    publish: Sequence[Record] | None = None,
) -> Finding:
    """About ``record``, which is to be published unless all is well with it."""
    instead = [record] if publish is None else publish
    shown = () if status is Status.OK else instead
    return Finding(record.topic, record.name, record.type, status, text, seen, shown)
