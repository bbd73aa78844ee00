"""Pictures of how the server was."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.observe.metrics import Spread
from mailrelay.observe.sampling import Sample
from mailrelay.pages.health import memories, rates

NONE = Spread((1.0,), (0, 0), 0.0)


def sample(at: float, memory: int | None = None, **events: int) -> Sample:
    """One in which these events were counted."""
    return Sample(at, events, NONE, NONE, NONE, NONE, memory)


class PictureTests(SynchronousTestCase):
    """Minutes of samples."""

    def test_rates(self) -> None:
        """What came in each minute, the samples on its border in the earlier."""
        chart = rates(
            [
                sample(0),
                sample(50, delivered=5),
                sample(70, delivered=7, failed=1),
                sample(110, delivered=9, failed=1, accepted=4),
            ]
        )
        names = [key.name for key in chart.legend]
        self.assertEqual(names, ["delivered", "delayed", "failed", "accepted"])
        rows = [(row.category.name, list(row.texts)) for row in chart.rows]
        self.assertEqual(rows, [("-1 min", ["5", "0", "0", "0"]), ("now", ["4", "0", "1", "4"])])

    def test_none(self) -> None:
        """Before there are samples there is a picture that says so."""
        for samples in ([], [sample(5)]):
            self.assertEqual(rates(samples).rows, [])

    def test_memory(self) -> None:
        """At the end of each minute; where it is not known there is a gap."""
        chart = memories([sample(0, 1), sample(30, 2_000_000), sample(90), sample(150, 3_000_000)])
        self.assertEqual([row.texts[0] for row in chart.rows], ["2.0 MB", "-", "3.0 MB"])
