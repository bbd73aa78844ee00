"""Bodies, queries and paths as typed values; what does not fit is a Problem with its field."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from attrs import frozen

from mailrelay.message.words import CONTROLS
from mailrelay.web.body import BodyRefused, BodyTooLarge
from mailrelay.web.intake import Intake
from mailrelay.web.request import Request
from mailrelay.webapi.v1.fields import LARGEST_ID
from mailrelay.webapi.v1.problems import (
    INVALID_FIELD,
    MALFORMED,
    NO_SUCH,
    OVERLOADED,
    TOO_LARGE,
    UNSUPPORTED_TYPE,
    Problem,
)

T = TypeVar("T")

MOST_ID_DIGITS = 16


@frozen
class Read(Generic[T]):
    """A body as a value, and the SHA-256 of its bytes if asked for; ``done`` ends its use."""

    value: T
    digest: bytes
    done: Callable[[], None]


async def read_json(
    request: Request, type_: type[T], intake: Intake, limit: int, *, is_hashed: bool
) -> Read[T]:
    """The body as a ``type_``, with its hash if ``is_hashed``.

    A large one is decoded by a worker, and few are in memory at once.  No body at all is an empty
    object, where that is one.  Raises: Problem, Refused.
    """
    if _is_absent(request) and may_be_empty(type_):
        return Read(*_decoded(b"{}", type_, is_hashed=is_hashed), _nothing)
    check_content_type(request, "application/json")
    try:
        collected = await intake.collect(request.body, limit)
    except BodyRefused as error:
        raise problem_of_body(error) from None
    try:
        if not collected.is_large:
            return Read(*_decoded(await collected.bytes(), type_, is_hashed=is_hashed), _nothing)
        give_back = await intake.take_turn()
        try:
            data = await collected.bytes()
            read = await intake.executor.run(_decoded, data, type_, is_hashed=is_hashed)
        except BaseException:
            give_back()
            raise
        return Read(*read, give_back)
    finally:
        await collected.close()


def may_be_empty(type_: type[object]) -> bool:
    """Whether each field of ``type_`` may be left out."""
    return not any(field.required for field in msgspec.structs.fields(type_))  # type: ignore[arg-type]


def _is_absent(request: Request) -> bool:
    return request.body.declared_length == 0 and request.headers.get("content-type") is None


def _decoded(data: bytes, type_: type[T], *, is_hashed: bool) -> tuple[T, bytes]:
    return decode_json(data, type_), hashlib.sha256(data).digest() if is_hashed else b""


def _nothing() -> None:
    """Nothing is held."""


def problem_of_body(error: BodyRefused) -> Problem:
    """A body that is not as it must be."""
    if isinstance(error, BodyTooLarge):
        return Problem(TOO_LARGE, str(error).strip())
    kind = OVERLOADED if error.status == 503 else MALFORMED
    return Problem(kind, str(error).strip())


def check_content_type(request: Request, wanted: str) -> None:
    """Raises: Problem, unless the body is said to be ``wanted``."""
    given = request.headers.get("content-type") or ""
    media_type, _, parameters = given.partition(";")
    charset = re.fullmatch(r'\s*charset="?([^";]*)"?\s*', parameters, re.IGNORECASE)
    if media_type.strip().lower() != wanted or (charset and charset[1].lower() != "utf-8"):
        raise Problem(UNSUPPORTED_TYPE, f"the Content-Type must be {wanted}, in UTF-8")


def decode_json(data: bytes, type_: type[T]) -> T:
    """``data`` as a ``type_``.  Raises: Problem."""
    try:
        value = msgspec.json.decode(data, type=type_)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except msgspec.DecodeError as error:
        raise Problem(MALFORMED, f"the body is no JSON: {error}") from None
    except (UnicodeDecodeError, RecursionError):
        raise Problem(MALFORMED, "the body is no JSON in UTF-8, or nested too deep") from None
    if _ESCAPED_NUL in data:
        _refuse_nul(msgspec.to_builtins(value), "")
    return value


_ESCAPED_NUL = b"\\u0000"


def _refuse_nul(value: object, place: str) -> None:
    """Raises: Problem, for a string with a NUL: not every store can keep one."""
    if isinstance(value, str) and "\0" in value:
        raise Problem(INVALID_FIELD, "has the control character U+0000", place)
    if isinstance(value, dict):
        for name, one in value.items():
            _refuse_nul(one, f"{place}.{_shown(name)}" if place else _shown(name))
    if isinstance(value, list):
        for number, one in enumerate(value):
            _refuse_nul(one, f"{place}[{number}]")


def read_query(request: Request, type_: type[T]) -> T:
    """The query string as a ``type_``, each field given once.  Raises: Problem, Refused."""
    fields = request.query_fields()
    struct: Any = type_
    lists = {f.encode_name for f in msgspec.structs.fields(struct) if _is_list(f.type)}
    values: dict[str, object] = {}
    for name, given in fields.items():
        if any(CONTROLS.search(text) for text in given):
            raise Problem(INVALID_FIELD, "has a control character", _shown(name))
        if name in lists:
            values[name] = list(given)
            continue
        if len(given) > 1:
            raise Problem(INVALID_FIELD, "is given more than once", _shown(name))
        values[name] = given[0]
    try:
        return msgspec.convert(values, type_, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None


def _is_list(type_: object) -> bool:
    described = msgspec.inspect.type_info(type_)
    return isinstance(described, msgspec.inspect.ListType)


def path_id(text: str) -> int:
    """An id of a path.  Raises: Problem."""
    if text.isascii() and text.isdigit() and len(text) <= MOST_ID_DIGITS and text[0] != "0":
        number = int(text)
        if number <= LARGEST_ID:
            return number
    raise Problem(NO_SUCH, "there is nothing of that id")


def _invalid(error: msgspec.ValidationError) -> Problem:
    """msgspec's message, with its place as our clients write it."""
    text, _, place = str(error).partition(" - at `")
    text = text.removeprefix("Object ")
    field = place.rstrip("`").removeprefix("key` in `").removeprefix("$").lstrip(".")
    named = _NAMED.fullmatch(text)
    if named is not None:
        field = f"{field}.{named[2]}" if field else named[2]
        text = "is required" if named[1].startswith("missing") else "is not a field of this"
    return Problem(INVALID_FIELD, text[:1].lower() + text[1:], _shown(field))


_NAMED = re.compile(r"(missing required|contains unknown) field `(.*)`", re.DOTALL)


def _shown(field: str) -> str:
    return CONTROLS.sub("?", field)[:200]
