"""Domains below which others register theirs, by the list that publicsuffix.org keeps."""

from __future__ import annotations

from functools import cache

from publicsuffixlist import PublicSuffixList


@cache
def public_suffixes() -> PublicSuffixList:
    """The list as the library has it: of registries, not of those who rent out names.

    Reading it takes a tenth of a second.
    """
    return PublicSuffixList(only_icann=True)


def is_public_suffix(name: str) -> bool:
    """Whether nobody has ``name`` for himself."""
    return bool(public_suffixes().is_public(name))
