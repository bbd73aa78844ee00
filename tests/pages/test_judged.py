"""What was judged, in words."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.verdict import Verdict
from mailrelay.pages.judged import judged


class JudgedTests(SynchronousTestCase):
    """judged."""

    def test_nothing(self) -> None:
        """What did not come from outside was not judged."""
        self.assertEqual(judged(None), [])

    def test_results(self) -> None:
        """Each with its word, what that means, and how good it is."""
        found = judged(Verdict("softfail", "fail", "pass", junk="listed", dkim_domains=("a.test",)))
        told = [(one.of, one.word, one.tone) for one in found]
        self.assertEqual(
            told,
            [
                ("SPF", "softfail", "warn"),
                ("DKIM", "pass", "good"),
                ("DMARC", "fail", "bad"),
                ("ARC", "pass", "good"),
                ("Junk", "fail", "bad"),
            ],
        )
        self.assertEqual((found[1].meaning, found[4].meaning), ("signed by a.test", "listed"))
        self.assertTrue(all(one.meaning for one in found))

    def test_every_word(self) -> None:
        """RFC 8601 section 2.7 has others for some; none is without a meaning here."""
        for word in ("pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"):
            self.assertTrue(judged(Verdict(spf=word))[0].meaning, word)
