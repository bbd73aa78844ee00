"""What templates are filled with: JSON values, bounded in depth, number and size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from msgspec import Meta

MOST_SIZE = 64 * 1024
"""Of all variables of one message, in characters; what is no string counts as one of some."""

_EACH = 8

Name: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(?!\n)$")
]
FieldName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
Scalar: TypeAlias = (
    Annotated[str, Meta(max_length=MOST_SIZE)]
    | Annotated[int, Meta(ge=-(10**15), le=10**15)]
    | Annotated[float, Meta(ge=-1e15, le=1e15)]
    | bool
    | None
)
_Flat: TypeAlias = (
    Scalar
    | Annotated[list[Scalar], Meta(max_length=8000)]
    | Annotated[dict[FieldName, Scalar], Meta(max_length=500)]
)
_Deep: TypeAlias = (
    Scalar
    | Annotated[list[_Flat], Meta(max_length=8000)]
    | Annotated[dict[FieldName, _Flat], Meta(max_length=500)]
)
_Deeper: TypeAlias = (
    Scalar
    | Annotated[list[_Deep], Meta(max_length=8000)]
    | Annotated[dict[FieldName, _Deep], Meta(max_length=500)]
)
Value: TypeAlias = (
    Scalar
    | Annotated[list[_Deeper], Meta(max_length=8000)]
    | Annotated[dict[FieldName, _Deeper], Meta(max_length=500)]
)
Variables: TypeAlias = Annotated[dict[Name, Value], Meta(max_length=500)]
"""By name; lists and objects nest four deep: orders, their fields, their lines, the lines' fields.

Written out, since a type that names itself has no bound that OpenAPI could tell.
"""


def size_of(value: Any) -> int:
    """How much ``value`` is, in characters."""
    if isinstance(value, str):
        return _EACH + len(value)
    if isinstance(value, Mapping):
        return _EACH + sum(size_of(key) + size_of(one) for key, one in value.items())
    if isinstance(value, range):
        return _EACH + _EACH * len(value)
    if isinstance(value, list | tuple):
        return _EACH + sum(size_of(one) for one in value)
    return _EACH
