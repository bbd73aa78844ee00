"""The small parts of pages: searches, times, sizes, cookies, paths, steps."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.history import CallMade, Timeline
from mailrelay.mailbox.access import MailboxQuery
from mailrelay.mailbox.searching import ContentQuery
from mailrelay.observe.events import Event, EventKind
from mailrelay.pages.cookies import Cookie
from mailrelay.pages.door import link, own_path
from mailrelay.pages.render import Renderer, ago_text, size_text
from mailrelay.pages.search import read_search
from mailrelay.pages.timeline import reports_in, steps_of
from mailrelay.web.headers import Headers
from mailrelay.webhooks.call import CallAttempt


class SearchTests(SynchronousTestCase):
    """What is typed into the search field."""

    def test_words(self) -> None:
        """Each in its place."""
        cases: dict[str, dict[str, Any]] = {
            "": {},
            "a bill": {"subject": "a bill"},
            'from:ann to:"joe x" is:unread': {
                "sender": "ann",
                "recipient": "joe x",
                "without_flag": "\\seen",
            },
            "from:a from:b": {"sender": "b"},
            "is:FLAGGED": {"flag": "\\flagged"},
            "is:odd x:y": {"subject": "x:y"},
            'subject:"a b" c': {"subject": "c"},
            '"': {"subject": '"'},
            "x" * 500: {"subject": "x" * 200},
        }
        for text, expected in cases.items():
            found = read_search(text, MailboxQuery(mailbox="Inbox"))
            self.assertEqual(found.wanted, MailboxQuery(mailbox="Inbox", **expected), text)
            self.assertEqual(found.within, ContentQuery())

    def test_days_and_sizes(self) -> None:
        """Days are UTC's, sizes have units."""
        cases: dict[str, dict[str, Any]] = {
            "before:1970-01-02": {"until": 86400.0},
            "after:1970-01-02 larger:2k": {"since": 86400.0, "larger_than": 2000},
            "smaller:3MB": {"smaller_than": 3_000_000},
        }
        for text, expected in cases.items():
            found = read_search(text, MailboxQuery())
            self.assertEqual(found.wanted, MailboxQuery(**expected), text)

    def test_contents(self) -> None:
        """What has to be read for it."""
        found = read_search('text:"a bill" has:attachment', MailboxQuery())
        self.assertEqual(found.within, ContentQuery("a bill", True))

    def test_what_means_nothing(self) -> None:
        """It is said."""
        for text in (
            "is:odd",
            "has:x",
            "before:soon",
            "after:9999999-1-1",
            "larger:x",
            "smaller:" + "9" * 50,
        ):
            found = read_search(text, MailboxQuery())
            self.assertEqual(found.wanted, MailboxQuery())
            self.assertIn("means nothing", found.problem, text)


class TextTests(SynchronousTestCase):
    """Times, sizes and links."""

    def test_ago(self) -> None:
        """The largest unit that says something."""
        for seconds, text in {
            0: "now",
            4: "now",
            -4: "now",
            59: "59 s ago",
            61: "1 min ago",
            -3700: "in 1 h",
            90000: "1 d ago",
            1e9: "11574 d ago",
        }.items():
            self.assertEqual(ago_text(seconds), text)

    def test_size(self) -> None:
        """In powers of a thousand."""
        for count, text in {
            0: "0 B",
            999: "999 B",
            1000: "1.0 kB",
            9960: "10 kB",
            10**6: "1.0 MB",
        }.items():
            self.assertEqual(size_text(count), text)
        self.assertEqual(size_text(5 * 10**12), "5000 GB")

    def test_own_paths(self) -> None:
        """A link of somebody else's leads to the start page."""
        for path in ("/", "/sent?state=failed", "/mail/1"):
            self.assertEqual(own_path(path), path)
        for path in ("", "x", "//x", "http://x", "/\\x", "/\n", "/ü", "\\/x"):
            self.assertEqual(own_path(path), "/", path)

    def test_links(self) -> None:
        """Fields that say nothing are left out."""
        self.assertEqual(link("/", q="a b&c", mailbox="", before=None), "/?q=a+b%26c")
        self.assertEqual(link("/x"), "/x")

    def test_every_template_compiles(self) -> None:
        """And what they load is there."""
        renderer = Renderer(lambda: 0.0)
        renderer.load()
        self.assertEqual(set(renderer.statics), {"live.js", "mark.svg", "style.css"})


