"""What a message is made of before it is written, and what may be in it.

Text from outside becomes a header field only through here: what could end a line, in anybody's
reading of one, is refused by the name of the field that it came in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from attrs import frozen

from mailrelay.message.mailboxes import NamedAddress
from mailrelay.message.words import CONTROLS

PIECE_CHARACTERS = 64 * 1024
"""Of base64 that is encoded at once."""


class Unwritable(Exception):
    """``text`` says what is wrong with ``field``, named as the webapi's JSON does."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field
        self.text = text


@frozen
class File:
    """A file to go along; an empty ``content_type`` is found by its first bytes.

    ``read`` gives the decoded content in pieces, from the beginning each time it is called, so
    that it need never be in memory whole.  With ``is_base64`` the pieces are base64 as it came,
    and ``size_bytes`` is still that of the decoded content.
    """

    name: str
    content_type: str
    content_id: str
    read: Callable[[], Iterator[bytes]]
    size_bytes: int
    is_base64: bool = False


def base64_file(name: str, content_type: str, content_id: str, data: str) -> File:
    """A file of which ``data`` is base64; it is encoded piece by piece."""
    read = partial(_pieces, data)
    return File(name, content_type, content_id, read, len(data) * 3 // 4, is_base64=True)


def _pieces(data: str) -> Iterator[bytes]:
    for at in range(0, len(data), PIECE_CHARACTERS):
        yield data[at : at + PIECE_CHARACTERS].encode("utf-8", "replace")


@frozen(kw_only=True)
class Draft:
    """A message before it is written.

    ``date`` is finished text.  With ``smtputf8`` the header is written in UTF-8.  ``boundary``
    gives another token of letters and digits each time it is called.
    """

    from_: Sequence[NamedAddress]
    reply_to: Sequence[NamedAddress] = ()
    to: Sequence[NamedAddress] = ()
    cc: Sequence[NamedAddress] = ()
    subject: str = ""
    date: str
    message_id: str
    references: Sequence[str] = ()
    headers: Sequence[tuple[str, str]] = ()
    user_agent: str = ""
    text: str = ""
    html: str = ""
    alternative_files: Sequence[File] = ()
    inline_files: Sequence[File] = ()
    attached_files: Sequence[File] = ()
    smtputf8: bool = False
    boundary: Callable[[], str]

    @property
    def files(self) -> Sequence[File]:
        """All that goes along."""
        return (*self.alternative_files, *self.inline_files, *self.attached_files)


MAX_TOKEN_BYTES = 900
"""Of what cannot be folded, with room for the field's name within 998 bytes."""


def check(draft: Draft) -> None:
    """Whether ``draft`` can be written as it is.

    Raises: Unwritable.
    """
    for field, people in (
        ("From", draft.from_),
        ("ReplyTo", draft.reply_to),
        ("To", draft.to),
        ("CC", draft.cc),
    ):
        for number, person in enumerate(people):
            _check_person(f"{field}[{number}]", person, utf8=draft.smtputf8)
    _check_controls("Subject", draft.subject)
    _check_controls("Date", draft.date)
    _check_controls("User-Agent", draft.user_agent)
    _check_token("MessageID", draft.message_id, utf8=draft.smtputf8)
    for number, reference in enumerate(draft.references):
        _check_token(f"References[{number}]", reference, utf8=draft.smtputf8)
    _check_headers(draft)
    for field, text in (("Text", draft.text), ("HTML", draft.html)):
        try:
            text.encode()
        except UnicodeEncodeError:
            said = "has half of a surrogate pair, which is no character"
            raise Unwritable(field, said) from None
    for field, files in (
        ("AlternativeFiles", draft.alternative_files),
        ("InlineFiles", draft.inline_files),
        ("AttachedFiles", draft.attached_files),
    ):
        for number, file in enumerate(files):
            _check_file(f"{field}[{number}]", file, utf8=draft.smtputf8)


def _check_controls(field: str, text: str) -> None:
    found = CONTROLS.search(text)
    if found is not None:
        raise Unwritable(field, f"has the control character U+{ord(found.group()):04X}")


def _check_person(field: str, person: NamedAddress, *, utf8: bool) -> None:
    _check_controls(f"{field}.Name", person.name)
    _check_controls(f"{field}.Address", str(person.address))
    if not (utf8 or person.address.is_ascii):
        raise Unwritable(f"{field}.Address", "has a localpart that needs SMTPUTF8")


def _check_token(field: str, text: str, *, utf8: bool) -> None:
    """What can be neither folded nor encoded: an id, a content type."""
    _check_controls(field, text)
    if not (utf8 or text.isascii()):
        raise Unwritable(field, "has characters beyond ASCII, which this message cannot carry here")
    if len(text.encode()) > MAX_TOKEN_BYTES:
        raise Unwritable(field, f"is longer than {MAX_TOKEN_BYTES} bytes")


def _check_headers(draft: Draft) -> None:
    written = {"from", "date", "message-id"} | {
        name
        for name, value in (
            ("reply-to", draft.reply_to),
            ("to", draft.to),
            ("cc", draft.cc),
            ("subject", draft.subject),
            ("references", draft.references),
            ("in-reply-to", draft.references),
        )
        if value
    }
    for number, (name, value) in enumerate(draft.headers):
        field = f"Headers[{number}]"
        if not _FIELD_NAME.fullmatch(name):
            raise Unwritable(
                field, "the name must be of 1 to 76 printable ASCII characters other than colon"
            )
        if name.lower() in _FORBIDDEN:
            raise Unwritable(field, f"{name} cannot be given: {_FORBIDDEN[name.lower()]}")
        if name.lower() in written:
            raise Unwritable(
                field, f"{name} would be there twice; a message may have one (RFC 5322 section 3.6)"
            )
        if name.lower() in _ONCE:
            written.add(name.lower())
        _check_controls(field, value)


def _check_file(field: str, file: File, *, utf8: bool) -> None:
    _check_controls(f"{field}.Name", file.name)
    _check_token(f"{field}.ContentType", file.content_type, utf8=False)
    _check_token(f"{field}.ContentID", file.content_id, utf8=utf8)
    if file.content_type and not _MEDIA_TYPE.match(file.content_type):
        raise Unwritable(f"{field}.ContentType", "is no media type, such as text/plain")
    if file.content_type.lower().startswith("multipart/"):
        raise Unwritable(f"{field}.ContentType", "a file cannot be a multipart")


_OURS = "the message's own parts decide it"
_ROUTE = "it is written by the servers on the way"
_FORBIDDEN = {
    "content-type": _OURS,
    "content-transfer-encoding": _OURS,
    "content-disposition": _OURS,
    "mime-version": _OURS,
    "bcc": "its recipients would be shown to all; give them in the field BCC",
    "return-path": _ROUTE,
    "received": _ROUTE,
}
# RFC 5322 section 3.6: large receivers refuse a message that has one of these twice.
_ONCE = {
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
}
_FIELD_NAME = re.compile("[!-9;-~]{1,76}")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+ *(?:;|$)")
