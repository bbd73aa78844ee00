"""Webhooks on the account's pages: endpoints, mox's two, and their calls."""

from __future__ import annotations

import re
import time
from typing import Any

from attrs import frozen
from twisted.internet import reactor

from mailrelay.control import replay
from mailrelay.pages import calls
from mailrelay.webhooks.call import EndpointKind
from tests.integration.application import LOCAL_CALLS
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.receiver import Receiver, status
from tests.integration.webapi.api import API
from tests.integration.world import OTHER_PASSWORD, soon

HOSTILE = "<script>alert(1)</script>\"'{{7*7}}"


def trouble(page: Page) -> str:
    """What a form says is wrong."""
    [text] = re.findall(r'id="trouble">([^<]*)<', page.answered.body.decode())
    return str(text)


@frozen
class Hooked:
    """Somebody at the pages, and an application that is called."""

    browser: Browser
    receiver: Receiver

    async def made(self, path: str = "/hook", **fields: Any) -> tuple[str, str]:
        """An endpoint of the form: its page, and its secret."""
        page = await self.browser.open("/webhooks")
        given = {"name": "shop", "url": self.receiver.url(path), **fields}
        answered = await self.browser.send("/webhooks", page, **given)
        assert answered.status == 200, answered
        [secret] = re.findall(r'value="(whsec_[^"]+)"', answered.body.decode())
        [there] = [one for one in Page(answered).links if re.fullmatch(r"/webhooks/\d+", one)]
        return there, secret

    async def post(self, path: str, **fields: Any) -> Any:
        """A form of the page at ``path``, or of where that one is; its answer."""
        at = re.match(r"/(webhooks/\d+|calls/\d+|webhooks)", path)
        assert at is not None
        page = await self.browser.open(at[0])
        return await self.browser.send(path, page, **fields)

    async def says(self, path: str, *words: str) -> Page:
        """A page, once it has all ``words``."""
        for _ in range(1000):
            page = await self.browser.open(path)
            if all(word in page.text for word in words):
                return page
            await soon(reactor)
        raise AssertionError((words, page.text))


class HookedCase(BrowserCase):
    """A test with a receiver."""

    async def hooked(self) -> Hooked:
        """Start the server, and log in."""
        browser = await self.logged_in(webhooks=LOCAL_CALLS)
        receiver = Receiver()
        self.addCleanup(receiver.close)
        return Hooked(browser, receiver)

    async def other(self, hooked: Hooked) -> Hooked:
        """Somebody of another account."""
        browser = Browser(hooked.browser.server)
        await browser.log_in("other@example.org", OTHER_PASSWORD)
        return Hooked(browser, hooked.receiver)


