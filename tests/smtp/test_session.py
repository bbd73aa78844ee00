"""Command order (RFC 5321 section 4.1.4): what may follow what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.session import ALLOWED, ANYTIME, Phase, Sequencer

VERBS = sorted({verb for table in ALLOWED.values() for verb in table} | ANYTIME)

# Written out by hand against the RFCs, so that a slip in the table shows.
MAY = {
    Phase.GREETED: {"EHLO", "HELO", "RSET", "STARTTLS"},
    Phase.READY: {"EHLO", "HELO", "RSET", "STARTTLS", "AUTH", "MAIL"},
    Phase.MAIL_GIVEN: {"EHLO", "HELO", "RSET", "RCPT"},
    Phase.RCPT_GIVEN: {"EHLO", "HELO", "RSET", "RCPT", "DATA", "BDAT"},
    Phase.CHUNKS: {"EHLO", "HELO", "RSET", "BDAT"},
}


class SequencerTests(SynchronousTestCase):
    """Sequencer.refuse and its moves."""

    def test_every_pair(self) -> None:
        """In each phase exactly the right commands are let through, the rest is 503 5.5.1."""
        for phase in Phase:
            for verb in VERBS:
                with self.subTest(f"{verb} in {phase}"):
                    refusal = Sequencer(phase).refuse(verb)
                    if verb in MAY[phase] | ANYTIME:
                        self.assertIsNone(refusal)
                    else:
                        assert refusal is not None
                        self.assertEqual((refusal.code, str(refusal.status)), (503, "5.5.1"))

    def test_a_whole_transaction(self) -> None:
        """EHLO, MAIL, RCPT and DATA lead through the phases and back."""
        sequencer = Sequencer()
        phases = []
        for verb in ("EHLO", "MAIL", "RCPT", "NOOP", "RCPT", "DATA"):
            self.assertIsNone(sequencer.refuse(verb))
            sequencer.accepted(verb)
            phases.append(sequencer.phase)
        self.assertEqual(
            phases,
            [
                Phase.READY,
                Phase.MAIL_GIVEN,
                Phase.RCPT_GIVEN,
                Phase.RCPT_GIVEN,
                Phase.RCPT_GIVEN,
                Phase.READY,
            ],
        )

    def test_chunks_exclude_data(self) -> None:
        """After BDAT, DATA is out of order until the transaction ends (RFC 3030 section 3)."""
        sequencer = Sequencer(Phase.RCPT_GIVEN)
        sequencer.accepted("BDAT")
        self.assertIsNotNone(sequencer.refuse("DATA"))
        self.assertIsNotNone(sequencer.refuse("MAIL"))
        sequencer.transaction_over()
        self.assertEqual(sequencer.phase, Phase.READY)

    def test_starttls_forgets_the_greeting(self) -> None:
        """After STARTTLS, EHLO is needed again (RFC 3207 section 4.2)."""
        sequencer = Sequencer(Phase.READY)
        sequencer.accepted("STARTTLS")
        refusal = sequencer.refuse("MAIL")
        assert refusal is not None
        self.assertIn("EHLO first", refusal.text)

    def test_what_is_needed_is_said(self) -> None:
        """A client that skips a step is told which."""
        for phase, verb, hint in (
            (Phase.GREETED, "MAIL", "EHLO first"),
            (Phase.READY, "RCPT", "MAIL first"),
            (Phase.MAIL_GIVEN, "DATA", "RCPT first"),
        ):
            refusal = Sequencer(phase).refuse(verb)
            assert refusal is not None
            self.assertIn(hint, refusal.text)
        nested = Sequencer(Phase.MAIL_GIVEN).refuse("MAIL")
        assert nested is not None
        self.assertNotIn("first", nested.text)

    def test_end_without_greeting(self) -> None:
        """A transaction's end does not stand in for EHLO."""
        sequencer = Sequencer()
        sequencer.transaction_over()
        self.assertEqual(sequencer.phase, Phase.GREETED)

    @given(st.lists(st.sampled_from(VERBS)))
    def test_content_needs_mail_and_rcpt(self, verbs: list[str]) -> None:
        """No order of commands reaches content without MAIL and RCPT since the last reset."""
        sequencer = Sequencer()
        given_so_far: list[str] = []
        for verb in verbs:
            if sequencer.refuse(verb) is not None:
                continue
            if verb in ("DATA", "BDAT"):
                self.assertIn("RCPT", given_so_far)
                self.assertIn("MAIL", given_so_far)
            sequencer.accepted(verb)
            if verb in ("EHLO", "HELO", "RSET", "STARTTLS", "DATA"):
                given_so_far = []
            given_so_far.append(verb)
