"""Letters made of a message that was received: an answer to it, or it, passed on.  Pure.

It takes a tenth of a second where the message has many addresses: not in the reactor's thread.

Recipients and subject are as RFC 5322 sections 3.6.2 to 3.6.5 have them.  What is passed on is
its text, under what its header says, and its attachments as files: so it is read everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC

from attrs import frozen

from mailrelay.mailbox.model import MailboxMessage
from mailrelay.message.fields import Fields, read_fields
from mailrelay.message.mailboxes import BETWEEN, NamedAddress, list_text
from mailrelay.message.plain import plain_text
from mailrelay.message.structure import front_of_text, read_structure, shown_parts
from mailrelay.pages.letter import MOST_FILES, MOST_PEOPLE, MOST_SUBJECT, MOST_TEXT, How, Letter
from mailrelay.pages.shown import ShownPart, shown_message
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.webhooks.reading import read_header

MOST_QUOTED = MOST_TEXT // 2
"""Characters of another's text; there is room for one's own."""

MOST_REFERENCES = 20
MOST_OF_A_LIST = 200

Owns = Callable[[Address], bool]


@frozen
class Original:
    """What an answer is made of."""

    fields: Fields
    text: str
    attachments: Sequence[ShownPart]

    @property
    def references(self) -> list[str]:
        """The thread, for an answer: the first of it and its last (RFC 5322 section 3.6.4).

        None without a Message-ID: In-Reply-To would name another message.
        """
        own = self.fields.message_id
        if not own or not _is_short(own):
            return []
        thread = [one for one in self.fields.thread if one != own and _is_short(one)]
        return [*thread[:1], *thread[1:][-MOST_REFERENCES:], own]


def original_of(content: bytes) -> Original:
    """What ``content`` says, as far as an answer repeats it."""
    root = read_structure(content)
    text, html = shown_parts(root)
    shown, is_cut = front_of_text(content, text, 4 * MOST_QUOTED)
    if not shown.strip() and html is not None:
        source, is_cut = front_of_text(content, html, 4 * MOST_QUOTED)
        shown = plain_text(source)
    shown = shown.strip("\n")
    if is_cut or len(shown) > MOST_QUOTED:
        shown = f"{shown[:MOST_QUOTED]}\n[...]"
    attachments = shown_message(content).attachments[:MOST_FILES]
    return Original(read_fields(read_header(content)), shown, attachments)


def letter_of(original: Original, listed: MailboxMessage, how: How, owns: Owns) -> Letter:
    """The form, filled in so far.  ``owns`` says whether an address is one's own."""
    to, cc = _recipients(original.fields, how, owns)
    forwards = how is How.FORWARD
    return Letter(
        from_=_receiver(original.fields, listed, owns),
        to=_typed(to),
        cc=_typed(cc),
        subject=_subject(original.fields.subject, forwards=forwards),
        text=_forwarded(original) if forwards else _quoted(original),
        made_of=listed.id,
        how=how,
        parts=[one.place for one in original.attachments] if forwards else (),
    )


def _recipients(
    fields: Fields, how: How, owns: Owns
) -> tuple[Sequence[NamedAddress], Sequence[NamedAddress]]:
    """To and Cc of an answer, RFC 5322 section 3.6.3; one's own addresses are left out."""
    if how is How.FORWARD:
        return (), ()
    authors: Sequence[NamedAddress] = fields.reply_to or fields.from_
    others = [one for one in (*fields.to, *fields.cc) if not owns(one.address)]
    is_own = bool(fields.from_) and all(owns(one.address) for one in fields.from_)
    if is_own and not fields.reply_to:  # a letter of one's own goes to whom it went to
        again = [one for one in fields.to if not owns(one.address)]
        authors = again or authors
    if how is How.REPLY:
        return authors, ()
    known = {one.address for one in authors}
    return authors, _once(one for one in others if one.address not in known)


def _once(people: Iterable[NamedAddress]) -> list[NamedAddress]:
    found: dict[Address, NamedAddress] = {}
    for one in people:
        found.setdefault(one.address, one)
    return list(found.values())


def _typed(people: Sequence[NamedAddress]) -> str:
    """As many of ``people`` as the field takes."""
    fitting: list[str] = []
    left = MOST_PEOPLE
    for one in people[:MOST_OF_A_LIST]:
        text = list_text([one])
        left -= len(text) + len(BETWEEN)
        if left < -len(BETWEEN):
            break
        fitting.append(text)
    return BETWEEN.join(fitting)


def _receiver(fields: Fields, listed: MailboxMessage, owns: Owns) -> str:
    """The address that it came to, where one may send as that; else the first that is one's own."""
    came_to = _address(listed.recipient)
    written = [one.address for one in (*fields.to, *fields.cc)][:MOST_OF_A_LIST]
    own = (one for one in (came_to, *written) if one is not None and owns(one))
    return str(next(own, ""))


def _address(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except MalformedAddress:
        return None


def _subject(subject: str, *, forwards: bool) -> str:
    """RFC 5322 section 3.6.5: Re: once."""
    known = ("fwd:", "fw:") if forwards else ("re:",)
    if subject.lower().startswith(known):
        return subject[:MOST_SUBJECT]
    return f"{'Fwd' if forwards else 'Re'}: {subject}"[:MOST_SUBJECT]


def _quoted(original: Original) -> str:
    fields = original.fields
    who = ", ".join(one.name or one.address.unicode for one in fields.from_[:3]) or "Somebody"
    when = "" if fields.date is None else f"On {_date(fields)} "
    lines = [f">{'' if line[:1] in ('>', '') else ' '}{line}" for line in _lines(original)]
    return "\n".join(["", "", f"{when}{who} wrote:", *lines, ""])[: MOST_TEXT - 1]


def _forwarded(original: Original) -> str:
    fields = original.fields
    said = [
        ("From", list_text(fields.from_[:MOST_OF_A_LIST])),
        ("Date", "" if fields.date is None else _date(fields)),
        ("Subject", fields.subject),
        ("To", list_text(fields.to[:MOST_OF_A_LIST])),
        ("Cc", list_text(fields.cc[:MOST_OF_A_LIST])),
    ]
    front = [f"{name}: {text[:2000]}" for name, text in said if text]
    lines = ["", "", "---------- Forwarded message ----------", *front, "", *_lines(original), ""]
    return "\n".join(lines)[: MOST_TEXT - 1]


def _lines(original: Original) -> list[str]:
    return original.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _date(fields: Fields) -> str:
    assert fields.date is not None
    return fields.date.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _is_short(id_: str) -> bool:
    return len(id_) <= 900 and id_.isascii() and id_.isprintable()
