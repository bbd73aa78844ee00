"""``[[handoff]]`` of the configuration: mail that an application takes by HTTPS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from mailrelay.directory.model import HandedOff
from mailrelay.handoff.signing import signing_key
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class HandOffSettings:
    """One endpoint, and the recipients whose mail it takes.  Times are seconds."""

    name: str = field(metadata=_doc("what the history and the log call it"))
    url: str = field(metadata=_doc("where messages are posted to; https, or http on loopback"))
    domains: Sequence[str] = field(
        factory=tuple, metadata=_doc("all of whose addresses it takes, but for those of accounts")
    )
    addresses: Sequence[str] = field(factory=tuple, metadata=_doc("single ones"))
    token: str = field(default="", repr=False, metadata=_doc("sent as Authorization: Bearer"))
    token_file: str = field(default="", metadata=_doc("a file whose first line it is"))
    body: str = field(
        default="raw",
        metadata=_doc("raw: the message as it is; json: parsed, its attachments as links"),
    )
    sign_key: str = field(
        default="",
        repr=False,
        metadata=_doc("NAME:SECRET, of 64 hexadecimal digits: requests are signed with it"),
    )
    sign_key_file: str = field(default="", metadata=_doc("a file whose first line it is"))
    timeout: float = field(default=60.0, metadata=_doc("for one post, the answer included"))
    trusted_ca: str = field(
        default="", metadata=_doc("PEM file to verify against, in place of the system's")
    )
    permanent_statuses: Sequence[int] = field(
        factory=tuple,
        metadata=_doc("of 400, 410, 413, 415 and 422, those that return the mail to its sender"),
    )
    required_text: str = field(
        default="", metadata=_doc("a 2xx without it in the first 64 KiB of its body is tried again")
    )
    most_bytes: int = field(
        default=0, metadata=_doc("larger messages are returned to their sender; 0 is no limit")
    )
    concurrency: int = field(default=10, metadata=_doc("posts at once"))
    synchronous: bool = field(
        default=False,
        metadata=_doc("its answer is the reply to whoever sends by SMTP; nothing is queued"),
    )
    allowed_networks: Sequence[str] = field(
        factory=tuple, metadata=_doc("networks it may be in though they are not on the internet")
    )


RAW, JSON = "raw", "json"

PERMANENT = frozenset({400, 410, 413, 415, 422})
"""What may be set to be final: all else is said by what stands between, or for now."""


def handed_off(sections: Sequence[HandOffSettings]) -> Mapping[str, HandedOff]:
    """Which endpoint takes an address, or ``@domain``, of sections without problems."""
    found = {}
    for section in sections:
        endpoint = HandedOff(section.name, section.concurrency, section.synchronous)
        for domain in section.domains:
            found[f"@{normal_domain(domain)}"] = endpoint
        for text in section.addresses:
            address = Address.parse(text)
            found[f"{address.localpart.lower()}@{address.domain}"] = endpoint
    return found


def problems_of(section: HandOffSettings) -> Iterator[tuple[str, str]]:
    """What is wrong with a section: the setting, and what to do."""
    yield from _url_problems(section.url)
    yield from _recipient_problems(section)
    for number, status in enumerate(section.permanent_statuses, 1):
        if status not in PERMANENT:
            said = f"must be one of {', '.join(map(str, sorted(PERMANENT)))}, not {status}"
            yield f"permanent_statuses[{number}]", said
    if not section.name or not section.name.isprintable() or len(section.name) > 64:
        yield "name", "must be 1 to 64 printable characters"
    if not (section.token.isascii() and section.token.isprintable()):
        yield "token", "must be printable ASCII"
    yield from _request_problems(section)
    if not 1 <= section.timeout <= 300:
        yield "timeout", "must be from 1 to 300 seconds"
    if section.concurrency < 1:
        yield "concurrency", "must be at least 1"


def _request_problems(section: HandOffSettings) -> Iterator[tuple[str, str]]:
    if section.body not in (RAW, JSON):
        yield "body", f"must be {RAW} or {JSON}, not {section.body!r}"
    if section.body == JSON and section.synchronous:
        yield "body", "must be raw with synchronous: links lead to what is queued"
    if section.sign_key:
        try:
            signing_key(section.sign_key)
        except ValueError as error:
            yield "sign_key", str(error)


def _recipient_problems(section: HandOffSettings) -> Iterator[tuple[str, str]]:
    if not section.domains and not section.addresses:
        yield "domains", "is empty, and so is addresses: whose mail does it take?"
    for name, texts, parse in (
        ("domains", section.domains, normal_domain),
        ("addresses", section.addresses, Address.parse),
    ):
        for number, text in enumerate(texts, 1):
            try:
                parse(text)
            except MalformedAddress as error:
                yield f"{name}[{number}]", f"{text!r} cannot be one: {error}"


def _url_problems(url: str) -> Iterator[tuple[str, str]]:
    try:
        destination = parse_url(url)
    except UnusableURL as error:
        yield "url", f"{url!r} cannot be used: {error}"
        return
    if destination.scheme != "https" and not destination.is_loopback:
        yield "url", "must begin with https://: in clear, token and mail are for everybody"
