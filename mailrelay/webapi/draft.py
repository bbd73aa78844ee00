"""A Send request as a draft, an envelope's addresses, and what must hold of both.  Pure.

The order of the checks is mox's: it decides which of several mistakes is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from email.utils import format_datetime

from attrs import frozen

from mailrelay.directory.model import Directory
from mailrelay.message.draft import Draft, base64_file
from mailrelay.message.draft import File as DraftFile
from mailrelay.message.mailboxes import NamedAddress
from mailrelay.message.trace import date_field
from mailrelay.message.words import CONTROLS
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.errors import APIError, user_error
from mailrelay.webapi.types import File, SendRequest
from mailrelay.webhooks.types import NameAddress

LONGEST_HOLD = 60 * 86400.0
"""FutureRelease: seconds ahead at the most."""

PIECE_BYTES = 64 * 1024


@frozen
class Upload:
    """A file of the form; ``open`` gives its pieces, and is called in a worker's thread."""

    field: str
    name: str
    content_type: str
    content_id: str
    size_bytes: int
    read: Callable[[], Iterator[bytes]]


@frozen
class People:
    """Whom a message is from and to; ``recipients`` is To, CC and BCC as they were written."""

    from_: NamedAddress
    to: Sequence[NamedAddress]
    cc: Sequence[NamedAddress]
    bcc: Sequence[NamedAddress]
    recipients: Sequence[tuple[str, Address]]

    @property
    def needs_smtputf8(self) -> bool:
        """Whether an address goes beyond ASCII."""
        everybody = (self.from_, *self.to, *self.cc, *self.bcc)
        return not all(one.address.is_ascii for one in everybody)


def people_of(
    request: SendRequest, caller: Caller, directory: Directory, max_recipients: int
) -> People:
    """Sender and recipients.  Raises: APIError."""
    if not request.text and not request.html:
        raise APIError("missingBody", "at least one of Text and HTML must be there")
    if len(request.from_) > 1:
        raise APIError("multipleFrom", "a message has one From address")
    own = NameAddress(name=caller.account.full_name, address=caller.login)
    [from_] = _parsed("From", request.from_ or [own])
    to, cc, bcc = (
        _parsed(name, given)
        for name, given in (("To", request.to), ("CC", request.cc), ("BCC", request.bcc))
    )
    _check_from(from_.address, caller, directory)
    written = [one.address for one in (*request.to, *request.cc, *request.bcc)]
    if not written:
        raise APIError("noRecipients", "there is no recipient: To, CC and BCC are empty")
    if len(written) > max_recipients:
        raise user_error(f"a message has at most {max_recipients} recipients")
    addresses = (one.address for one in (*to, *cc, *bcc))
    return People(from_, to, cc, bcc, list(zip(written, addresses, strict=True)))


def _parsed(field: str, given: Iterable[NameAddress]) -> list[NamedAddress]:
    return [_person(f"{field}[{number}]", one) for number, one in enumerate(given)]


def _person(field: str, given: NameAddress) -> NamedAddress:
    check_controls(f"{field}.Name", given.name)
    return NamedAddress(given.name, address_of(f"{field}.Address", given.address))


def check_controls(field: str, text: str) -> None:
    """Raises: APIError, for what could end a line or a string for some reader."""
    found = CONTROLS.search(text)
    if found is not None:
        raise user_error(f"{field}: has the control character U+{ord(found.group()):04X}")


def address_of(field: str, text: str) -> Address:
    """The address that ``text`` is.  Raises: APIError."""
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise APIError("badAddress", f"{field}: {error}") from None


def _check_from(address: Address, caller: Caller, directory: Directory) -> None:
    domain = directory.domains.get(address.domain)
    if domain is not None and domain.disabled:
        raise APIError("domainDisabled", f"the domain {address.domain} is switched off")
    if not directory.owns(caller.account, address):
        raise APIError("badFrom", f"From is not an address of the account: {address}")


def draft_of(
    request: SendRequest,
    people: People,
    uploads: Sequence[Upload],
    *,
    now: float,
    message_id: str,
    user_agent: str,
    boundary: Callable[[], str],
) -> Draft:
    """What is to be composed.  Raises: APIError."""
    reply_to = _parsed("ReplyTo", request.reply_to)
    smtputf8 = people.needs_smtputf8 or not all(one.address.is_ascii for one in reply_to)
    if request.message_id and not (
        request.message_id.startswith("<") and request.message_id.endswith(">")
    ):
        raise APIError("malformedMessageID", "MessageID must stand in angle brackets")
    date = time_of("Date", request.date)
    return Draft(
        from_=[people.from_],
        reply_to=reply_to,
        to=people.to,
        cc=people.cc,
        subject=request.subject,
        date=format_datetime(date) if date is not None else date_field(now),
        message_id=request.message_id or message_id,
        references=request.references,
        headers=_headers(request),
        user_agent=user_agent,
        text=request.text,
        html=request.html,
        alternative_files=_files(request.alternative_files, uploads, "alternativefile"),
        inline_files=_files(request.inline_files, uploads, "inlinefile"),
        attached_files=_files(request.attached_files, uploads, "attachedfile"),
        smtputf8=smtputf8,
        boundary=boundary,
    )


def _headers(request: SendRequest) -> list[tuple[str, str]]:
    """The fields that were asked for, and what RequireTLS false says to all on the way."""
    given = [_pair(number, pair) for number, pair in enumerate(request.headers)]
    if request.require_tls is False and all(name.lower() != "tls-required" for name, _ in given):
        given.append(("TLS-Required", "No"))  # RFC 8689 section 5
    return given


def release_at(request: SendRequest, now: float) -> float | None:
    """When the first attempt is asked for, seconds since the epoch.  Raises: APIError."""
    asked = time_of("FutureRelease", request.future_release)
    if asked is None:
        return None
    if asked.timestamp() > now + LONGEST_HOLD:
        raise user_error("FutureRelease is more than 60 days ahead")
    return asked.timestamp()


def time_of(field: str, text: str | None) -> datetime | None:
    """An RFC 3339 time.  Go's zero time is none.  Raises: APIError."""
    if text is None:
        return None
    try:
        if not _TIME.fullmatch(text):
            raise ValueError("it is not of the form 2026-11-21T09:30:00Z")
        time = datetime.fromisoformat(text)
        time.timestamp()
    except (ValueError, OverflowError) as error:
        raise APIError("protocol", f"parsing request: {field}: no RFC 3339 time: {error}") from None
    return None if time.year == 1 else time


def _pair(number: int, pair: Sequence[str]) -> tuple[str, str]:
    if len(pair) != 2:
        raise APIError(
            "protocol", f"parsing request: Headers[{number}]: a header is a name and a value"
        )
    return pair[0], pair[1]


def _files(given: Sequence[File], uploads: Sequence[Upload], field: str) -> Sequence[DraftFile]:
    """Files of the JSON, then those of the form."""
    return [
        *(base64_file(file.name, file.content_type, file.content_id, file.data) for file in given),
        *(
            DraftFile(u.name, u.content_type, u.content_id, u.read, u.size_bytes)
            for u in uploads
            if u.field == field
        ),
    ]


# RFC 3339 section 5.6, as Go reads it.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
