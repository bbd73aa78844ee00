"""Copies that differ."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.edit import Edit
from tests.queue.values import entry


class GoesWithTests(SynchronousTestCase):
    """Entry.goes_with."""

    def test_other_bytes(self) -> None:
        """One transaction has one content: copies that differ go apart."""
        plain = entry(1)
        edited = evolve(plain, id=2, edit=Edit(b"X: y\r\n"))
        self.assertTrue(plain.goes_with(evolve(plain, id=3)))
        self.assertTrue(edited.goes_with(evolve(edited, id=3)))
        self.assertFalse(plain.goes_with(edited))