class EndpointTests(HookedCase):
    """``/webhooks``."""

    async def test_life(self) -> None:
        """An endpoint is made, its secret shown once; it is changed, and removed."""
        hooked = await self.hooked()
        browser = hooked.browser
        self.assertIn("There are no endpoints", (await browser.open("/webhooks")).text)
        path, secret = await hooked.made(event=["failed", "delivered"], tags="shop\nnews")
        listed = await browser.open("/webhooks")
        for text in ("shop", hooked.receiver.url("/hook"), "delivered, failed", "not called yet"):
            self.assertIn(text, listed.text)
        page = await browser.open(path)
        for shown in (listed, page):
            self.assertNotIn(secret, shown.answered.body.decode())
        await self.rotated(hooked, path, secret)
        fields = {"name": "other", "url": "https://x.test/", "most_at_once": "7"}
        answered = await hooked.post(path, **fields, most_together="", tags="")
        self.assertEqual(answered.headers["location"], f"{path}?done=changed")
        page = await browser.open(f"{path}?done=changed")
        self.assertIn("The endpoint is changed", page.text)
        self.assertIn("https://x.test/", page.text)
        control = self.control(API(browser.server))
        [found] = await control.endpoints.listed("user")
        endpoint = found.endpoint
        self.assertEqual(
            (endpoint.name, endpoint.events, endpoint.tags, endpoint.most_at_once),
            ("other", (), (), 7),
        )
        answered = await hooked.post(f"{path}/remove")
        self.assertEqual(answered.headers["location"], "/webhooks?done=removed")
        self.assertIn("is removed", (await browser.open("/webhooks?done=removed")).text)
        self.assertEqual((await browser.ask("GET", path)).status, 404)

    async def rotated(self, hooked: Hooked, path: str, first: str) -> None:
        """A new secret is shown once; the one before signs as long as was chosen."""
        answered = await hooked.post(f"{path}/rotate", kept_for="3600")
        [second] = re.findall(r'value="(whsec_[^"]+)"', answered.body.decode())
        self.assertNotEqual(first, second)
        self.assertIn("The secret before signs calls, too; it ends in", Page(answered).text)
        self.assertIn("2 secrets", (await hooked.browser.open(path)).text)
        answered = await hooked.post(f"{path}/rotate", kept_for="0")
        self.assertNotIn("secret before", Page(answered).text)
        self.assertIn("1 secret", (await hooked.browser.open(path)).text)
        answered = await hooked.post(f"{path}/rotate", kept_for="9" * 9)
        self.assertEqual(answered.status, 422)
        self.assertIn("up to 30 days", trouble(Page(answered)))

    async def test_refused(self) -> None:
        """What is wrong is said in the form, where what was typed still stands."""
        hooked = await self.hooked()
        path, _ = await hooked.made()
        good = {"name": "kept name", "url": "https://kept.test/", "tags": "a", "event": "failed"}
        for field, value, said in (
            ("name", "", "The name must be"),
            ("name", "a\x01b", "The name must be"),
            ("name", "x" * 101, "The name must be"),
            ("url", "ftp://x.test/", "is no URL"),
            ("url", "https://x.test/\r\nX: y", "is no URL"),
            ("url", "https://" + "x" * 2000, "more than 2000"),
            ("tags", "x" * 101, "A tag has"),
            ("tags", "a\x7f", "A tag has"),
            ("most_at_once", "0", "Is 1 to"),
            ("most_together", "101", "Is 1 to"),
            ("most_together", "-1", "digits"),
            ("event", "odd", "no event"),
        ):
            for form in ("/webhooks", path):
                answered = await hooked.post(form, **{**good, field: value})
                self.assertEqual(answered.status, 422, (form, field, value))
                page = Page(answered)
                self.assertIn(said.lower(), trouble(page).lower())
                for name in {"name", "url"} - {field}:
                    self.assertIn(good[name], answered.body.decode())
                named = [given.get("name") for _, given in page.tags if "aria-invalid" in given]
                self.assertEqual(named, [field] if field != "event" else [], (form, field))
        [one] = [one for one in (await hooked.browser.open("/webhooks")).links if one == path]
        self.assertIn("shop", (await hooked.browser.open(one)).text)

    async def test_hostile_name(self) -> None:
        """A name, a tag and an answer are text wherever they are shown."""
        hooked = await self.hooked()
        hooked.receiver.answers["/hook"] = status(500, HOSTILE.encode())
        page = await hooked.browser.open("/webhooks")
        given = {"name": HOSTILE, "url": hooked.receiver.url("/hook"), "tags": "<b>x"}
        made = Page(await hooked.browser.send("/webhooks", page, **given))
        [path] = [one for one in made.links if re.fullmatch(r"/webhooks/\d+", one)]
        answered = await hooked.post(f"{path}/test", event="failed")
        call = await hooked.says(answered.headers["location"], "answered 500")
        for shown in (
            made,
            call,
            *[await hooked.browser.open(p) for p in ("/webhooks", path, "/calls")],
        ):
            self.assertIn(HOSTILE, shown.text)
            self.assertNotIn(b"<script>alert", shown.answered.body)
            self.assertNotIn(b"<b>", shown.answered.body)

    async def test_failing_and_disabled(self) -> None:
        """One that fails says since when; one that answered 410 is called when it is enabled."""
        hooked = await self.hooked()
        path, _ = await hooked.made("/bad")
        hooked.receiver.answers["/bad"] = status(500)
        await hooked.post(f"{path}/test", event="failed")
        await hooked.says("/webhooks", "failing", "since")
        answered = await hooked.post(f"{path}/test", event="odd")
        self.assertIn("No event", trouble(Page(answered)))
        hooked.receiver.answers["/bad"] = status(410)
        await hooked.post(f"{path}/test", event="failed")
        await hooked.says("/webhooks", "disabled", "answered 410")
        answered = await hooked.post(f"{path}/test", event="failed")
        self.assertIn("is disabled", trouble(Page(answered)))
        hooked.receiver.answers["/bad"] = status(200)
        answered = await hooked.post(f"{path}/enable")
        self.assertEqual(answered.headers["location"], f"{path}?done=enabled")
        answered = await hooked.post(f"{path}/test", event="failed")
        await hooked.says(answered.headers["location"], "200")
        page = await hooked.browser.open("/webhooks")
        self.assertNotIn("failing", page.text)
        self.assertRegex(page.text, r"(?s)/bad.*taken.*ago|now")

    async def test_replay(self) -> None:
        """Events of a span are told again; the same form tells nothing twice, and goes on."""
        hooked = await self.hooked()
        await API(hooked.browser.server).send()
        await API(hooked.browser.server).send()
        sent = await hooked.browser.open("/sent")
        while sent.text.count("delivered") < 3:  # one is the filter's
            await soon(reactor)
            sent = await hooked.browser.open("/sent")
        path, _ = await hooked.made()
        page = await hooked.browser.open(f"{path}/replay")
        since = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 3600))
        fields = {"since": since, "until": "", "kind": "delivered"}
        answered = await hooked.browser.send(f"{path}/replay", page, **fields)
        self.assertEqual(answered.headers["location"], f"{path}?done=replayed&count=2")
        page_after = await hooked.browser.open(answered.headers["location"])
        self.assertIn("2 calls were made", page_after.text)
        await self.until(lambda: len(hooked.receiver.at("/hook")) == 2)
        again = await hooked.browser.send(f"{path}/replay", page, **fields)
        self.assertEqual(again.headers["location"], f"{path}?done=replayed&count=2")
        fresh = await hooked.browser.open(f"{path}/replay")
        later = {**fields, "until": since, "since": "2001-01-01T00:00"}
        answered = await hooked.browser.send(f"{path}/replay", fresh, **later)
        self.assertIn("count=0", answered.headers["location"])
        for wrong, said in (
            ({"since": ""}, "from when"),
            ({"since": "x"}, "a time is"),
            ({"until": "2001-01-01T00:00"}, "before the beginning"),
        ):
            answered = await hooked.browser.send(f"{path}/replay", fresh, **{**fields, **wrong})
            self.assertEqual(answered.status, 422, wrong)
            self.assertIn(said, trouble(Page(answered)).lower())
        self.assertEqual(len(hooked.receiver.at("/hook")), 2)
        self.patch(replay, "PAGE", 1)
        self.patch(replay, "MOST_PAGES", 1)
        fields = {"since": since, "until": "", "kind": "delivered"}
        answered = await hooked.browser.send(f"{path}/replay", fresh, **fields)
        there = answered.headers["location"]
        self.assertTrue(there.startswith(f"{path}/replay?count=1&"), there)
        for count in (2, 2):
            page = await hooked.browser.open(there)
            self.assertIn("made so far", page.text)
            answered = await hooked.browser.send(f"{path}/replay", page)
            there = answered.headers["location"]
            self.assertIn(f"count={count}", there)
        self.assertEqual(there, f"{path}?done=replayed&count=2")
        await self.until(lambda: len(hooked.receiver.at("/hook")) == 4)

    async def test_of_another_account(self) -> None:
        """Another account's endpoint and calls answer like those that are not there."""
        hooked = await self.hooked()
        path, _ = await hooked.made()
        answered = await hooked.post(f"{path}/test", event="failed")
        call = answered.headers["location"]
        await hooked.says(call, "taken")
        other = await self.other(hooked)
        browser = other.browser
        page = await browser.open("/webhooks")
        self.assertIn("There are no endpoints", page.text)
        self.assertIn("Nobody was called", (await browser.open("/calls")).text)
        id_ = path.rpartition("/")[2]
        self.assertIn("Nothing fits", (await browser.open(f"/calls?endpoint={id_}")).text)
        for own, absent in ((path, "/webhooks/999999"), (call, "/calls/999999")):
            answers = []
            for where in (own, absent):
                got = await browser.ask("GET", where)
                answers.append((got.status, got.body))
                self.assertEqual(got.status, 404, where)
            self.assertEqual(answers[0], answers[1])
        self.assertEqual((await browser.ask("GET", f"{call}/payload")).status, 404)
        for form, fields in (
            (path, {"name": "x", "url": "https://x.test/"}),
            (f"{path}/rotate", {}),
            (f"{path}/enable", {}),
            (f"{path}/remove", {}),
            (f"{path}/test", {"event": "failed"}),
            (f"{path}/replay", {"since": "2001-01-01T00:00"}),
            (call, {"action": "again"}),
            (call, {"action": "retry"}),
            (call, {"action": "cancel"}),
        ):
            answered = await browser.send(form, page, **fields)
            self.assertEqual(answered.status, 404, (form, fields))
        self.assertIn("shop", (await hooked.browser.open(path)).text)


