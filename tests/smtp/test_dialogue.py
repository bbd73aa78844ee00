"""A transaction as a client: every combination of replies, with and without extensions."""

from __future__ import annotations

from collections import deque
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Line, Mail, Notify, Rcpt, parse_command
from mailrelay.smtp.dialogue import (
    NOT_8BITMIME,
    NOT_REQUIRETLS,
    NOT_SMTPUTF8,
    TOO_BIG,
    Done,
    OutgoingEnvelope,
    OutgoingRecipient,
    Send,
    SendContent,
    SendNothingAsContent,
    Step,
    Transaction,
    Wait,
    refusal_without_asking,
)
from mailrelay.smtp.extensions import NO_EXTENSIONS, Extensions
from mailrelay.smtp.reply import MalformedReply, Reply

SENDER = Address("s", "example.org")
OFFERS = [
    Extensions.of(offered)
    for offered in (
        (),
        ("PIPELINING",),
        ("CHUNKING",),
        ("PIPELINING", "CHUNKING"),
        ("PIPELINING", "CHUNKING", "DSN", "SIZE", "8BITMIME", "SMTPUTF8"),
    )
]


def envelope(count: int = 1, **changes) -> OutgoingEnvelope:
    """An envelope for that many recipients."""
    recipients = [OutgoingRecipient(Address(f"r{i}", "example.net")) for i in range(count)]
    given: dict[str, Any] = {"reverse_path": SENDER, "recipients": recipients, "size_bytes": 10}
    return OutgoingEnvelope(**given | changes)


class Server:
    """Answers what a transaction sends, with codes from a plan, and keeps what it saw."""

    def __init__(self, transaction: Transaction, plan: dict[str, list[int]]) -> None:
        self.transaction = transaction
        self.plan = {verb: deque(codes) for verb, codes in plan.items()}
        self.commands: list[str] = []
        self.contents: list[str] = []
        self.largest_group = 0
        self._unanswered: deque[str] = deque()

    def run(self, cut_after: int | None = None) -> Done:
        """The whole dialogue; the connection is lost after ``cut_after`` replies."""
        self.saw(self.transaction.start())
        for answered in range(1000):
            if answered == cut_after:
                return self.transaction.broken_off(Reply(451, "cut"))
            step = self.transaction.take(self.answer())
            if isinstance(step, Done):
                assert not self._unanswered, "Done, with a reply still to come"
                return step
            self.saw(step)
        raise AssertionError("no end")

    def saw(self, step: Step) -> None:
        """Note what was sent."""
        match step:
            case Send(data):
                lines = data.decode().removesuffix("\r\n").split("\r\n")
                self.largest_group = max(self.largest_group, len(lines))
                self.commands += lines
                self._unanswered.extend(line.split(" ")[0] for line in lines)
            case SendContent():
                assert not self._unanswered, "content before all commands are answered"
                self.contents.append("chunk" if step.chunked else "dots")
                self._unanswered.append("content")
            case SendNothingAsContent():
                assert not self._unanswered
                self.contents.append("nothing")
                self._unanswered.append("content")
            case _:
                assert isinstance(step, Wait) and self._unanswered, "waits for nothing"

    def answer(self) -> Reply:
        """The reply to the oldest command."""
        verb = self._unanswered.popleft()
        codes = self.plan.get(verb)
        default = 354 if verb == "DATA" else 250
        return Reply(codes.popleft() if codes else default, verb)


