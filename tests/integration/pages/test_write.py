"""Writing a message on a page."""

from __future__ import annotations

import email
import time
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from html import unescape
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred

from mailrelay.mailbox.model import MailboxMessage
from mailrelay.policy.limits import Limits
from mailrelay.web.settings import HTTPSettings
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.pages.test_mail import MailCase, letter
from tests.integration.webapi.api import API, BOUNDARY, Answered, Part, multipart
from tests.integration.world import OTHER_PASSWORD


class WriteTests(BrowserCase):
    """``/write``."""

    async def sent(self, browser: Browser, **fields: str) -> Page:
        """The page that one is led to."""
        page = await browser.open("/write")
        fields = {"from": "user@example.org", "subject": "hi", "text": "a\r\nb", **fields}
        answered = await browser.send("/write", page, **fields)
        self.assertEqual(answered.status, 303, answered)
        return await browser.open(answered.headers["location"])

    async def test_sent(self) -> None:
        """It goes the way that all mail of the account goes."""
        browser = await self.logged_in()
        page = await self.sent(browser, to="user@example.org, you@example.org", subject="<b>")
        self.assertIn("you@example.org", page.text)
        one, _ = await self.arrived(API(browser.server), 2)
        shown = await browser.open(f"/mail/{one.id}")
        self.assertIn("<b>", shown.text)
        self.assertIn("a\nb", shown.text)

    async def test_fields(self) -> None:
        """All of the form is in the message; a copy is kept, with Bcc; nobody else sees that."""
        browser = await self.logged_in()
        await self.sent(
            browser,
            to='"B, C" <user@bücher.example>',
            cc="one@example.org",
            bcc="two@example.org",
            reply_to="else@example.org",
            keeps_copy="1",
        )
        api = API(browser.server)
        came, kept = await self.arrived(api, 3), await self.arrived(api, 1, "Sent")
        found = [await self.whole(browser, one) for one in (*came, *kept)]
        for message in found:
            self.assertEqual(message["To"], '"B, C" <user@xn--bcher-kva.example>')
            self.assertEqual(message["Cc"], "one@example.org")
            self.assertEqual(message["Reply-To"], "else@example.org")
        self.assertEqual([one["Bcc"] for one in found], [None, None, None, "two@example.org"])
        links = [one for one in (await browser.open("/sent")).links if one[6:].isdigit()]
        self.assertEqual(len(links), 1, "the copy was not sent")

    async def whole(self, browser: Browser, one: MailboxMessage) -> EmailMessage:
        """A message's bytes, read by somebody else's code."""
        raw = await browser.ask("GET", f"/mail/{one.id}/raw")
        return email.message_from_bytes(raw.body, policy=default)

    async def uploaded(self, browser: Browser, parts: list[Part], **fields: str) -> Answered:
        """The answer to a form with files."""
        page = await browser.open("/write")
        given = {"from": "user@example.org", "to": "a@example.org", "text": "x"}
        typed = {**page.hidden, "subject": "hi", **given, **fields}
        plain = [Part(name, text.encode()) for name, text in typed.items()]

        content_type = f"multipart/form-data; boundary={BOUNDARY}"
        headers = {
            "Content-Type": content_type,
            "Sec-Fetch-Site": "same-origin",
            "Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
        }
        return await API(browser.server).ask("POST", "/write", multipart([*plain, *parts]), headers)

    async def test_files(self) -> None:
        """They go along, large ones too; a field in which none is chosen is none."""
        browser = await self.logged_in()
        large = bytes(range(256)) * 2000
        parts = [
            Part("file", large, "large.bin", {"Content-Type": "application/x-thing"}),
            Part("file", "ü".encode(), "ü.txt"),
            Part("file", b"", ""),
        ]
        self.assertEqual((await self.uploaded(browser, parts)).status, 303)
        (one,) = await self.arrived(API(browser.server))
        found: list[Any] = list((await self.whole(browser, one)).iter_attachments())
        self.assertEqual([part.get_filename() for part in found], ["large.bin", "ü.txt"])
        self.assertEqual(found[0].get_content(), large)
        self.assertEqual(found[0].get_content_type(), "application/x-thing")

    async def test_files_refused(self) -> None:
        """What was typed stays; the files have to be chosen again, and that is said."""
        browser = await self.logged_in()
        for fields, parts, said in (
            ({"to": "x", "subject": "kept"}, [Part("file", b"x", "a.txt")], "choose them again"),
            ({"subject": "kept"}, [Part("file", b"x", "a.txt")] * 51, "takes 50 files"),
            (
                {"subject": "kept"},
                [Part("file", b"x", "a.txt", {"Content-Type": "nonsense"})],
                "is no media type",
            ),
        ):
            answered = await self.uploaded(browser, parts, **fields)
            self.assertEqual(answered.status, 422)
            self.assertIn(said, Page(answered).text)
            self.assertIn(b'value="kept"', answered.body)
        folder = browser.server.settings.data_dir / "uploads"
        self.assertEqual([path for path in folder.rglob("*") if path.is_file()], [])

    async def test_too_large(self) -> None:
        """More than a message may have is refused by a page."""
        browser = await self.logged_in(limits=Limits(message_bytes=200_000))
        parts = [Part("file", b"x" * 190_000, "a.bin")]
        answered = await self.uploaded(browser, parts, subject="kept")
        self.assertEqual(answered.status, 422)
        self.assertIn("larger than 200000 bytes", Page(answered).text)
        self.assertIn(b'value="kept"', answered.body)

    async def test_later(self) -> None:
        """It waits for its time."""
        browser = await self.logged_in()
        at = datetime.fromtimestamp(time.time() + 2.5 * 3600, UTC)
        page = await self.sent(browser, to="a@example.org", at=at.strftime("%Y-%m-%dT%H:%M"))
        self.assertIn("in 2 h", page.text)

    async def test_others_messages(self) -> None:
        """What is another's can be neither answered nor passed on, by any field."""
        browser = await self.logged_in()
        await self.sent(browser, to="a@example.org")
        (one,) = await self.arrived(API(browser.server))
        other = Browser(browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        for how in ("reply", "reply-all", "forward"):
            for id_ in (one.id, 999_999):
                self.assertEqual((await other.ask("GET", f"/mail/{id_}/{how}")).status, 404)
        page = await other.open("/write")
        fields = {"from": "other@example.org", "to": "a@example.org", "text": "x"}
        answered = await other.send(
            "/write", page, **fields, made_of=one.id, how="forward", part="whole"
        )
        self.assertEqual(answered.status, 404)

    async def test_refused(self) -> None:
        """What was written stays, with what is wrong."""
        browser = await self.logged_in()
        page = await browser.open("/write")
        for fields in ({"to": "nobody"}, {"to": ""}, {"to": "a@b.test", "from": "x@other.test"}):
            given = {"from": "user@example.org", "subject": "kept", "text": "x", **fields}
            answered = await browser.send("/write", page, **given)
            self.assertEqual(answered.status, 422, fields)
            self.assertIn(b'value="kept"', answered.body)
            self.assertIn(b'class="problem"', answered.body)

    async def test_simulated(self) -> None:
        """A localserve names addresses that fail, each with a button; another server does not."""
        browser = await self.logged_in()
        page = await browser.open("/write")
        self.assertIn("temperror@localhost", page.text)
        sent = await self.sent(browser, to="permerror@localhost")
        for _ in range(600):
            if "Failed" in sent.text:
                break
            sent = await browser.open((await browser.open("/sent")).links[-1])
        self.assertIn("failure with code 550", sent.text)


class AnswerTests(MailCase):
    """``/mail/ID/reply`` and its sisters."""

    async def sent(
        self, browser: Browser, path: str, number: int = 1, **fields: Any
    ) -> EmailMessage:
        """The message that the form at ``path`` sends: the copy of that number."""
        page = await browser.open(path)
        given: dict[str, Any] = {}
        for tag, each in page.tags:
            given |= form_field(tag, each)
        texts = page.answered.body.decode().partition("<textarea")[2].partition(">")[2]
        text = unescape(texts.partition("</textarea>")[0]).lstrip("\n")
        answered = await browser.send(
            "/write", page, **{**given, "text": text, "keeps_copy": "1", **fields}
        )
        self.assertEqual(answered.status, 303, answered)
        *_, one = await self.arrived(API(browser.server), number, "Sent")
        raw = await browser.ask("GET", f"/mail/{one.id}/raw")
        return email.message_from_bytes(raw.body, policy=default)

    async def test_reply(self) -> None:
        """To whom it is due, in its thread, from the address that it came to; and it is noted."""
        browser = await self.logged_in()
        came = letter(
            **{"Reply-To": "Joe <joe@example.net>", "Message-ID": "<b@x>", "References": "<a@x>"}
        )
        came.replace_header("To", "user+shop@example.org, c@example.net")
        (one,) = await self.deliver(browser, came)
        answer = await self.sent(browser, f"/mail/{one.id}/reply")
        self.assertEqual(answer["To"], "Joe <joe@example.net>")
        self.assertEqual(answer["Subject"], "Re: hello")
        self.assertEqual(answer["In-Reply-To"], "<b@x>")
        self.assertEqual(str(answer["References"]).split(), ["<a@x>", "<b@x>"])
        self.assertIn("> all is <b>well</b>.", answer.get_content())
        self.assertIn("user+shop@example.org", answer["From"])
        self.assertIn("hello", (await browser.open("/?q=is:answered")).text)

    async def test_large_reply(self) -> None:
        """One to a large message: it does not wait for a turn that it has itself."""
        browser = await self.logged_in(http=HTTPSettings(large_bodies=1))
        came = letter()
        came.add_attachment(b"x" * 100_000, maintype="application", subtype="pdf")
        (one,) = await self.deliver(browser, came)
        page = await browser.open(f"/mail/{one.id}/reply")
        fields = {"from": "user@example.org", "to": "z@example.org", "text": "much\n" * 18_000}
        answering = Deferred.fromCoroutine(browser.send("/write", page, **fields))
        answering.addTimeout(30.0, the_reactor)
        self.assertEqual((await answering).status, 303)

    async def test_reply_to_all(self) -> None:
        """The others get it, too."""
        browser = await self.logged_in()
        came = letter(Cc="c@example.net, user@example.org")
        *_, one = await self.deliver(browser, came, count=3)
        page = await browser.open(f"/mail/{one.id}/reply-all")
        values = {given.get("name"): given.get("value") for _, given in page.tags}
        self.assertEqual(values["to"], '"Ann" <ann@example.net>')
        self.assertEqual(values["cc"], "c@example.net")

    async def test_forward(self) -> None:
        """With its attachments, but for those that are not wanted."""
        browser = await self.logged_in()
        came = letter()
        came.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="ü.pdf")
        came.add_attachment("a,b", subtype="csv", filename="b.csv")
        inner = letter(Subject="inside")
        came.add_attachment(inner)
        (one,) = await self.deliver(browser, came)
        path = f"/mail/{one.id}/forward"
        passed = await self.sent(browser, path, to="z@example.org", part=["1", "2", "3"])
        self.assertEqual(passed["Subject"], "Fwd: hello")
        body: Any = passed.get_body()
        self.assertIn('From: "Ann" <ann@', body.get_content())
        files: list[Any] = list(passed.iter_attachments())
        self.assertEqual([file.get_filename() for file in files], ["ü.pdf", "b.csv", "part 3"])
        self.assertEqual(files[0].get_content(), b"%PDF")
        self.assertIn(b"Subject: inside", files[2].get_content())
        one_less = await self.sent(browser, path, 2, to="z@example.org", part=["2"])
        files = list(one_less.iter_attachments())
        self.assertEqual([file.get_filename() for file in files], ["b.csv"])
        page = await browser.open(path)
        for part in ("9", "x", "0.0"):
            fields = {"from": "user@example.org", "to": "z@example.org", "part": part}
            answered = await browser.send("/write", page, **fields)
            self.assertIn("no such attachment", Page(answered).text, part)


def form_field(tag: str, given: dict[str, str | None]) -> dict[str, str]:
    """What a browser would send of it."""
    value = given.get("value") or ""
    if tag == "option" and "selected" in given:
        return {"from": value}
    return {given["name"] or "": value} if given.get("type") == "text" else {}


class ProductionTests(BrowserCase):
    """Not on a laptop."""

    async def test_nothing_is_simulated(self) -> None:
        """No address is special."""
        browser = await self.logged_in(localserve=False)
        self.assertNotIn("temperror", (await browser.open("/write")).text)
