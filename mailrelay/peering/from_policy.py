"""What becomes of the From field of what a peer hands to us.  Pure.

With ``REWRITE`` the message is from an address of ours, under its author's name; whoever answers
writes to the author.  All other fields stay, but those that a new From makes untrue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailrelay.directory.peers import FromPolicy, PeerOptions
from mailrelay.message.header import HeaderTooLarge, addresses_in, parse_header
from mailrelay.message.mailboxes import NamedAddress, hides_address, mailboxes_in
from mailrelay.message.words import Folding, add_phrase
from mailrelay.policy.relay import NO_FROM
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply, reply

NOT_FROM_THERE = reply(550, "5.7.1", "the peer may not send From this domain")


def refuse_from_of_peer(head: bytes, options: PeerOptions) -> Reply | None:
    """The reply to a message of a peer with a From field that it must not have."""
    try:
        header = parse_header(head)
    except HeaderTooLarge as error:
        return reply(552, "5.3.4", str(error))
    written = header.first("from") or ""
    authors = addresses_in(written)
    if header.count("from") != 1 or not authors or hides_address(written):
        return NO_FROM
    if options.from_policy is FromPolicy.REWRITE or not options.from_domains:
        return None
    allowed = {domain.lower() for domain in options.from_domains}
    return None if all(one.domain.lower() in allowed for one in authors) else NOT_FROM_THERE


def with_own_from(content: bytes, address: Address) -> bytes:
    """``content``, whose header has a From field, from ``address``."""
    header = parse_header(content)
    end = header.size_bytes
    authors = mailboxes_in(header.first("from") or "")
    name = authors[0].name if len(authors) == 1 else ""
    fields = [_field("From", [NamedAddress(name, address)])]
    if not header.count("reply-to"):
        fields.append(_field("Reply-To", authors))
    kept = _UNTRUE.sub(b"", content[:end])
    return "".join(fields).encode() + kept + content[end:]


def _field(name: str, people: Sequence[NamedAddress]) -> str:
    folding = Folding(f"{name}:")
    for number, person in enumerate(people):
        if person.name:
            add_phrase(folding, " ", person.name, utf8=False)
        folding.add(" ", f"<{person.address}>" + ("," if number < len(people) - 1 else ""))
    return f"{folding.text}\r\n"


_UNTRUE = re.compile(
    rb"(?im)^(?:from|sender|return-path|dkim-signature|domainkey-signature)[ \t]*:[^\n]*"
    rb"(?:\n[ \t][^\n]*)*(?:\n|\Z)"
)
"""Fields that say who wrote it, or that were signed with the old From."""