class MoxTests(HookedCase):
    """The two webhooks in mox's shape."""

    async def known(self, hooked: Hooked, kind: EndpointKind) -> Any:
        """One, as operators see it."""
        control = hooked.browser.server.control()
        try:
            return (await control.directory.account("user")).endpoint(kind)
        finally:
            control.close()

    async def refused(self, hooked: Hooked) -> None:
        """What is wrong is said in its own form, where the URL still stands."""
        for kind, fields, said in (
            ("outgoing", {"url": ""}, "name a URL"),
            ("outgoing", {"url": "ftp://kept.test/"}, "is no URL"),
            ("incoming", {"url": "https://kept.test/", "authorization": "a\r\nb"}, "printable"),
            ("outgoing", {"url": "https://kept.test/", "event": "odd"}, "no event"),
        ):
            answered = await hooked.post(f"/webhooks/mox/{kind}", action="save", **fields)
            self.assertEqual(answered.status, 422, fields)
            self.assertIn(said.lower(), trouble(Page(answered)).lower())
            self.assertIn(fields["url"], answered.body.decode())
        for path, action in (("incoming", "test"), ("odd", "save"), ("incoming", "odd")):
            answered = await hooked.post(f"/webhooks/mox/{path}", action=action)
            self.assertEqual(answered.status, 404, (path, action))

    async def test_outgoing(self) -> None:
        """It is set, called, changed with its authorization kept, moved without, and removed."""
        hooked = await self.hooked()
        await self.refused(hooked)
        url, where = hooked.receiver.url("/mox"), "/webhooks/mox/outgoing"
        fields = {"url": url, "authorization": "Bearer s3cret", "event": ["failed", "delivered"]}
        answered = await hooked.post(where, action="save", **fields)
        self.assertEqual(answered.headers["location"], "/webhooks?done=outgoing")
        page = await hooked.browser.open("/webhooks?done=outgoing")
        self.assertIn("is as you want it", page.text)
        self.assertNotIn("s3cret", page.answered.body.decode())
        answered = await hooked.post(where, action="test", event="failed")
        await hooked.says(answered.headers["location"], "taken", "failed")
        [call] = hooked.receiver.at("/mox")
        self.assertEqual((call.event, call.headers["Authorization"]), ("failed", "Bearer s3cret"))
        await hooked.says("/webhooks", "taken", "last taken")
        await hooked.post(where, action="save", url=url, every="1")
        kept = await self.known(hooked, EndpointKind.OUTGOING)
        self.assertEqual(
            (kept.authorization, list(kept.events), kept.has_every_event),
            ("Bearer s3cret", [], True),
        )
        await hooked.post(where, action="save", url="https://x.test/", event="failed")
        moved = await self.known(hooked, EndpointKind.OUTGOING)
        self.assertEqual((moved.authorization, list(moved.events)), ("", ["failed"]))
        await hooked.post(where, action="remove")
        self.assertIsNone(await self.known(hooked, EndpointKind.OUTGOING))

    async def test_incoming(self) -> None:
        """It is told of what comes in."""
        hooked = await self.hooked()
        where = "/webhooks/mox/incoming"
        await hooked.post(where, action="save", url=hooked.receiver.url("/in"))
        await API(hooked.browser.server).send(Subject="one")
        page = await hooked.browser.open("/calls?state=taken")
        while not any(re.fullmatch(r"/calls/\d+", one) for one in page.links):
            await soon(reactor)
            page = await hooked.browser.open("/calls?state=taken")
        [call] = [one for one in page.links if re.fullmatch(r"/calls/\d+", one)]
        page = await hooked.browser.open(call)
        self.assertIn('"Subject": "one"', page.text)
        exported = await hooked.browser.ask("GET", f"{call}/payload")
        self.assertEqual(exported.body, hooked.receiver.at("/in")[0].body)
        self.assertIn("attachment", exported.headers["content-disposition"])


