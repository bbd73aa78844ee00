"""Times as people give them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.errors import Refusal
from mailrelay.pages.times import field_text, read_time

NOW = 1_000_000.0


class TimeTests(SynchronousTestCase):
    """``read_time``."""

    def test_understood(self) -> None:
        """A time of a zone or of UTC, a day, or how long from now."""
        for text, at in {
            "": None,
            "   ": None,
            "in 5 minutes": NOW + 300,
            "in 1 minute": NOW + 60,
            "in 30min": NOW + 1800,
            "In 2 Hours": NOW + 7200,
            "in 3 d": NOW + 3 * 86400,
            "1970-01-02": 86400.0,
            "1970-01-01T01:00": 3600.0,
            "1970-01-01t01:00:30z": 3630.0,
            "1970-01-01T01:00:00+01:00": 0.0,
        }.items():
            self.assertEqual(read_time(text, NOW), at, text)

    def test_not_understood(self) -> None:
        """What to write is said."""
        for text in ("soon", "in x hours", "in -1 hours", "9" * 500, "1970-13-01", "in 5 years"):
            error = self.assertRaises(Refusal, read_time, text, NOW)
            self.assertIn("in 30 minutes", str(error))

    @given(st.text(max_size=60))
    def test_anything(self, text: str) -> None:
        """Whatever is typed, it is a time, none, or refused."""
        try:
            at = read_time(text, NOW)
        except Refusal:
            return
        if at is not None:
            self.assertEqual(field_text(at)[:4].isdigit(), True)

    def test_field(self) -> None:
        """It is read as it was written."""
        self.assertEqual(read_time(field_text(86460.0), NOW), 86460.0)
        self.assertEqual(field_text(None), "")
