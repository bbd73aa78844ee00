"""The viewer, over messages that really arrived."""

from __future__ import annotations

import smtplib
import socket
from email.message import EmailMessage
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API
from tests.integration.world import OTHER_PASSWORD, until

PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")
EVIL = """<script>alert(1)</script><p onclick="alert(2)">Hello <b>you</b></p>
<img src="cid:logo@x"><img src="https://tracker.example/t.gif">
<a href="javascript:alert(3)">bad</a> <a href="https://example.org/">good</a>
<form action="https://evil.example/"><input name="password"></form>
<meta http-equiv="refresh" content="0;url=https://evil.example/">
<iframe src="https://evil.example/"></iframe><base href="https://evil.example/">"""


def letter(**fields: str) -> EmailMessage:
    """A message with a text."""
    message = EmailMessage()
    headers = {"From": "Ann <ann@example.net>", "To": "user@example.org", "Subject": "hello"}
    for name, value in {**headers, **fields}.items():
        message[name] = value
    message.set_content("Hi,\n\nall is <b>well</b>.\n")
    return message


class MailCase(BrowserCase):
    """Messages come in by SMTP."""

    async def deliver(self, browser: Browser, *messages: EmailMessage, count: int = 0) -> list[Any]:
        """What is in the inbox once ``messages`` are there, newest last."""
        port = browser.server.port("mx")

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
                for message in messages:
                    client.send_message(message)

        await deferToThread(send)
        return await self.arrived(API(browser.server), count or len(messages))


