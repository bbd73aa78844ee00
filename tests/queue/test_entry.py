"""Entries."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from attrs import evolve, fields

from mailrelay.message.edit import Edit
from mailrelay.queue.entry import Entry, EntryState
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify
from tests.queue.values import destination, entry


class PlacedTests(TestCase):
    """Entry.placed."""

    def test_keeps_all_else(self) -> None:
        """Each other field is as it was, and each has a value here that is not its default."""
        whole = entry(
            queued_at=1.0,
            notify=frozenset({Notify.NEVER}),
            orcpt="rfc822;x@example.net",
            attempts=2,
            last_attempt_at=3.0,
            delay_reported=True,
            from_id="id",
            own_reverse_path=Address("own", "example.org"),
            alias=Address("alias", "example.org"),
            edit=Edit(),
            member_of=4,
            transport="by-hand",
        )
        to = destination()
        placed = whole.placed(EntryState.HELD, 5.0, 6, 7, to)
        changed: Any = {"state": EntryState.HELD, "next_attempt_at": 5.0, "lane": 6, "epoch": 7}
        self.assertEqual(placed, evolve(whole, **changed))
        self.assertIs(placed.destination, to)
        given = {"id", "message", "recipient", "destination", *changed}
        for one in fields(Entry):
            if one.name not in given:
                self.assertNotEqual(getattr(placed, one.name), one.default, one.name)
