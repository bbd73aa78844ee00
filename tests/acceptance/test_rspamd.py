"""rspamd as a judge: what it is told, what becomes of its answers, and of its silence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.greylisting import Greylist, GreylistSettings
from mailrelay.acceptance.judging import Judgement
from mailrelay.acceptance.rspamd import OnFailure, OnReject, Rspamd, RspamdSettings
from mailrelay.acceptance.rspamd_answer import (
    MOST_FIELDS,
    MOST_SYMBOLS,
    UnusableAnswer,
    field_text,
    fields_of,
    read_answer,
)
from mailrelay.message.edit import Edit
from mailrelay.message.verdict import Verdict
from mailrelay.net.http import Body, CallFailed, HTTPAnswer, StreamedBody
from tests.acceptance.arrivals import arrived
from tests.acceptance.test_greylisting import FakeGreylistStore

NOTHING = Judgement()
URL = "http://rspamd.test:11333/"


def answer(action: str = "no action", score: float = 1.5, **more: Any) -> bytes:
    """What rspamd answers."""
    return json.dumps({"action": action, "score": score, "required_score": 15.0, **more}).encode()


@define
class FakeHTTP:
    """What makes requests: one answer for all of them."""

    body: bytes = answer()
    status: int = 200
    is_whole: bool = True
    failing: bool = False
    calls: list[tuple[str, Mapping[str, str], bytes, float]] = field(factory=list)

    async def post(
        self, url: str, headers: Mapping[str, str], body: Body, timeout: float
    ) -> HTTPAnswer:
        """See HTTPClient."""
        sent = body
        if isinstance(sent, StreamedBody):
            sent = sent.head + await sent.read(0, sent.length)
        assert isinstance(sent, bytes)
        self.calls.append((url, headers, sent, timeout))
        if self.failing:
            raise CallFailed("no answer within 10 seconds")
        return HTTPAnswer(self.status, {}, self.body, self.is_whole)


class RspamdTests(SynchronousTestCase):
    """The judge."""

    def setUp(self) -> None:
        """An rspamd that has nothing to say against it."""
        self.http, self.now = FakeHTTP(), 1_900_000_000.0
        self.content = b"From: a@far.test\r\nSubject: x\r\n\r\nhi\r\n"

    def judge(
        self, found: Judgement = NOTHING, *, is_spooled: bool = False, **settings: Any
    ) -> Judgement:
        """What it finds."""
        made = RspamdSettings(URL, **settings)
        store = FakeGreylistStore()
        if not hasattr(self, "greylist"):
            now = lambda: self.now  # noqa: E731
            self.greylist = Greylist(GreylistSettings(), store, now, b"secret")
        self.made = Rspamd(
            made, self.http, "mx.example.org", lambda: "0123456789" * 4, self.greylist
        )
        one = arrived(
            self.content,
            recipients=("user@example.org", "other@example.org"),
            is_spooled=is_spooled,
        )
        return self.successResultOf(Deferred.fromCoroutine(self.made.judge(one, found)))

    def test_asked(self) -> None:
        """It is sent the message, from memory or the spool, and who sends it to whom."""
        for is_spooled in (False, True):
            self.judge(is_spooled=is_spooled, password="secret", timeout=3.0)
        (url, headers, sent, timeout), second = self.http.calls
        self.assertEqual((url, timeout), ("http://rspamd.test:11333/checkv2", 3.0))
        self.assertEqual((sent, second[2]), (self.content, self.content))
        self.assertEqual(
            headers,
            {
                "Flags": "milter",
                "MTA-Name": "mx.example.org",
                "Queue-Id": "0123456789012345",
                "From": "a@far.test",
                "Rcpt": "user@example.org, other@example.org",
                "IP": "192.0.2.9",
                "Helo": "client.test",
                "Password": "secret",
            },
        )

    def test_actions(self) -> None:
        """Each action has its end."""
        junk = Judgement(verdict=Verdict(junk="before"))
        cases: tuple[tuple[str, dict[str, Any], str, bool], ...] = (
            ("no action", {}, "", False),
            ("add header", {}, "", True),
            ("rewrite subject", {}, "", True),
            ("soft reject", {}, "451 4.7.1 not now: come?again", False),
            ("reject", {}, "550 5.7.1 the message is refused: come?again", False),
            ("reject", {"on_reject": OnReject.JUNK}, "", True),
            ("greylist", {}, "451 4.7.1 greylisted, try again in 61 seconds", False),
        )
        for action, settings, refusal, is_junk in cases:
            self.http.body = answer(action, messages={"smtp_message": "come\nagain"})
            found = self.judge(**settings)
            said = str(found.refusal or "")
            self.assertEqual((said, found.verdict.is_junk), (refusal, is_junk), action)
            self.assertEqual(found.refused_by, "rspamd" if refusal else "")
            if not refusal:
                self.assertEqual(self.judge(junk, **settings).verdict.junk, "before")
        self.http.body = answer("reject")
        self.assertIn("it looks like spam", str(self.judge().refusal))

    def test_greylisted(self) -> None:
        """Whom it would have come again is taken when it does."""
        self.http.body = answer("greylist")
        self.assertIsNotNone(self.judge().refusal)
        self.now += 60
        found = self.judge()  # the first recipient's time is over; the second was not asked about
        self.assertIsNotNone(found.refusal)
        self.now += 60
        self.assertEqual((self.judge().refusal, self.judge().verdict.is_junk), (None, False))

    def test_told(self) -> None:
        """Its finding is told in fields and to the history; what matters most comes first."""
        symbols = {"A": {"score": -3.0}, "B_<x>": {"score": 5.25}, "C": {"score": 0.0}}
        self.http.body = answer("add header", 7.0, symbols=symbols)
        found = self.judge()
        self.assertEqual(
            found.fields,
            b"X-Spam-Status: Yes, score=7.00 required=15.00 action=add-header\r\n"
            b"X-Spam: Yes\r\n"
            b"X-Spam-Symbols: B_<x>(5.25) A(-3.00) C(0.00)\r\n",
        )
        line = "rspamd says add header, 7.00 of 15.00: B_<x>(5.25), A(-3.00), C(0.00)"
        self.assertEqual((found.verdict.reasons, found.verdict.junk), ((line,), line))

    def test_foreign_fields(self) -> None:
        """X-Spam fields that others put in go, whatever it says or if it says nothing."""
        self.content = (
            b"X-Spam: No\r\nx-spam-status: No,\r\n\tscore=-5\r\nFrom: a@far.test\r\n"
            b"X-Spammy: 1\r\nX-Spam-Score: -9\r\nX-Other: 2\r\n\r\nX-Spam: body\r\n"
        )
        left = b"From: a@far.test\r\nX-Spammy: 1\r\nX-Other: 2\r\n\r\nX-Spam: body\r\n"
        for failing in (False, True):
            self.http.failing = failing
            hidden = self.judge().hidden
            self.assertEqual(Edit(stretches=hidden).edited(self.content), left)
        self.http.failing = False
        self.http.body = answer(milter={"remove_headers": {"X-Other": 0, "From": 0, "X-Spam": 0}})
        first = (self.content.index(b"From:"), self.content.index(b"X-Spammy"), b"")
        before = Judgement(hidden=(first,))
        hidden = self.judge(before).hidden
        gone = left.replace(b"From: a@far.test\r\n", b"").replace(b"X-Other: 2\r\n", b"")
        self.assertEqual(Edit(stretches=hidden).edited(self.content), gone)

    def test_silence(self) -> None:
        """No answer, or none that can be read: the mail is taken, or put off, as configured."""
        faults: tuple[dict[str, Any], ...] = (
            {"failing": True},
            {"status": 403},
            {"is_whole": False},
            {"body": b"<html>"},
            {"body": answer("burn")},
            {"body": b'{"action": "reject", "score": 1e999, "required_score": 1}'},
            {"body": b"[" * 100_000},
            {"body": b"\xff"},
        )
        for fault in faults:
            self.http = FakeHTTP(**fault)
            found = self.judge()
            self.assertEqual((found.refusal, found.fields, self.made.is_away), (None, b"", True))
            [reason] = found.verdict.reasons
            self.assertEqual(reason[:26], "rspamd does not answer: " + reason[24:26], fault)
            self.assertTrue(reason.isprintable())
            found = self.judge(on_failure=OnFailure.DEFER)
            said = "451 4.7.1 the message cannot be judged now, try again later"
            self.assertEqual((str(found.refusal), found.refused_by), (said, "rspamd"))

    def test_large(self) -> None:
        """It is not asked about what is larger than it should be."""
        found = self.judge(max_bytes=10)
        self.assertEqual((self.http.calls, found.refusal), ([], None))
        self.assertEqual(found.verdict.reasons, ("too large for rspamd",))


class AnswerTests(SynchronousTestCase):
    """What is read of an answer."""

    def test_fields(self) -> None:
        """X- fields are added, folded and of printable ASCII; others, and ours, are not."""
        added = {
            "X-One": "a\r\n\tb\r\nBcc: x",
            "X-Two": {"value": "ü\x00", "order": 0},
            "X-Many": ["1", {"value": 2}, {"order": 1}, ["no"]],
            "X-Long": "w" * 5000,
            "Subject": "no",
            "X-Spam": "No",
            "X-Mailrelay-Extra-A": "no",
            "X-Bad: a": "no",
            "X-Bäd": "no",
        }
        read = read_answer(answer(milter={"add_headers": added}))
        names = [name for name, _ in read.fields]
        self.assertEqual(names, ["X-One", "X-Two", "X-Many", "X-Many", "X-Long"])
        lines = fields_of(read).split(b"\r\n")
        self.assertEqual(lines[1:3], [b"X-One: a b Bcc: x", b"X-Two: ??"])
        self.assertLess(max(map(len, lines)), 300)
        self.assertEqual(field_text("X-A", ""), b"X-A:\r\n")

    def test_bounds(self) -> None:
        """However much it says."""
        much = {f"X-{n}": "v" for n in range(500)}
        symbols = {f"S{n}" * 50: {"score": n} for n in range(500)}
        milter = {"add_headers": {"X-L": ["v"] * 500, **much}, "remove_headers": much}
        read = read_answer(answer("reject", symbols=symbols, milter=milter))
        sizes = (len(read.fields), len(read.removed), len(read.symbols))
        self.assertEqual(sizes, (MOST_FIELDS, MOST_FIELDS, MOST_SYMBOLS))
        self.assertLess(len(fields_of(read)), 10_000)

    def test_of_other_types(self) -> None:
        """What is of another type than it should be is no answer."""
        for body in (b"{}", b"[]", b"null", b'"reject"', answer(symbols=[]), answer(milter=[1])):
            self.assertRaises(UnusableAnswer, read_answer, body)
        self.assertEqual(read_answer(answer(messages={"smtp_message": ["x"]})).message, "")
