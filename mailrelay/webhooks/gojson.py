"""JSON as Go's ``encoding/json`` writes and reads it: the applications of mox expect just that."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec.inspect import (
    BoolType,
    DateTimeType,
    DictType,
    ListType,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    type_info,
)

_INITIALISMS = {
    "id": "ID",
    "ip": "IP",
    "cc": "CC",
    "bcc": "BCC",
    "dsn": "DSN",
    "html": "HTML",
    "smtp": "SMTP",
    "tls": "TLS",
    "dkim": "DKIM",
}

T = TypeVar("T")


def go_name(name: str) -> str:
    """``queue_msg_id`` as Go writes it: ``QueueMsgID``."""
    return "".join(_INITIALISMS.get(word, word.capitalize()) for word in name.split("_"))


class GoStruct(
    msgspec.Struct, frozen=True, kw_only=True, rename=go_name, forbid_unknown_fields=True
):
    """A value whose fields are named as in Go.  Every field has its zero value as default."""


class MalformedJSON(Exception):
    """The text is not JSON, or not of the type that is asked for; the message says where."""


def go_time(at: float) -> str:
    """RFC 3339 in UTC, the fraction without trailing zeros."""
    text = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"


def encode(value: object, *, escape_html: bool = False) -> bytes:
    """``value`` as JSON.  With ``escape_html``, ``<``, ``>`` and ``&`` are written as escapes."""
    # None of these bytes stands outside of a string; U+2028 and U+2029 Go escapes always.
    text = msgspec.json.encode(value)
    text = text.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
    if escape_html:
        for plain, escaped in _HTML:
            text = text.replace(plain, escaped)
    return text


_HTML = ((b"<", rb"\u003c"), (b">", rb"\u003e"), (b"&", rb"\u0026"))


def decode(text: str, type_: type[T]) -> T:
    """The value at the front of ``text``; what follows it is ignored, as Go's decoder does.

    Field names match in any case, unknown ones are refused; null is the zero value.

    Raises: MalformedJSON.
    """
    if not (_has_numbers(cast("Any", type_)) and _LARGE_NUMBER.search(text)):
        # What most programs write can be read at once, in a tenth of the time.
        with suppress(msgspec.MsgspecError, RecursionError):
            plain: T = _plain_decoder(cast("Any", type_)).decode(text)
            return plain
    try:
        found, _ = _DECODER.raw_decode(text.lstrip(" \t\r\n"))
        return msgspec.convert(
            _named({} if found is None else found, _shape(cast("Any", type_))), type_
        )
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise MalformedJSON(str(error) or "nested too deeply") from None


@cache
def _plain_decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_)


@cache
def _shape(type_: Any) -> Type:
    return type_info(type_)


@cache
def _has_numbers(type_: Any) -> bool:
    """Whether a number may stand anywhere in what is read as ``type_``."""
    return _may_be_number(_shape(type_))


def _may_be_number(wanted: Type) -> bool:
    match wanted:
        case StructType():
            return any(_may_be_number(one.type) for one in wanted.fields)
        case ListType():
            return _may_be_number(wanted.item_type)
        case DictType():
            return _may_be_number(wanted.value_type)
        case UnionType():
            return any(map(_may_be_number, wanted.types))
        case _:
            return not isinstance(wanted, StrType | BoolType | NoneType | DateTimeType)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _named(value: Any, wanted: Type) -> Any:
    """``value`` with its objects' keys as ``wanted`` spells them, and without its nulls."""
    match wanted:
        case StructType() if isinstance(value, Mapping):
            return _fields(value, wanted)
        case ListType() if isinstance(value, Sequence) and not isinstance(value, str):
            return [_named(item, wanted.item_type) for item in value]
        case DictType() if isinstance(value, Mapping):
            return {key: "" if item is None else _checked(item) for key, item in value.items()}
        case UnionType():
            inner = [t for t in wanted.types if not isinstance(t, NoneType)]
            return value if value is None or len(inner) != 1 else _named(value, inner[0])
        case _:
            return _checked(value)


def _fields(value: Mapping[str, Any], wanted: StructType) -> dict[str, Any]:
    fields = {field.encode_name.lower(): field for field in wanted.fields}
    named: dict[str, Any] = {}
    for key, item in value.items():
        field = fields.get(key.lower())
        if field is None:
            raise ValueError(f"unknown field {json.dumps(key)}")
        if item is not None:
            named[field.encode_name] = _named(item, field.type)
    return named


def _checked(value: Any) -> Any:
    if isinstance(value, str) and _SURROGATE.search(value):
        raise ValueError("a string is not valid Unicode")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number does not fit into 64 bits")
    return value


_LARGE_NUMBER = re.compile(r"[0-9]{19}")
_SURROGATE = re.compile("[\ud800-\udfff]")
