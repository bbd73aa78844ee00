"""Bytes in a charset that a message names, as text.  Never raises, whatever the name."""

from __future__ import annotations

from encodings import normalize_encoding
from encodings.aliases import aliases

# Only names that are known here reach the codec registry: it keeps every name it was ever
# asked for, imports modules by them, and has codecs that are no charsets or not linear.
_NO_CHARSETS = {
    "base64_codec",
    "bz2_codec",
    "hex_codec",
    "mbcs",
    "quopri_codec",
    "rot_13",
    "uu_codec",
    "zlib_codec",
}
_WITHOUT_ALIAS = {"cp720", "cp856", "cp874", "cp875", "koi8_t", "koi8_u", "utf_8_sig"}
_CODECS = frozenset((set(aliases.values()) | _WITHOUT_ALIAS) - _NO_CHARSETS)


def text_of(data: bytes, charset: str) -> str:
    """``data`` decoded; what cannot be is replaced.  The text has no lone surrogates.

    What claims to be ASCII and is not, and what has an unknown charset, is taken for UTF-8 if it
    can be that, and for windows-1252 if not.
    """
    codec = _codec(charset)
    if codec in (None, "ascii"):
        try:
            return data.decode()
        except UnicodeDecodeError:
            codec = "cp1252"
    return _without_surrogates(data.decode(codec or "ascii", "replace"))


def is_known(charset: str) -> bool:
    """Whether ``charset`` names one that can be decoded."""
    return _codec(charset) is not None


def _codec(charset: str) -> str | None:
    if not charset.isascii() or len(charset) > 40:
        return None
    name = normalize_encoding(charset.strip().lower()).lower()
    name = name.removesuffix("_i").removesuffix("_e")  # iso-8859-8-i: the order of what is shown
    codec = aliases.get(name, name)
    return codec if codec in _CODECS else None


def _without_surrogates(text: str) -> str:
    """UTF-7 can write half a pair."""
    return text.encode("utf-8", "replace").decode()
