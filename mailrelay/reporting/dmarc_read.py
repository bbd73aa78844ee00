"""DMARC aggregate reports read (RFC 7489 appendix C, RFC 9990), from XML that anybody wrote.

- A document type is refused where it begins: there are no entities and nothing is fetched.
- Depth, text, rows and what a row holds are bounded; time is linear in the content's size.
- Namespaces are dropped, unknown elements are skipped, optional ones may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar
from xml.parsers import expat

from attrs import define, evolve, field

from mailrelay.reporting.bounded import (
    MOST_COUNT,
    MOST_SECONDS,
    bounded,
    count_of,
    domain_of,
    ip_of,
)
from mailrelay.reporting.model import (
    AuthResult,
    DMARCReport,
    MalformedReport,
    PublishedPolicy,
    Reason,
    Row,
)

T = TypeVar("T")

MOST_DEPTH = 16
MOST_TEXT = 4096
MOST_TOKEN_BYTES = 256 * 1024
MOST_ROWS = 5000
"""Of a report that are kept: what more there is is counted as left out."""

MOST_RESULTS = 20
"""Signatures, or reasons, of one row."""

_SEPARATOR = " "  # before the name, behind its namespace: in neither

_METADATA = ("feedback", "report_metadata")
_POLICY = ("feedback", "policy_published")
_RECORD = ("feedback", "record")
_Path = tuple[str, ...]


def read_dmarc(pieces: Iterable[bytes]) -> DMARCReport:
    """The report that ``pieces`` are, one after the other.  Raises: MalformedReport."""
    reading = _Reading()
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = _refused
    parser.EntityDeclHandler = _refused
    try:
        fed = 0
        for piece in pieces:
            parser.Parse(piece, False)
            fed += len(piece)
            # Expat looks at an unfinished token from its beginning with every piece.
            if fed - parser.CurrentByteIndex > MOST_TOKEN_BYTES:
                raise MalformedReport("the XML has a tag or comment that is too long")
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise MalformedReport(f"not well-formed XML: {error}") from None
    return reading.report()


def _refused(*_: object) -> None:
    raise MalformedReport("XML with a document type is not read")


@define
class _Reading:
    """Keeps the values of elements by their path; a record's become a row at its end."""

    _path: list[str] = field(factory=list)
    _text: list[str] = field(factory=list)
    _length: int = 0
    _values: dict[_Path, str] = field(factory=dict)
    _errors: list[str] = field(factory=list)
    _row: dict[_Path, str] = field(factory=dict)
    _reasons: list[Reason] = field(factory=list)
    _dkim: list[AuthResult] = field(factory=list)
    _spf: list[AuthResult] = field(factory=list)
    _part: dict[str, str] = field(factory=dict)
    _rows: dict[Row, int] = field(factory=dict)
    _left_out: int = 0

    def start(self, name: str, _: Mapping[str, str]) -> None:
        local = name.rpartition(_SEPARATOR)[2]
        if not self._path and local != "feedback":
            raise MalformedReport("not a DMARC report: its root is not feedback")
        if len(self._path) >= MOST_DEPTH:
            raise MalformedReport("the XML is too deep")
        self._path.append(local)
        self._text.clear()
        self._length = 0
        if local in _PARTS and len(self._path) == _PARTS[local]:
            self._part = {}

    def text(self, text: str) -> None:
        if self._length < MOST_TEXT:
            self._text.append(text)
            self._length += len(text)

    def end(self, _: str) -> None:
        path = tuple(self._path)
        self._path.pop()
        text = "".join(self._text).strip()
        self._text.clear()
        if path[:2] == _RECORD:
            self._in_record(path[2:], text)
        elif path == (*_METADATA, "error"):
            if len(self._errors) < MOST_RESULTS:
                self._errors.append(bounded(text))
        elif path[:2] in (_METADATA, _POLICY) and len(path) in (3, 4):
            self._values.setdefault(path[1:], text)

    def _in_record(self, path: _Path, text: str) -> None:
        if not path:
            self._end_of_row()
        elif path[-1] in _PARTS and len(path) + 2 == _PARTS[path[-1]]:
            self._end_of_part(path[-1])
        elif len(path) >= 2 and path[-2] in _PARTS:
            self._part.setdefault(path[-1], text)
        elif len(path) <= 3:
            self._row.setdefault(path, text)

    def _end_of_part(self, name: str) -> None:
        part = self._part
        if name == "reason":
            _add(self._reasons, Reason(bounded(part.get("type")), bounded(part.get("comment"))))
            return
        scope = part.get("selector") if name == "dkim" else part.get("scope")
        result = AuthResult(
            domain_of(part.get("domain")), bounded(part.get("result"), 40), bounded(scope, 63)
        )
        _add(self._dkim if name == "dkim" else self._spf, result)

    def _end_of_row(self) -> None:
        row, self._row = self._row, {}
        lists = tuple(self._reasons), tuple(self._dkim), tuple(self._spf)
        for found in (self._reasons, self._dkim, self._spf):
            found.clear()
        ip, count = ip_of(row.get(("row", "source_ip"))), count_of(row.get(("row", "count")))
        alike = _row(row, ip, *lists)
        if ip and count and (alike in self._rows or len(self._rows) < MOST_ROWS):
            self._rows[alike] = min(self._rows.get(alike, 0) + count, MOST_COUNT)
        else:
            self._left_out = min(self._left_out + (count or 1), MOST_COUNT)

    def report(self) -> DMARCReport:
        """What was read.  Raises: MalformedReport."""
        told = self._values.get
        domain = domain_of(told(("policy_published", "domain")))
        report_id = bounded(told(("report_metadata", "report_id")))
        dates = ("report_metadata", "date_range")
        began = count_of(told((*dates, "begin")), MOST_SECONDS)
        ended = count_of(told((*dates, "end")), MOST_SECONDS)
        if not domain or not report_id or began is None or ended is None:
            raise MalformedReport("the report lacks its domain, report_id or date_range")
        return DMARCReport(
            bounded(told(("report_metadata", "org_name"))),
            bounded(told(("report_metadata", "email"))),
            report_id,
            float(began),
            float(max(began, ended)),
            self._policy(domain),
            tuple(evolve(row, count=count) for row, count in self._rows.items()),
            bounded(told(("report_metadata", "extra_contact_info"))),
            tuple(self._errors),
            self._left_out,
        )

    def _policy(self, domain: str) -> PublishedPolicy:
        def told(name: str) -> str:
            return bounded(self._values.get(("policy_published", name)), 40).lower()

        pct = count_of(told("pct"), 100)
        return PublishedPolicy(
            domain,
            told("p") or "none",
            told("sp"),
            told("np"),
            told("adkim") or "r",
            told("aspf") or "r",
            100 if pct is None else pct,
        )


# Elements that come several times in a record, and how deep they are.
_PARTS = {"reason": 5, "dkim": 4, "spf": 4}


def _row(
    row: Mapping[_Path, str],
    ip: str,
    reasons: tuple[Reason, ...],
    dkim: tuple[AuthResult, ...],
    spf: tuple[AuthResult, ...],
) -> Row:
    """One of no messages yet."""

    def evaluated(name: str) -> str:
        return bounded(row.get(("row", "policy_evaluated", name)), 40).lower()

    def identifier(name: str) -> str:  # some write identities where identifiers are
        return domain_of(row.get(("identifiers", name)) or row.get(("identities", name)))

    return Row(
        ip,
        0,
        evaluated("disposition") or "none",
        evaluated("dkim") or "fail",
        evaluated("spf") or "fail",
        identifier("header_from"),
        identifier("envelope_from"),
        identifier("envelope_to"),
        reasons,
        dkim,
        spf,
    )


def _add(found: list[T], one: T) -> None:
    if len(found) < MOST_RESULTS:
        found.append(one)
