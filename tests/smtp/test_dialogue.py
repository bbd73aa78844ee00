"""One transaction as a client, without any wire: what is sent, and what the replies mean."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.address import Address
from mailrelay.smtp.dialogue import (
    Done,
    OutgoingEnvelope,
    OutgoingRecipient,
    Send,
    SendContent,
    SendNothingAsContent,
    Step,
    Transaction,
    Wait,
)
from mailrelay.smtp.extensions import Extensions
from mailrelay.smtp.reply import MalformedReply, Reply, reply

LOST = reply(451, "4.4.2", "connection lost")


def transaction(count: int, *extensions: str) -> Transaction:
    """One for so many recipients at a server with these extensions."""
    recipients = [OutgoingRecipient(Address.parse(f"r{n}@peer.test")) for n in range(count)]
    return Transaction(
        OutgoingEnvelope(Address.parse("a@us.test"), recipients, 10), Extensions.of(extensions)
    )


def fed(dialogue: Transaction, *codes: int) -> Step:
    """The step after the replies of these codes."""
    step: Step = dialogue.start()
    for code in codes:
        step = dialogue.take(Reply(code, f"reply {code}"))
    return step


def codes_of(done: Step) -> list[int]:
    """The recipients' codes."""
    assert isinstance(done, Done), done
    return [answer.code for answer in done.replies]


class DialogueTests(SynchronousTestCase):
    """Steps and outcomes."""

    def test_lock_step(self) -> None:
        """One command at a time, content after 354."""
        dialogue = transaction(2)
        self.assertEqual(dialogue.start(), Send(b"MAIL FROM:<a@us.test>\r\n"))
        self.assertEqual(dialogue.take(Reply(250, "")), Send(b"RCPT TO:<r0@peer.test>\r\n"))
        self.assertEqual(dialogue.take(Reply(250, "")), Send(b"RCPT TO:<r1@peer.test>\r\n"))
        self.assertEqual(dialogue.take(Reply(250, "")), Send(b"DATA\r\n"))
        self.assertTrue(dialogue.awaits_data_reply)
        self.assertEqual(dialogue.take(Reply(354, "")), SendContent(chunked=False))
        self.assertEqual(codes_of(dialogue.take(Reply(251, ""))), [251, 251])

    def test_pipelined(self) -> None:
        """All at once, then the replies in order."""
        dialogue = transaction(1, "PIPELINING")
        together = b"MAIL FROM:<a@us.test>\r\nRCPT TO:<r0@peer.test>\r\nDATA\r\n"
        self.assertEqual(dialogue.start(), Send(together))
        self.assertEqual(dialogue.take(Reply(250, "")), Wait())
        self.assertFalse(dialogue.awaits_data_reply)

    def test_chunks_wait_for_a_recipient(self) -> None:
        """BDAT is no part of the group: nobody may want the content."""
        extensions = ("PIPELINING", "CHUNKING")
        self.assertEqual(fed(transaction(1, *extensions), 250, 250), SendContent(chunked=True))
        self.assertEqual(fed(transaction(1, *extensions), 250, 550), Send(b"RSET\r\n"))

    def test_354_for_nobody(self) -> None:
        """A lone dot answers a 354 that nobody should have given."""
        for mail, rcpt, expected in ((250, 550, 550), (550, 250, 550), (450, 550, 450)):
            dialogue = transaction(1, "PIPELINING")
            self.assertEqual(fed(dialogue, mail, rcpt, 354), SendNothingAsContent())
            self.assertEqual(codes_of(dialogue.take(Reply(554, ""))), [expected])

    def test_data_refused(self) -> None:
        """DATA's refusal is that of all who were accepted; RSET's reply does not matter."""
        for extensions in ((), ("PIPELINING",)):
            dialogue = transaction(2, *extensions)
            self.assertEqual(fed(dialogue, 250, 250, 550, 451), Send(b"RSET\r\n"))
            self.assertEqual(codes_of(dialogue.take(Reply(500, ""))), [451, 550])

    def test_3yz_out_of_turn(self) -> None:
        """Only DATA may be answered with 3yz."""
        for before in ((), (250,), (250, 250, 354)):
            self.assertRaises(MalformedReply, fed, transaction(1), *before, 354)

    def test_broken_off(self) -> None:
        """What was refused stays refused; the rest shares the reason of the break."""
        for codes, expected in (
            ((250,), [451, 451]),
            ((250, 550), [550, 451]),
            ((550,), [550, 550]),
            ((250, 250, 550, 554), [554, 550]),
        ):
            dialogue = transaction(2, "PIPELINING")
            fed(dialogue, *codes)
            self.assertEqual(codes_of(dialogue.broken_off(LOST)), expected)

    @given(st.lists(st.sampled_from([250, 354, 421, 450, 550]), max_size=12), st.booleans())
    def test_nobody_is_delivered_without_a_final_reply(
        self, codes: list[int], pipelined: bool
    ) -> None:
        """Whatever is said: a 2yz outcome only after content was sent and then answered 2yz."""
        dialogue = transaction(3, *(["PIPELINING"] if pipelined else []))
        step: Step = dialogue.start()
        sent = False
        for code in codes:
            try:
                step = dialogue.take(Reply(code, ""))
            except MalformedReply:
                step = dialogue.broken_off(LOST)
            sent = sent or isinstance(step, SendContent)
            if isinstance(step, Done):
                break
        if not isinstance(step, Done):
            step = dialogue.broken_off(LOST)
        replies = codes_of(step)
        self.assertEqual(len(replies), 3)
        if any(code < 300 for code in replies):
            self.assertTrue(sent)
            self.assertEqual(code, 250)
