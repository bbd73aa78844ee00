"""A message as the API takes it, and the draft that it becomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from email.utils import format_datetime
from typing import Annotated, Literal, TypeAlias

from attrs import frozen
from msgspec import Meta, field

from mailrelay.acceptance.wishes import Wishes
from mailrelay.message.draft import Draft, File, Unwritable, base64_file
from mailrelay.message.mailboxes import NamedAddress
from mailrelay.message.words import CONTROLS
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.templates.variables import Variables
from mailrelay.webapi.v1.fields import Tags, TemplateName, TemplateVersion
from mailrelay.webapi.v1.one_click import UnsubscribeWish
from mailrelay.webapi.v1.operations import Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, Problem
from mailrelay.webapi.v1.times import Time, time_at

MOST_CHARACTERS = 200_000_000
"""Of what the server's limit for a message bounds more closely."""

AddressText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=320)]
Long: TypeAlias = Annotated[str, Meta(max_length=MOST_CHARACTERS)]


class Person(Strict, frozen=True):
    """An address, and the name to be shown with it."""

    address: AddressText
    name: Annotated[str, Meta(max_length=1000)] = ""


class HeaderField(Strict, frozen=True):
    """A header field beside those that the message gets anyway."""

    name: Annotated[str, Meta(min_length=1, max_length=76)]
    value: Annotated[str, Meta(max_length=10_000)]


class Attachment(Strict, frozen=True):
    """A file; ``data`` is base64.  With a ``content_id`` it stands in the HTML, as cid:ID."""

    data: Long
    name: Annotated[str, Meta(max_length=1000)] = ""
    content_type: Annotated[str, Meta(max_length=500)] = ""
    content_id: Annotated[str, Meta(max_length=500)] = ""