class CombinationTests(SynchronousTestCase):
    """Every combination of replies to two recipients."""

    def test_all(self) -> None:
        """One reply per recipient, its own; content goes only where somebody wants it."""
        for offered, mail, first, second, data, final in product(
            OFFERS,
            (250, 451, 550),
            (250, 251, 450, 550),
            (250, 452, 553),
            (354, 250, 334, 451, 554),
            (250, 451, 554),
        ):
            plan = {"MAIL": [mail], "RCPT": [first, second], "DATA": [data], "content": [final]}
            if mail != 250 and "PIPELINING" in offered:
                plan["RCPT"] = [503, 503]
            with self.subTest(f"{sorted(offered.offered)} {plan}"):
                self.judge(offered, plan)

    def judge(self, offered: Extensions, plan: dict[str, list[int]]) -> None:
        """Run one combination."""
        server = Server(Transaction(envelope(2), offered), plan)
        codes = [answer.code for answer in server.run().replies]
        [mail], rcpts, [data], [final] = plan["MAIL"], plan["RCPT"], plan["DATA"], plan["content"]
        wanted = mail == 250 and any(code < 300 for code in rcpts)
        chunked = "CHUNKING" in offered
        if not chunked and data != 354:
            final = data if data >= 400 else 451
        for code, own in zip(codes, rcpts, strict=True):
            self.assertEqual(code, mail if mail != 250 else own if own >= 400 else final)
        content = [kind for kind in server.contents if kind != "nothing"]
        if not wanted or (not chunked and data != 354):
            self.assertEqual(content, [])
        else:
            self.assertEqual(content, ["chunk" if chunked else "dots"])
        if "nothing" in server.contents:  # only where a pipelined DATA was taken by mistake
            self.assertIn("PIPELINING", offered)
            self.assertFalse(chunked)
            self.assertEqual(data, 354)
        ended_by_content = bool(server.contents)
        self.assertEqual("RSET" in server.commands, not ended_by_content)

    @given(st.data())
    def test_cut_anywhere(self, data: st.DataObject) -> None:
        """A connection lost after any reply leaves one reply per recipient; refusals stay."""
        code = st.sampled_from([250, 451, 550])
        recipients = data.draw(st.integers(1, 5))
        rcpts = data.draw(st.lists(code, min_size=recipients, max_size=recipients))
        answers = {"DATA": [data.draw(st.sampled_from([354, 554]))], "content": [data.draw(code)]}
        plan = {"MAIL": [data.draw(code)], "RCPT": rcpts} | answers
        offered = data.draw(st.sampled_from(OFFERS))
        whole = Server(Transaction(envelope(recipients), offered), dict(plan)).run().replies
        cut_after = data.draw(st.integers(0, recipients + 3))
        server = Server(Transaction(envelope(recipients), offered), dict(plan))
        cut = server.run(cut_after).replies
        self.assertEqual(len(cut), recipients)
        for answer, complete in zip(cut, whole, strict=True):
            if answer.text == "cut":
                self.assertEqual(answer.code, 451)
            else:
                self.assertEqual(answer, complete)
            if answer.is_positive:  # delivered only when the server said so at the end
                self.assertEqual(answer.text, "content")

    def test_groups(self) -> None:
        """With PIPELINING everything before the content is one group, without, one by one."""
        for offered, largest in zip(OFFERS[:4], (1, 5, 1, 4), strict=True):
            transaction = Transaction(envelope(3), offered)
            server = Server(transaction, {})
            server.run()
            self.assertEqual(server.largest_group, largest)
            self.assertEqual(transaction.pipelined, "PIPELINING" in offered)

    def test_nothing_follows_a_refused_sender(self) -> None:
        """Without PIPELINING, a refused MAIL is followed by RSET only."""
        server = Server(Transaction(envelope(2), NO_EXTENSIONS), {"MAIL": [550]})
        server.run()
        self.assertEqual([line[:4] for line in server.commands], ["MAIL", "RSET"])

    def test_reply_to_data_is_known(self) -> None:
        """The one who waits can tell DATA's reply, which has a timeout of its own."""
        transaction = Transaction(envelope(1), NO_EXTENSIONS)
        self.assertFalse(transaction.awaits_data_reply)
        transaction.start()
        transaction.take(Reply(250, ""))
        self.assertFalse(transaction.awaits_data_reply)
        transaction.take(Reply(250, ""))
        self.assertTrue(transaction.awaits_data_reply)
        transaction.take(Reply(354, ""))
        self.assertFalse(transaction.awaits_data_reply)

    def test_intermediate_reply_out_of_place(self) -> None:
        """A 3yz reply to anything but DATA shows a server that lost count."""
        for before in ([], [250], [250, 250, 354]):
            transaction = Transaction(envelope(1), NO_EXTENSIONS)
            transaction.start()
            for code in before:
                transaction.take(Reply(code, ""))
            self.assertRaises(MalformedReply, transaction.take, Reply(354, ""))

    def test_broken_off_after_the_refusal_of_data(self) -> None:
        """What DATA was refused with stays, though the server hung up on RSET."""
        server = Server(Transaction(envelope(1), NO_EXTENSIONS), {"DATA": [554]})
        self.assertEqual([answer.code for answer in server.run(cut_after=3).replies], [554])

    def test_broken_off_before_anything(self) -> None:
        """Without a single reply, everybody gets the reason."""
        why = Reply(421, "gone")
        self.assertEqual(Transaction(envelope(2), OFFERS[1]).broken_off(why).replies, [why, why])