class ListTests(MailCase):
    """``/``."""

    async def test_empty(self) -> None:
        """It says what is to come."""
        browser = await self.logged_in()
        page = await browser.open("/")
        self.assertIn("No message yet", page.text)
        page = await browser.open("/?q=anything")
        self.assertIn("Nothing here fits anything", page.text)

    async def test_list(self) -> None:
        """What strangers write is text, whatever it is."""
        browser = await self.logged_in()
        hostile = "<script>alert('x')</script> \"quoted\" & more"
        (one,) = await self.deliver(browser, letter(Subject=hostile))
        page = await browser.open("/")
        self.assertIn(hostile, page.text)
        self.assertNotIn(b"<script>alert", page.answered.body)
        self.assertIn(f"/mail/{one.id}", page.links)
        self.assertEqual(await self.subjects(browser, "/?mailbox=Inbox"), [hostile])
        self.assertEqual(await self.subjects(browser, "/?mailbox=Junk"), [])

    async def subjects(self, browser: Browser, path: str) -> list[str]:
        """What a list shows."""
        page = await browser.open(path)
        labels = [given.get("aria-label") or "" for tag, given in page.tags if tag == "input"]
        return [label[7:] for label in labels if label.startswith("Choose ")]

    async def test_search(self) -> None:
        """By words of the subject, addresses, flags."""
        browser = await self.logged_in()
        await self.deliver(
            browser, letter(), letter(Subject="the bill"), letter(From="joe@example.com")
        )
        for search, found in {
            "bill": ["the bill"],
            "from:joe": ["hello"],
            "subject:%22the+bill%22": ["the bill"],
            "is:unread": ["hello", "the bill", "hello"],
            "is:flagged": [],
            "to:nobody": [],
            "text:well+from:ann": ["the bill", "hello"],
            "has:attachment": [],
            "larger:1M": [],
            "after:2000-01-01+smaller:1M": ["hello", "the bill", "hello"],
        }.items():
            self.assertEqual(await self.subjects(browser, f"/?q={search}"), found, search)

    async def test_all_that_fit(self) -> None:
        """They are marked, or deleted; nothing else, and nothing that came later."""
        browser = await self.logged_in()
        *_, newest = await self.deliver(
            browser, letter(Subject="a"), letter(Subject="b"), letter(Subject="b")
        )
        page = await browser.open("/?q=b")
        self.assertIn("(3) Mail", page.text)
        fields: dict[str, Any] = {"newest": newest.id - 1, "q": "b"}
        answered = await browser.send("/mail", page, **fields, action="all-read")
        self.assertEqual(await self.subjects(browser, "/?q=is:unread"), ["b", "a"])
        self.assertIn(
            "All of them are read", (await browser.open(answered.headers["location"])).text
        )
        answered = await browser.send("/mail", page, **fields, action="all-delete")
        self.assertEqual(await self.subjects(browser, "/"), ["b", "a"])
        for bad in ({"newest": ""}, {"q": "is:odd"}):
            refused = {**fields, "action": "all-delete", **bad}
            answered = await browser.send("/mail", page, **refused)
            self.assertEqual(answered.status, 422, bad)
        self.assertEqual(await self.subjects(browser, "/"), ["b", "a"])

    async def test_pages(self) -> None:
        """The newest first; a link leads to those before them."""
        browser = await self.logged_in()
        await self.deliver(browser, *[letter(Subject=f"n{i}") for i in range(60)])
        first = await self.subjects(browser, "/")
        page = await browser.open("/")
        (older,) = [one for one in page.links if "before=" in one]
        second = await self.subjects(browser, older)
        self.assertEqual(first + second, [f"n{i}" for i in reversed(range(60))])

    async def test_changes(self) -> None:
        """Marking, moving and deleting what is chosen; of others' mail, nothing."""
        browser = await self.logged_in()
        one, two = await self.deliver(browser, letter(Subject="one"), letter(Subject="two"))
        page = await browser.open("/")
        both = [str(one.id), str(two.id)]
        answered = await browser.send("/mail", page, id=both, action="flag")
        self.assertEqual((answered.status, answered.headers["location"]), (303, "/?done=flag"))
        self.assertIn("chosen is flagged", (await browser.open("/?done=flag")).text)
        self.assertEqual(await self.subjects(browser, "/?q=is:flagged"), ["two", "one"])
        await browser.send("/mail", page, id=both[0], action="read")
        self.assertEqual(await self.subjects(browser, "/?q=is:unread"), ["two"])
        self.assertIn("Move", page.text)
        await browser.send("/mail", page, id=both[0], action="move", to="Archive")
        self.assertEqual(await self.subjects(browser, "/?mailbox=Archive"), ["one"])
        other = Browser(browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        theirs = await other.open("/")
        await other.send("/mail", theirs, id=both, action="delete")
        self.assertEqual(await self.subjects(browser, "/"), ["two", "one"])
        await browser.send("/mail", page, id=both, action="delete")
        self.assertEqual(await self.subjects(browser, "/"), [])

    async def test_changes_that_are_none(self) -> None:
        """What is wrong is said."""
        browser = await self.logged_in()
        (one,) = await self.deliver(browser, letter())
        page, id_ = await browser.open("/"), str(one.id)
        for fields, said in (
            ({"action": "delete"}, "No message is chosen"),
            ({"id": "x", "action": "delete"}, "No message is chosen"),
            ({"id": id_, "action": "explode"}, "nothing that can be done"),
            ({"id": id_, "action": "move", "to": "Nowhere"}, "no mailbox of that name"),
        ):
            answered = await browser.send("/mail", page, **fields)
            self.assertEqual(answered.status, 422, fields)
            self.assertIn(said, Page(answered).text)
        hostile = {"id": id_, "action": "read", "back": "/?q=1\r\nX-Evil: 1"}
        answered = await browser.send("/mail", page, **hostile)
        self.assertEqual(answered.headers["location"], "/?done=read")
        answered = await browser.ask("GET", "/mail")
        self.assertEqual(answered.status, 405)
        self.assertIn("takes a form", Page(answered).text)

    async def test_arrivals(self) -> None:
        """A page hears of the next message, be it there already, and of the server's end."""
        browser = await self.logged_in()
        (newest,) = await self.deliver(browser, letter())
        heard, listening = self.listen(browser, newest.id)
        await until(the_reactor, lambda: b"retry" in b"".join(heard))
        self.assertNotIn(b"arrived", b"".join(heard))
        *_, newest = await self.deliver(browser, letter(), count=2)
        expected = f"event: arrived\ndata: {newest.id}\n\n".encode()
        await until(the_reactor, lambda: expected in b"".join(heard))
        late, also_listening = self.listen(browser, 0)
        await until(the_reactor, lambda: b"arrived" in b"".join(late))
        await browser.server.server.stopService()
        await listening
        await also_listening

    def listen(self, browser: Browser, newest: int) -> tuple[list[bytes], Deferred[None]]:
        """What a page is told that shows ``newest``, and when it is told no more."""
        connection = socket.create_connection(("127.0.0.1", browser.server.port("http")), 30)
        self.addCleanup(connection.close)
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        connection.sendall(
            f"GET /mail/arrivals?newest={newest} HTTP/1.1\r\nHost: x\r\n".encode()
            + f"Cookie: {cookie}\r\n\r\n".encode()
        )
        heard: list[bytes] = []

        def listen() -> None:
            while data := connection.recv(4096):
                heard.append(data)

        return heard, deferToThread(listen)


class MessageTests(MailCase):
    """``/mail/ID``."""

    async def test_views(self) -> None:
        """Text, headers, structure; looking at it marks it as read."""
        browser = await self.logged_in()
        message = letter(**{"X-Odd": "<b>not bold</b>"})
        message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="ü<i>.pdf")
        (one,) = await self.deliver(browser, message)
        page = await browser.open(f"/mail/{one.id}")
        self.assertIn("all is <b>well</b>.", page.text)
        self.assertIn("Ann <ann@example.net>", page.text)
        self.assertIn("ü<i>.pdf", page.text)
        headers = (await browser.open(f"/mail/{one.id}?view=headers")).text
        self.assertIn("<b>not bold</b>", headers)
        self.assertIn("X-Odd", headers)
        structure = (await browser.open(f"/mail/{one.id}?view=structure")).text
        self.assertIn("multipart/mixed", structure)
        self.assertIn("application/pdf", structure)
        self.assertIn("Nothing here fits", (await browser.open("/?q=is:unread")).text)

    async def test_files(self) -> None:
        """The message and its parts are kept as files, never shown as pages."""
        browser = await self.logged_in()
        message = letter()
        message.add_attachment("<script>x</script>", subtype="html", filename="a.html")
        (one,) = await self.deliver(browser, message)
        raw = await browser.ask("GET", f"/mail/{one.id}/raw")
        self.assertIn(b"Subject: hello", raw.body)
        part = await browser.ask("GET", f"/mail/{one.id}/part/1")
        self.assertIn(b"<script>x</script>", part.body)
        for answered in (raw, part):
            self.assertTrue(answered.headers["content-disposition"].startswith("attachment"))
            self.assertNotIn("html", answered.headers["content-type"])
        for path in ("9", "0.0.0", "x", "1.99999"):
            answered = await browser.ask("GET", f"/mail/{one.id}/part/{path}")
            self.assertEqual(answered.status, 404, path)

    async def test_html(self) -> None:
        """In a frame that can do nothing; images of others only when asked for."""
        browser = await self.logged_in()
        message = letter()
        message.add_alternative(EVIL, subtype="html")
        html: Any = list(message.iter_parts())[1]
        html.add_related(PNG, "image", "png", cid="<logo@x>")
        (one,) = await self.deliver(browser, message)
        page = await browser.open(f"/mail/{one.id}")
        (frame,) = [given for tag, given in page.tags if tag == "iframe"]
        self.assertNotIn("allow-scripts", frame["sandbox"] or "")
        self.assertNotIn("allow-same-origin", frame["sandbox"] or "")
        shown = await browser.ask("GET", frame["src"] or "")
        policy = shown.headers["content-security-policy"]
        self.assertIn("sandbox", policy)
        self.assertIn("img-src data:;", policy)
        text = shown.body.decode()
        for bad in ("<script", "onclick", "javascript", "tracker", "<form", "refresh", "evil"):
            self.assertNotIn(bad, text, bad)
        self.assertIn("<b>you</b>", text)
        self.assertIn("data:image/png;base64,", text)
        self.assertIn('href="https://example.org/"', text)
        self.assertIn("are not shown", page.text)
        asked = await browser.open(f"/mail/{one.id}?view=html&remote=1")
        (frame,) = [given for tag, given in asked.tags if tag == "iframe"]
        remote = await browser.ask("GET", frame["src"] or "")
        self.assertIn("https://tracker.example/t.gif", remote.body.decode())
        self.assertIn("img-src data: https: http:", remote.headers["content-security-policy"])

    async def test_html_without_images_of_others(self) -> None:
        """Nothing is said of images."""
        browser = await self.logged_in()
        message = letter()
        message.add_alternative("<p>Hello <b>you</b></p>", subtype="html")
        (one,) = await self.deliver(browser, message)
        self.assertNotIn("are not shown", (await browser.open(f"/mail/{one.id}")).text)

    async def test_pictures(self) -> None:
        """They are shown when their bytes are of one; nothing else is, whatever it says."""
        browser = await self.logged_in()
        message = letter()
        message.add_attachment(PNG, "image", "png", filename="a.png")
        message.add_attachment(b"<svg onload='alert(1)'/>", "image", "svg+xml", filename="b.svg")
        message.add_attachment(b"<script>x</script>", "image", "png", filename="c.png")
        (one,) = await self.deliver(browser, message)
        page = await browser.open(f"/mail/{one.id}")
        shown = [given["src"] for tag, given in page.tags if given.get("class") == "thumb"]
        self.assertEqual(shown, [f"/mail/{one.id}/image/1", f"/mail/{one.id}/image/3"])
        answered = await browser.ask("GET", shown[0] or "")
        self.assertEqual((answered.status, answered.body), (200, PNG))
        self.assertEqual(answered.headers["content-type"], "image/png")
        self.assertEqual(answered.headers["x-content-type-options"], "nosniff")
        self.assertIn("sandbox", answered.headers["content-security-policy"])
        for path in ("0", "2", "3", "9", "x", "whole"):
            answered = await browser.ask("GET", f"/mail/{one.id}/image/{path}")
            self.assertEqual(answered.status, 404, path)

    async def test_neighbours(self) -> None:
        """The next ones of the mailbox, and the bytes as they came."""
        browser = await self.logged_in()
        first, last = await self.deliver(browser, letter(Subject="a"), letter(Subject="<b>"))
        page = await browser.open(f"/mail/{first.id}?view=source")
        self.assertIn(f"/mail/{last.id}", page.links)
        self.assertIn("Subject: a\n", page.text)
        page = await browser.open(f"/mail/{last.id}?view=source")
        self.assertIn(f"/mail/{first.id}", page.links)
        self.assertIn("Subject: <b>\n", page.text)

    async def test_not_others(self) -> None:
        """What is another's is as what never was."""
        browser = await self.logged_in()
        (one,) = await self.deliver(browser, letter())
        other = Browser(browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        for path in ("", "/html", "/raw", "/part/0", "/image/0"):
            mine = await other.ask("GET", f"/mail/{one.id}{path}")
            nobodys = await other.ask("GET", f"/mail/999999{path}")
            self.assertEqual((mine.status, nobodys.status), (404, 404), path)
            self.assertEqual(mine.body, nobodys.body)
        for odd in ("0", "-1", "x", "9" * 30, "%00", "1%2f2"):
            self.assertEqual((await browser.ask("GET", f"/mail/{odd}")).status, 404, odd)

    async def test_hostile(self) -> None:
        """Whatever was sent, its page is there."""
        browser = await self.logged_in()
        message = EmailMessage()
        message["From"] = "x@example.net"
        message["To"] = "user@example.org"
        message["Subject"] = "a" * 3000
        message["Content-Type"] = 'multipart/mixed; boundary="\'<x>"'
        part = "--'<x>\r\nContent-Type: text/html; charset=bogus\r\n\r\n<"
        message.set_payload(f"--'<x>\r\n\r\n{part}")
        (one,) = await self.deliver(browser, message)
        for view in ("html", "text", "headers", "structure", "<odd>"):
            await browser.open(f"/mail/{one.id}?view={view}")
        self.assertEqual((await browser.ask("GET", f"/mail/{one.id}/html")).status, 200)