class CookieTests(SynchronousTestCase):
    """The session's cookie."""

    def test_found(self) -> None:
        """Among others, by its whole name; over TLS by one that only TLS can set."""
        cookie = Cookie("mailrelay")
        headers = Headers([("cookie", "a=1; mailrelay=x; mailrelay=y"), ("cookie", "xmailrelay=z")])
        self.assertEqual(cookie.value(headers, is_secure=False), "x")
        self.assertIsNone(cookie.value(headers, is_secure=True))
        headers = Headers([("cookie", "mailrelay=x; __Host-mailrelay=s")])
        self.assertEqual(cookie.value(headers, is_secure=True), "s")

    def test_set(self) -> None:
        """For no script, no other site, and over TLS for TLS alone."""
        cookie = Cookie("mailrelay")
        self.assertEqual(
            cookie.set("x", 60.5, is_secure=True),
            "__Host-mailrelay=x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure",
        )
        self.assertNotIn("Secure", cookie.clear(is_secure=False))


class TimelineTests(SynchronousTestCase):
    """Events and calls as steps."""

    def test_steps(self) -> None:
        """In the order of time, each with what it has to say."""
        delayed = {
            "attempt": 2,
            "recipient": "a@b.test",
            "host": "mx.b.test",
            "ip": "192.0.2.1",
            "reply": "451 later",
            "next_attempt_at": 99.0,
            "transcript": ["> DATA", "< 451 later"],
            "reason": ["not", "text"],
            "by": "x",
        }
        call = CallMade(1, 2, "delayed", "https://a.example/", 15.0, True, False, None, False)
        tried = CallAttempt(16.0, 0.5, False, 500, "", "no")
        events = [
            Event(EventKind.DELAYED, 10.0, 1, 2, 3, delayed),
            Event(EventKind.ACCEPTED, 20.0, 1, None, 3, {}),
        ]
        first, second, third = steps_of(Timeline(events, [evolve(call, attempts=[tried])]))
        self.assertEqual((first.title, first.tone), ("Delayed, attempt 2", "warn"))
        self.assertEqual((first.host, first.reply), ("mx.b.test (192.0.2.1)", "451 later"))
        self.assertEqual((first.next_at, first.facts), (99.0, [("by", "x")]))
        self.assertEqual(list(first.transcript), ["> DATA", "< 451 later"])
        self.assertEqual((second.title, second.tone), ("Webhook call, delayed: failed", "bad"))
        self.assertEqual(list(second.calls), [tried])
        self.assertEqual(third.title, "Accepted")

    def test_step_facts(self) -> None:
        """Who brought it, how long it took, why; where the report can be read; what was sent."""
        call = CallMade(1, 2, "failed", "https://a.example/", 5.0, True, True, None, False)
        timeline = Timeline(
            [
                Event(EventKind.ACCEPTED, 1.0, 1, None, 3, {"login": "a@b.test", "tls": "TLSv1.3"}),
                Event(EventKind.ACCEPTED, 2.0, 1, None, 3, {"key": 7, "judged": ["spf", "x"]}),
                Event(EventKind.FAILED, 3.0, 1, 2, 3, {"started_at": 1.0, "ended_at": 2.5}),
                Event(EventKind.REPORTED, 4.0, 1, None, 3, {"queue_id": 9}),
            ],
            [evolve(call, payload=b"{\xff}")],
        )
        self.assertEqual(list(reports_in(timeline)), [9])
        first, second, third, report, called = steps_of(timeline, {9: "/mail/1"})
        self.assertEqual(first.facts, [("login", "a@b.test"), ("TLS", "TLSv1.3")])
        self.assertEqual(second.facts, [("key", "7"), ("judged", "spf; x")])
        self.assertEqual(third.facts, [("took", "1.50 s")])
        self.assertEqual((report.path, called.payload), ("/mail/1", "{\ufffd}"))