class CommandTests(SynchronousTestCase):
    """The commands, read back by our own server's grammar."""

    EVERYTHING = Extensions.of(
        ["PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN", "REQUIRETLS", "CHUNKING"]
    )

    def sent(self, offered: Extensions, **changes) -> list[object]:
        """The commands that leave at the start."""
        transaction = Transaction(envelope(**changes), offered)
        return [parse_command(line) for line in transaction.start().data.splitlines()]

    def test_everything_asked_for(self) -> None:
        """Each parameter is sent when offered, and means what it meant."""
        notify = frozenset({Notify.FAILURE, Notify.SUCCESS})
        one = OutgoingRecipient(Address("a b", "example.net"), notify, "rfc822;x+y@example.net")
        other = OutgoingRecipient(Address("é", "example.net"), orcpt=r"utf-8;\x{E9}@example.net")
        self.assertEqual(
            self.sent(
                self.EVERYTHING,
                recipients=[one, other],
                eight_bit=True,
                smtputf8=True,
                require_tls=True,
                ret="HDRS",
                envid="a+b=c",
            ),
            [
                Mail(SENDER, 10, True, True, "HDRS", "a+b=c", require_tls=True),
                Rcpt(one.forward_path, notify, "rfc822;x+y@example.net"),
                Rcpt(other.forward_path, orcpt=r"utf-8;\x{E9}@example.net"),
            ],
        )

    def test_nothing_asked_for(self) -> None:
        """What the message does not ask for is not sent, though it is offered."""
        self.assertEqual(
            self.sent(self.EVERYTHING, reverse_path=None),
            [Mail(None, 10), Rcpt(Address("r0", "example.net"))],
        )

    def test_nothing_offered(self) -> None:
        """What is not offered is not sent, though it is asked for."""
        recipient = OutgoingRecipient(SENDER, frozenset({Notify.NEVER}), "rfc822;a@example.net")
        offered = Extensions.of(["PIPELINING"])
        changes = {"eight_bit": True, "ret": "FULL", "envid": "x"}
        self.assertEqual(
            self.sent(offered, recipients=[recipient], **changes),
            [Mail(SENDER), Rcpt(SENDER), Line("DATA")],
        )


class RefusalTests(SynchronousTestCase):
    """refusal_without_asking: what the EHLO answer alone decides."""

    def test_needs(self) -> None:
        """A message that needs what is not offered is refused for it, by its own reply."""
        for changes, keyword, refusal in (
            ({"smtputf8": True}, "SMTPUTF8", NOT_SMTPUTF8),
            ({"require_tls": True}, "REQUIRETLS", NOT_REQUIRETLS),
            ({"eight_bit": True}, "8BITMIME", NOT_8BITMIME),
        ):
            needy = envelope(**changes)
            self.assertEqual(refusal_without_asking(needy, NO_EXTENSIONS), refusal)
            self.assertIsNone(refusal_without_asking(needy, Extensions.of([keyword])))

    def test_size(self) -> None:
        """Only what is over the limit is too big (RFC 1870 section 6.1)."""
        for line, refusal in {
            "SIZE 9": TOO_BIG,
            "SIZE 10": None,
            "SIZE 0": None,
            "SIZE": None,
        }.items():
            self.assertEqual(refusal_without_asking(envelope(), Extensions.of([line])), refusal)
