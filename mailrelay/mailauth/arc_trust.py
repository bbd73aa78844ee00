"""What the seals of servers that we trust say of a message's author (RFC 8617 section 7.2).  Pure.

A server that changed a message breaks its author's signature, and one that passes it on breaks SPF.
What a trusted one found before, its seal tells; what others found, or what was found before others
had the message, tells nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from mailrelay.mailauth.arc import ARCSet
from mailrelay.mailauth.arc_verify import ARCOutcome

MOST_BYTES = 16 * 1024
"""Of a field, that are looked at."""


def vouched_by(found: ARCOutcome, trusted: Collection[str], author: str) -> str:
    """Who found a message to be of the domain ``author``; "" where nobody whom we trust did.

    Trusted are domains that sealed it, and nobody else after them.
    """
    if not author:
        return ""
    for one in _trusted_sets(found, trusted):
        if any(_is_of(author, method, values) for method, values in results_in(one.results)):
            return one.seal.domain
    return ""


def _trusted_sets(found: ARCOutcome, trusted: Collection[str]) -> Iterator[ARCSet]:
    """From the newest one on, as far as one of ours follows another."""
    sets = found.chain.sets if found.sealers else ()
    for one in reversed(sets):
        if one.seal.domain not in trusted:
            return
        yield one


def results_in(field: bytes) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The methods that passed, by an ARC-Authentication-Results field, and their properties."""
    text = field.partition(b":")[2][:MOST_BYTES].decode("utf-8", "replace")
    for method, *properties in _statements(text):
        name, _, result = method.partition("=")
        if result.lower() == "pass":
            pairs = (one.partition("=") for one in properties)
            yield name.partition("/")[0].lower(), {key.lower(): value for key, _, value in pairs}


def _statements(text: str) -> Iterator[list[str]]:
    """The words between semicolons, without comments, and without the quotes of what is quoted."""
    words, word, depth, is_quoted = [], "", 0, False
    characters = iter(text + ";")
    for one in characters:
        if one == "\\" and (is_quoted or depth):
            escaped = next(characters, "")
            word += escaped if is_quoted else ""
        elif one == '"' and not depth:
            is_quoted = not is_quoted
        elif is_quoted:
            word += one
        elif one in "()":
            depth = max(0, depth + (1 if one == "(" else -1))
        elif depth:
            continue
        elif one in "; \t\r\n":
            words += [word] if word else []
            word = ""
            if one == ";" and words:
                yield words
                words = []
        else:
            word += one


def _is_of(author: str, method: str, values: Mapping[str, str]) -> bool:
    """Whether a method that passed says that a message is of that domain."""
    if method == "dmarc":
        return values.get("header.from", "").lower() == author
    if method != "dkim":
        return False
    signer = values.get("header.d") or values.get("header.i", "").rpartition("@")[2]
    return signer.lower() == author