class ExtraField(Strict, frozen=True):
    """What the application wants to hear again with every event of the message."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    value: Annotated[str, Meta(max_length=2000)]


People: TypeAlias = Annotated[list[Person], Meta(max_length=1000)]
Extra: TypeAlias = Annotated[list[ExtraField], Meta(max_length=100)]
Priority: TypeAlias = Literal["high", "normal"]


class TemplateUse(Strict, frozen=True):
    """A template of the account, in its newest version unless one is named."""

    name: TemplateName
    version: TemplateVersion | None = None
    variables: Variables = field(default_factory=dict)


class Letter(Strict, frozen=True):
    """A message.  Text, HTML or both, or a template in place of these and the subject.

    To, cc or bcc.

    ``send_at`` is when the first attempt is made, up to a year ahead.  With ``require_tls`` it
    travels by verified TLS or comes back.  With ``priority`` high it leaves before the account's
    other mail for the same host.
    """

    from_: Person = field(name="from")
    to: People = field(default_factory=list)
    cc: People = field(default_factory=list)
    bcc: People = field(default_factory=list)
    reply_to: Annotated[list[Person], Meta(max_length=100)] = field(default_factory=list)
    subject: Annotated[str, Meta(max_length=10_000)] = ""
    text: Long = ""
    html: Long = ""
    template: TemplateUse | None = None
    headers: Annotated[list[HeaderField], Meta(max_length=200)] = field(default_factory=list)
    attachments: Annotated[list[Attachment], Meta(max_length=200)] = field(default_factory=list)
    extra: Extra = field(default_factory=list)
    tags: Tags = field(default_factory=list)
    send_at: Time | None = None
    require_tls: bool = False
    unsubscribe: UnsubscribeWish = False
    priority: Priority = "normal"


@frozen
class Parties:
    """Whom a letter is from and to, as addresses."""

    from_: NamedAddress
    to: Sequence[NamedAddress]
    cc: Sequence[NamedAddress]
    bcc: Sequence[NamedAddress]
    reply_to: Sequence[NamedAddress]

    @property
    def recipients(self) -> Sequence[Address]:
        """Everybody who gets it."""
        return [one.address for one in (*self.to, *self.cc, *self.bcc)]

    @property
    def needs_smtputf8(self) -> bool:
        """Whether an address goes beyond ASCII."""
        everybody = (self.from_, *self.to, *self.cc, *self.bcc, *self.reply_to)
        return not all(one.address.is_ascii for one in everybody)


def parties_of(letter: Letter) -> Parties:
    """Everybody whom ``letter`` names.  Raises: Problem."""
    return Parties(
        person("from", letter.from_),
        _people("to", letter.to),
        _people("cc", letter.cc),
        _people("bcc", letter.bcc),
        _people("reply_to", letter.reply_to),
    )


def _people(place: str, given: Iterable[Person]) -> list[NamedAddress]:
    return [person(f"{place}[{number}]", one) for number, one in enumerate(given)]


def person(place: str, given: Person) -> NamedAddress:
    """``given`` as an address with a name.  Raises: Problem."""
    check_line(f"{place}.name", given.name)
    try:
        return NamedAddress(given.name, Address.parse(given.address))
    except MalformedAddress as error:
        raise Problem(INVALID_FIELD, str(error), f"{place}.address") from None


def check_line(place: str, text: str) -> None:
    """Raises: Problem, for what could end a line or a string for some reader."""
    found = CONTROLS.search(text)
    if found is not None:
        said = f"has the control character U+{ord(found.group()):04X}"
        raise Problem(INVALID_FIELD, said, place)


def check_body(letter: Letter) -> None:
    """Raises: Problem, when there is nothing to be read."""
    if not letter.text and not letter.html and letter.template is None:
        raise Problem(INVALID_FIELD, "at least one of text and html must be there", "text")


def wishes_of(extra: Sequence[ExtraField], tags: Sequence[str], priority: Priority) -> Wishes:
    """What is asked for beside delivery.  Raises: Problem, for what is given twice."""
    for number, tag in enumerate(tags):
        check_line(f"tags[{number}]", tag)  # $ of a pattern matches before a newline
        if tag in tags[:number]:
            raise Problem(INVALID_FIELD, "is given twice", f"tags[{number}]")
    return Wishes(_extra_of(extra), tuple(tags), is_urgent=priority == "high")


def _extra_of(given: Sequence[ExtraField]) -> dict[str, str]:
    extra: dict[str, str] = {}
    for number, one in enumerate(given):
        for part in ("name", "value"):
            check_line(f"extra[{number}].{part}", getattr(one, part))
        if one.name in extra:
            raise Problem(INVALID_FIELD, "is given twice", f"extra[{number}].name")
        extra[one.name] = one.value
    return extra


def draft_of(
    letter: Letter,
    parties: Parties,
    added: Sequence[tuple[str, str]] = (),
    *,
    now: float,
    message_id: str,
    user_agent: str,
    boundary: Callable[[], str],
) -> Draft:
    """What is to be composed, with fields ``added``.  A file with a content id is in line."""
    files = [(one, _file(one)) for one in letter.attachments]
    return Draft(
        from_=[parties.from_],
        reply_to=parties.reply_to,
        to=parties.to,
        cc=parties.cc,
        subject=letter.subject,
        date=format_datetime(time_at(now)),
        message_id=message_id,
        headers=[*((one.name, one.value) for one in letter.headers), *added],
        user_agent=user_agent,
        text=letter.text,
        html=letter.html,
        inline_files=[file for one, file in files if one.content_id],
        attached_files=[file for one, file in files if not one.content_id],
        smtputf8=parties.needs_smtputf8,
        boundary=boundary,
    )


def _file(given: Attachment) -> File:
    return base64_file(given.name, given.content_type, given.content_id, given.data)


def problem_of_draft(error: Unwritable, letter: Letter) -> Problem:
    """``error`` with its field as the API calls it."""
    found = _PLACE.match(error.field)
    assert found is not None
    name, number, rest = found.groups()
    place = _NAMES.get(name, name.lower())
    if number is not None and name in ("InlineFiles", "AttachedFiles"):
        of_kind = [
            n
            for n, one in enumerate(letter.attachments)
            if bool(one.content_id) == (name == "InlineFiles")
        ]
        number = str(of_kind[int(number)])
    told = f"{place}[{number}]" if number is not None else place
    return Problem(INVALID_FIELD, error.text, told + _snake(rest))


def _snake(rest: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", rest).lower()


_PLACE = re.compile(r"(\w+)(?:\[(\d+)\])?(.*)", re.DOTALL)
_NAMES = {
    "ReplyTo": "reply_to",
    "InlineFiles": "attachments",
    "AttachedFiles": "attachments",
}
