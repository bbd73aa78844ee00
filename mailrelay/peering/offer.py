"""What a peer says of the message that it hands to us: the first line of the body.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from attrs import frozen
from msgspec import Meta, Struct

from mailrelay.message.words import CONTROLS
from mailrelay.peering.door import Refusal
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.smtp.command import Mail, Notify, Rcpt, original_recipient

LONGEST_META = 1024 * 1024
MOST_HOPS = 8
MOST_EXTRA, LONGEST_EXTRA_NAME, LONGEST_EXTRA = 100, 100, 1000
FURTHEST_RELEASE = 60 * 86400.0
"""Seconds that a message may be asked to wait."""

_Line = Annotated[str, Meta(max_length=320)]
_Text = Annotated[str, Meta(max_length=LONGEST_EXTRA)]
_Wanted = list[Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"]]


class _Offer(Struct, frozen=True):
    v: Literal[1]
    msg_id: Annotated[str, Meta(min_length=1, max_length=200)]
    mail_from: _Line
    rcpt_to: Annotated[list[_Line], Meta(min_length=1, max_length=10_000)]
    envid: Annotated[str, Meta(max_length=100)] | None = None
    ret: Literal["FULL", "HDRS"] | None = None
    notify: Annotated[_Wanted, Meta(max_length=4)] | dict[_Line, _Wanted] | None = None
    orcpt: dict[_Line, Annotated[str, Meta(max_length=500)]] | None = None
    expires_at: float | None = None
    not_before: float | None = None
    priority: Literal["", "low", "normal", "high", "urgent"] = ""
    require_tls: bool = False
    smtputf8: bool = False
    hops: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=50)] = []
    extra: Annotated[dict[_Text, _Text], Meta(max_length=MOST_EXTRA)] = {}


@frozen
class Offer:
    """A message that is offered.  ``recipients`` are as they are written, and those understood."""

    msg_id: str
    mail: Mail
    recipients: Sequence[tuple[str, Rcpt | None]]
    expires_at: float | None
    is_urgent: bool
    hops: tuple[str, ...]
    extra: Mapping[str, str]


def read_offer(line: bytes, now: float) -> Offer:
    """The offer in the first line of a body.  Raises: Refusal, which names the field."""
    said, unknown = _decoded(line)
    extra = {**said.extra, **{name: _as_text(value) for name, value in unknown.items()}}
    _check_extra(extra)
    if CONTROLS.search(said.msg_id):
        raise _wrong("msg_id", "has a control character")
    envid = said.envid or ""
    if not (envid.isascii() and envid.isprintable()):  # RFC 3461 section 4.4
        raise _wrong("envid", "has control characters, or some beyond ASCII")
    if any(CONTROLS.search(hop) for hop in said.hops):
        raise _wrong("hops", "has a control character")
    if said.not_before is not None and not said.not_before < now + FURTHEST_RELEASE:
        raise _wrong("not_before", "is too far ahead")
    mail = Mail(
        _reverse_path(said.mail_from),
        smtputf8=True,  # acceptance looks whether it is needed
        ret=said.ret,
        envid=said.envid,
        require_tls=said.require_tls,
        hold_until=said.not_before,
    )
    return Offer(
        said.msg_id,
        mail,
        [(text, _recipient(text, said)) for text in said.rcpt_to],
        said.expires_at,
        said.priority in ("high", "urgent"),
        tuple(said.hops),
        extra,
    )


def _decoded(line: bytes) -> tuple[_Offer, Mapping[str, Any]]:
    try:
        values = msgspec.json.decode(line, type=dict[str, Any])
        said = msgspec.convert(values, _Offer)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"meta: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "the first line of the body is not a JSON object") from None
    known = set(_Offer.__struct_fields__)
    return said, {name: value for name, value in values.items() if name not in known}


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _check_extra(extra: Mapping[str, str]) -> None:
    if len(extra) > MOST_EXTRA:
        raise _wrong("extra", f"has more than {MOST_EXTRA} keys")
    for name, value in extra.items():
        if len(name) > LONGEST_EXTRA_NAME or len(value) > LONGEST_EXTRA:
            raise _wrong("extra", "has a key or value that is too long")
        if CONTROLS.search(name) or CONTROLS.search(value):
            raise _wrong("extra", "has a control character")


def _reverse_path(text: str) -> Address | None:
    try:
        return Address.parse(text) if text else None
    except MalformedAddress as error:
        raise _wrong("mail_from", str(error)) from None


def _recipient(text: str, said: _Offer) -> Rcpt | None:
    """The forward-path with what is asked for it; None when it is no address."""
    try:
        path = Address.parse(text)
    except MalformedAddress:
        return None
    notify = said.notify or []
    wanted = notify.get(text, []) if isinstance(notify, dict) else notify
    if "NEVER" in wanted and len(wanted) > 1:
        raise _wrong("notify", "has NEVER beside others")
    orcpt = (said.orcpt or {}).get(text)
    try:
        original = original_recipient(orcpt) if orcpt is not None else None
    except ValueError as error:
        raise _wrong("orcpt", str(error)) from None
    return Rcpt(path, frozenset(Notify(one) for one in wanted), original)


def _wrong(field: str, text: str) -> Refusal:
    return Refusal(400, f"{field} {text}")
