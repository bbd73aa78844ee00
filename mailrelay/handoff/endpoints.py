"""``[[handoff_in]]`` of the configuration: who may hand mail to us by HTTPS, and how we take it."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from enum import Enum

from attrs import field, frozen

from mailrelay.smtp.address import MalformedAddress, normal_domain


class HandOffMode(Enum):
    """What a 200 says; the values are of the configuration."""

    QUEUE = "queue"  # the message is ours, and on stable storage
    SYNC = "sync"  # each recipient's delivery was tried, and came to an end


class Compat(Enum):
    """How mail is answered that cannot be delivered."""

    NATIVE = "native"  # 422, so that the caller returns it
    MAILX = "mailx"  # 200: it is dropped, or put aside


class Policy(Enum):
    """What is done with mail for an address that takes none."""

    REJECT = "reject"
    DROP = "drop"
    DEFER = "defer"


DEFAULT_PATH = "/v1/email"
CHECK = "/domain/check"


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class HandOffInSettings:
    """One endpoint.  With neither tokens nor token_files nobody can use it."""

    name: str = field(metadata=_doc("what the log calls it"))
    path: str = field(
        default=DEFAULT_PATH,
        metadata=_doc("where messages are posted to; several may share one, the token decides"),
    )
    tokens: Sequence[str] = field(
        factory=tuple,
        repr=False,
        metadata=_doc("any of them, as Authorization: Bearer; $PSK is one of the first endpoint"),
    )
    token_files: Sequence[str] = field(
        factory=tuple, metadata=_doc("files whose first lines are such tokens")
    )
    networks: Sequence[str] = field(
        factory=tuple, metadata=_doc("who may call, everybody when empty; 403")
    )
    account: str = field(
        default="",
        metadata=_doc("whose mail it is, limits and suppressions included; nobody's when empty"),
    )
    domains: Sequence[str] = field(
        factory=tuple,
        metadata=_doc("whose mail is taken, all of ours when empty; $DOMAIN, along with $PSK"),
    )
    handoff: HandOffMode = field(
        default=HandOffMode.QUEUE,
        metadata=_doc("queue: 200 when it is durable; sync: 200 when delivery was tried"),
    )
    compat: Compat = field(
        default=Compat.NATIVE,
        metadata=_doc("native: 422 for what cannot be delivered; mailx: 200, and drop it"),
    )
    most_bytes: int = field(default=0, metadata=_doc("largest message, as in [limits] when 0; 413"))
    unknown: Policy | None = field(
        default=None,
        metadata=_doc("reject, drop or defer mail for nobody; unset: reject, or drop with mailx"),
    )
    disabled: Policy | None = field(
        default=None,
        metadata=_doc(
            "the same for aliases and domains that are switched off; unset: as they say, or drop"
            " with mailx"
        ),
    )
    sync_timeout: float = field(
        default=45.0, metadata=_doc("seconds to wait for an attempt with sync; 503")
    )

    @property
    def is_mailx(self) -> bool:
        """Whether it answers as mailx does."""
        return self.compat is Compat.MAILX

    def knows(self, token: str) -> bool:
        """Whether ``token`` is one of its own.  Takes as long for each that is not."""
        given = token.encode("utf-8", "surrogateescape")
        found = False
        for own in self.tokens:
            same = hmac.compare_digest(own.encode(), given)
            found = found or (same and bool(own))
        return found


def problems_of_endpoint(section: HandOffInSettings) -> Iterator[tuple[str, str]]:
    """What is wrong with a section: the setting, and what to do."""
    if not section.name or not section.name.isprintable() or len(section.name) > 64:
        yield "name", "must be 1 to 64 printable characters"
    if not section.path.startswith("/") or not _is_plain(section.path):
        yield "path", f"{section.path!r} must be as {DEFAULT_PATH}"
    for number, token in enumerate(section.tokens, 1):
        if not (token.isascii() and token.isprintable()) or " " in token:
            yield f"tokens[{number}]", "must be printable ASCII without spaces"
    for number, domain in enumerate(section.domains, 1):
        try:
            normal_domain(domain)
        except MalformedAddress as error:
            yield f"domains[{number}]", f"{domain!r} cannot be one: {error}"
    if not 1 <= section.sync_timeout <= 300:
        yield "sync_timeout", "must be from 1 to 300 seconds"


def _is_plain(path: str) -> bool:
    """Whether it is a path that a request has as it is, and no pattern of routes."""
    return len(path) <= 200 and not path.endswith(("/", CHECK)) and not set(path) & set("{}*?#% ")


def problems_together(sections: Sequence[HandOffInSettings]) -> Iterator[tuple[int, str, str]]:
    """What is wrong with one beside the others: its number, the setting, and what to do."""
    names: set[str] = set()
    tokens: set[tuple[str, str]] = set()
    for number, section in enumerate(sections, 1):
        if section.name in names:
            yield number, "name", f"{section.name!r} is another one's, too"
        names.add(section.name)
        own = {(section.path, token) for token in section.tokens if token}
        if own & tokens:
            yield number, "tokens", f"one is another endpoint's of {section.path}, too"
        tokens |= own