class CallTests(HookedCase):
    """``/calls``."""

    async def test_again(self) -> None:
        """A call that is over is made again; the new one says what it repeats."""
        hooked = await self.hooked()
        path, _ = await hooked.made()
        answered = await hooked.post(f"{path}/test", event="failed")
        first = answered.headers["location"]
        await hooked.says(first, "taken")
        for action in ("retry", "cancel"):
            self.assertEqual((await hooked.post(first, action=action)).status, 422)
        answered = await hooked.post(first, action="again")
        second = answered.headers["location"]
        self.assertNotEqual(second.partition("?")[0], first)
        page = await hooked.says(second, "taken", "This is the new call")
        self.assertIn(first, page.links)
        self.assertEqual(len(hooked.receiver.at("/hook")), 2)

    async def test_retried_and_canceled(self) -> None:
        """One that waits is made now, or never; each attempt is told."""
        hooked = await self.hooked()
        path, _ = await hooked.made()
        hooked.receiver.answers["/hook"] = status(503, b"overloaded, sorry")
        answered = await hooked.post(f"{path}/test", event="failed")
        call = answered.headers["location"]
        await hooked.says(call, "waiting", "503", "overloaded, sorry", "Next attempt")
        self.assertEqual((await hooked.post(call, action="again")).status, 422)
        answered = await hooked.post(call, action="retry")
        self.assertEqual(answered.headers["location"], f"{call}?done=retry")
        await self.until(lambda: len(hooked.receiver.at("/hook")) == 2)
        self.assertIn(
            "The call is made now", (await hooked.browser.open(f"{call}?done=retry")).text
        )
        answered = await hooked.post(call, action="cancel")
        self.assertEqual(answered.headers["location"], f"{call}?done=cancel")
        await hooked.says(call, "canceled")
        self.assertEqual((await hooked.post(call, action="odd")).status, 404)

    async def test_list(self) -> None:
        """Pages of calls, narrowed; of what is long the beginning is shown."""
        self.patch(calls, "PAGE", 2)
        hooked = await self.hooked()
        path, _ = await hooked.made()
        for event in ("failed", "delivered", "delayed"):
            answered = await hooked.post(f"{path}/test", event=event)
            await hooked.says(answered.headers["location"], "taken")
        page = await hooked.browser.open("/calls?state=taken")
        found = [one for one in page.links if re.fullmatch(r"/calls/\d+", one)]
        self.assertEqual(len(found), 2)
        [older] = [one for one in page.links if "before=" in one]
        page = await hooked.browser.open(older)
        last = [one for one in page.links if re.fullmatch(r"/calls/\d+", one)]
        self.assertEqual(len(last), 1)
        self.assertNotIn(last[0], found)
        id_ = path.rpartition("/")[2]
        for query, count in (
            (f"endpoint={id_}&event=failed", 1),
            ("event=incoming", 0),
            ("state=failed", 0),
            ("endpoint=999999", 0),
        ):
            page = await hooked.browser.open(f"/calls?{query}")
            found = [one for one in page.links if re.fullmatch(r"/calls/\d+", one)]
            self.assertEqual(len(found), count, query)
        self.patch(calls, "MOST_SHOWN", 50)
        page = await hooked.says(last[0], "taken", "beginning is shown")
        exported = await hooked.browser.ask("GET", f"{last[0]}/payload")
        self.assertIn(exported.body[:50].decode(), page.text)
        self.assertNotIn(exported.body[:51].decode(), page.text)
