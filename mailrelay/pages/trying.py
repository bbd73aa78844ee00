"""Messages to try the server with: to oneself, and in a localserve to those who fail."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

SUBJECT = "A test message"
TEXT = "This message was sent from a page of mailrelay.\n"


@frozen
class Tried:
    """An address, and what becomes of a message to it (policy/simulated)."""

    address: str
    what: str


_SIMULATED = (
    Tried("you@example.org", "is delivered into this account's mailbox, as all addresses are"),
    Tried("busy421@localhost", "is put off with 421 at every attempt; so with any 400 to 499"),
    Tried("temperror@localhost", "is put off with 451 at every attempt, and fails in the end"),
    Tried("full552@localhost", "fails with 552 and comes back as a report; so with any 500 to 599"),
    Tried("permerror@localhost", "fails with 550, and comes back as a report"),
    Tried("timeout@localhost", "is put off with 451, after an hour without an answer"),
)


def tried_addresses(*, simulates: bool) -> Sequence[Tried]:
    """Those that a server has for it: only one that ``simulates`` has any."""
    return _SIMULATED if simulates else ()
