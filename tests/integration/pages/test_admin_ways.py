"""Where mail goes, on the administrator's pages: relay hosts, peers, routes, hold rules."""

from __future__ import annotations

from mailrelay.control.account import EndpointChange
from mailrelay.control.directory import AccountDetails
from mailrelay.routing.route import Route, RoutingSettings
from mailrelay.routing.transports import NamedTransport
from mailrelay.routing.ways import RelayHost
from mailrelay.testing.loopback import USER
from mailrelay.webhooks.call import EndpointKind
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.world import settled

MARK = '<b id="mark">'
PASSWORD = " s3cret "


class HoldTests(BrowserCase):
    """``/admin/holds``."""

    async def test_add_and_remove(self) -> None:
        """A rule holds what comes after it, and is gone when removed."""
        browser = await self.admin()
        page = await browser.open("/admin/holds")
        self.assertIn("No rule holds anything", page.text)
        fields = {"account": "user", "sender": "", "recipient": "example.net"}
        answered = await browser.send("/admin/holds", page, **fields)
        self.assertEqual(answered.status, 303)
        page = await browser.open(answered.headers["location"])
        self.assertIn("The rule is added", page.text)
        self.assertIn("example.net", page.text)
        await browser.send("/admin/holds", page, sender="<>")
        page = await browser.open("/admin/holds")
        removals = [given.get("action") or "" for tag, given in page.tags if tag == "form"]
        paths = [path for path in removals if path.endswith("/remove")]
        self.assertEqual(len(paths), 2)
        for path in paths:
            self.assertEqual((await browser.send(path, page)).status, 303)
        self.assertEqual((await browser.send(paths[0], page)).status, 404)
        self.assertIn("No rule holds", (await browser.open("/admin/holds")).text)

    async def test_wrong(self) -> None:
        """What is wrong is said; what was typed stays."""
        browser = await self.admin()
        page = await browser.open("/admin/holds")
        for fields in ({"sender": f"a b {MARK}"}, {"account": "nobody"}):
            answered = await browser.send("/admin/holds", page, **fields)
            self.assertEqual(answered.status, 422, fields)
            wrong = Page(answered)
            self.assertNotIn("b", [tag for tag, _ in wrong.tags])
            values = {given.get("value") for tag, given in wrong.tags if tag == "input"}
            self.assertIn(next(iter(fields.values())), values)


class CallTests(BrowserCase):
    """``/admin/calls``."""

    async def called(self) -> Browser:
        """The administrator, while two calls wait for an application that is not there."""
        browser = await self.admin()
        control = browser.server.control()
        url = "http://127.0.0.1:9/hook"
        changes = [EndpointChange(kind, url) for kind in (EndpointKind.OUTGOING,)]
        settled(control.directory.set_account("user", AccountDetails(endpoints=changes)))
        for event in ("delivered", "failed"):
            settled(control.calls.test("user", EndpointKind.OUTGOING, event))
        control.close()
        return browser

    def ids(self, page: Page) -> list[str]:
        """Of the calls that are listed."""
        found = [one.rpartition("/")[2] for one in page.links if one.startswith("/admin/calls/")]
        return [one for one in found if one.isdecimal()]

    async def test_listed_and_canceled(self) -> None:
        """Listed, narrowed, looked at, canceled."""
        browser = await self.called()
        page = await browser.open("/admin/calls")
        self.assertEqual(len(self.ids(page)), 2)
        narrowed = await browser.open("/admin/calls?event=failed&account=user")
        (one,) = self.ids(narrowed)
        self.assertEqual(self.ids(await browser.open("/admin/calls?account=other")), [])
        shown = await browser.open(f"/admin/calls/{one}")
        self.assertIn("127.0.0.1:9/hook", shown.text)
        self.assertIn('"Event": "failed"', shown.text)
        answered = await browser.send("/admin/calls", page, id=one, action="cancel")
        page = await browser.open(answered.headers["location"])
        self.assertIn("1 call is canceled.", page.text)
        self.assertNotIn(one, self.ids(page))
        self.assertIn(one, self.ids(await browser.open("/admin/calls?state=retired")))
        shown = await browser.open(f"/admin/calls/{one}")
        self.assertIn("canceled by admin", shown.text)
        self.assertEqual((await browser.ask("GET", "/admin/calls/999999")).status, 404)

    async def test_all_that_fit(self) -> None:
        """All of an account's; but not all there are, and nothing unheard of."""
        browser = await self.called()
        page = await browser.open("/admin/calls?account=user")
        for fields, status in (
            ({"action": "cancel"}, 422),
            ({"action": "explode", "id": "1"}, 404),
            ({"action": "cancel", "all": "1", "account": ""}, 422),
        ):
            self.assertEqual((await browser.send("/admin/calls", page, **fields)).status, status)
        answered = await browser.send("/admin/calls", page, all="1", action="cancel")
        self.assertIn("changed=2", answered.headers["location"])


class ExplainTests(BrowserCase):
    """``/admin/explain`` and ``/admin/routes``."""

    async def test_accepted(self) -> None:
        """Where it would go, and why; nothing is queued."""
        browser = await self.admin(localserve=False)
        page = await browser.open(
            f"/admin/explain?sender={USER}&recipient=ann@example.net&account=user"
        )
        self.assertIn("It is accepted", page.text)
        self.assertIn("by MX of example.net", page.text)
        self.assertIn("The queue is empty", (await browser.open("/admin/queue")).text)

    async def test_refused(self) -> None:
        """The reply that it would get."""
        browser = await self.admin(localserve=False)
        page = await browser.open("/admin/explain?sender=a@b.example&recipient=ann@example.net")
        self.assertIn("RCPT is answered 550", page.text)

    async def test_wrong(self) -> None:
        """What cannot be asked is said."""
        browser = await self.admin()
        for query in ("recipient=x", "recipient=a@b.example&account=nobody"):
            answered = await browser.ask("GET", f"/admin/explain?{query}")
            self.assertEqual(answered.status, 422, query)

    async def test_routes(self) -> None:
        """What is configured, in words, without passwords."""
        browser = await self.admin()
        page = await browser.open("/admin/routes")
        self.assertIn("No route is configured", page.text)
        host = RelayHost("relay.example", 587, username="me", password="pass-word")
        named = NamedTransport("out", host)
        server = browser.server.server
        server._routing = RoutingSettings(
            [Route("*", number=1, transport=named, from_domain=["example.org"])],
            transports={"out": named},
        )
        page = await browser.open("/admin/routes")
        for text in ("from example.org or below", "by transport out", "relay.example port 587"):
            self.assertIn(text, page.text)
        self.assertNotIn("pass-word", page.answered.body.decode())


class RelayTests(BrowserCase):
    """``/admin/relays``."""

    async def send(self, browser: Browser, **fields: str) -> Page:
        """The page that follows a form."""
        page = await browser.open("/admin/relays")
        answered = await browser.send("/admin/relays", page, **fields)
        self.assertEqual(answered.status, 303, answered)
        return await browser.open(answered.headers["location"])

    async def test_rules(self) -> None:
        """A host, a login, a way, a chain and an exclusion: added, used, removed."""
        browser = await self.admin(localserve=False)
        page = await browser.open("/admin/relays")
        self.assertIn("No relay host is known", page.text)
        await self.send(
            browser, action="host", whose="example.org", host="relay.example", port="2525"
        )
        page = await self.send(
            browser, action="login", whose="example.org", username="me", password=PASSWORD + "x"
        )
        await self.send(browser, action="route", pattern=".example.net", next_hop="[b.example]:25")
        await self.send(
            browser, action="chain", whose="account:user", hops="[c.example]:25\n[d.example]:25"
        )
        page = await self.send(browser, action="exclude", whose="dash.example")
        for text in ("relay.example", ".example.net", "account:user", "dash.example", "me"):
            self.assertIn(text, page.text)
        self.assertNotIn(PASSWORD.strip(), page.answered.body.decode())
        page = await self.send(browser, action="removed", key="@example.org")
        self.assertNotIn("relay.example", page.text)

    async def test_used(self) -> None:
        """What was added decides; the page that explains says so."""
        browser = await self.admin(localserve=False)
        await self.send(browser, action="host", whose="example.org", host="relay.example")
        wanted = f"/admin/explain?sender={USER}&recipient=ann@example.net&account=user"
        for _ in range(600):
            page = await browser.open(wanted)
            if "relay.example" in page.text:
                break
        self.assertIn("by relay.example port 25", page.text)

    async def test_wrong(self) -> None:
        """Each form says what is wrong with it, and shows what was typed, but no password."""
        browser = await self.admin()
        page = await browser.open("/admin/relays")
        for fields, status in (
            ({"action": "host", "whose": f"{MARK} x", "host": "relay.example"}, 422),
            ({"action": "login", "whose": "example.org", "username": "a:b", "password": "x"}, 422),
            ({"action": "route", "pattern": "a b", "next_hop": "x"}, 422),
            ({"action": "chain", "whose": "example.org", "hops": ""}, 422),
            ({"action": "chain", "whose": "account:nobody", "hops": "[a.example]:25"}, 404),
            ({"action": "removed", "key": "@nothing.example"}, 404),
            ({"action": "nothing"}, 404),
        ):
            answered = await browser.send("/admin/relays", page, **fields)
            self.assertEqual(answered.status, status, fields)
            self.assertNotIn(f'value="{fields.get("password", "!")}"', answered.body.decode())
            self.assertNotIn("b", [tag for tag, _ in Page(answered).tags])


class PeerTests(BrowserCase):
    """``/admin/peers``."""

    async def added(self, **fields: str) -> tuple[Browser, Page]:
        """A peer, and the page that shows what was made."""
        browser = await self.admin()
        page = await browser.open("/admin/peers")
        self.assertIn("No peer is known", page.text)
        given = {"name": "relay2", "protocol": "mailrelay/1", "account": "user"}
        given |= {"url": "http://127.0.0.1:9"}
        answered = await browser.send("/admin/peers", page, **given, **fields)
        self.assertEqual(answered.status, 200, answered)
        return browser, Page(answered)

    def keys(self, page: Page) -> list[str]:
        """Those that a page shows in full."""
        fields = [given for tag, given in page.tags if tag == "input"]
        return [given["value"] or "" for given in fields if given.get("class") == "secret"]

    async def test_life(self) -> None:
        """Added, its keys shown once, rotated, asked, changed, removed."""
        browser, made = await self.added()
        secrets = self.keys(made)
        self.assertEqual(len(secrets), 2)
        page = await browser.open("/admin/peers/relay2")
        for secret in secrets:
            self.assertNotIn(secret.partition(":")[2], page.answered.body.decode())
        path = "/admin/peers/relay2"
        answered = await browser.send(f"{path}/key", page, whose="theirs", days="1")
        self.assertEqual(len(self.keys(Page(answered))), 1)
        page = await browser.open(path)
        self.assertEqual(page.text.count("replaced"), 2)
        pinged = Page(await browser.send(f"{path}/ping", page))
        self.assertIn("127.0.0.1, which is not a public address", pinged.text)
        fields = {"url": "http://127.0.0.1:9", "disabled": "1", "from_policy": "keep"}
        answered = await browser.send(path, page, **fields, from_domains="a.example, b.example")
        page = await browser.open(answered.headers["location"])
        self.assertIn("The peer is changed", page.text)
        self.assertIn("a.example\nb.example", page.text)
        self.assertIn("disabled", (await browser.open("/admin/peers")).text)
        self.assertEqual((await browser.send(f"{path}/remove", page)).status, 303)
        self.assertEqual((await browser.ask("GET", path)).status, 404)

    async def test_wrong(self) -> None:
        """What is wrong is said where it was typed."""
        browser, _ = await self.added()
        page = await browser.open("/admin/peers/relay2")
        for path, fields, status in (
            ("", {"name": "relay2", "protocol": "mailrelay/1"}, 422),
            ("", {"name": MARK, "protocol": "mailrelay/1"}, 422),
            ("", {"name": "x", "protocol": "y"}, 404),
            ("", {"name": "x", "protocol": "mailrelay/1", "url": "http://relay.example"}, 422),
            ("/relay2", {"from_policy": "odd"}, 422),
            ("/relay2", {"from_policy": "rewrite"}, 422),
            ("/relay2", {"from_policy": "keep", "account": "nobody"}, 404),
            ("/relay2/key", {"whose": "ours", "days": "x"}, 422),
            ("/relay2/key", {"whose": "ours", "days": "999"}, 422),
            ("/relay2/key", {"whose": "ours", "key": "short"}, 422),
            ("/nobody/ping", {}, 404),
            ("/nobody/remove", {}, 404),
        ):
            answered = await browser.send(f"/admin/peers{path}", page, **fields)
            self.assertEqual(answered.status, status, (path, fields))
            self.assertNotIn("b", [tag for tag, _ in Page(answered).tags])


class OnlyTheAdministratorTests(BrowserCase):
    """Nobody else."""

    async def test_all(self) -> None:
        """An account's session opens none of it, and changes nothing."""
        browser = await self.logged_in()
        for name in ("holds", "calls", "explain", "routes", "relays", "peers", "peers/a"):
            answered = await browser.ask("GET", f"/admin/{name}")
            self.assertEqual(answered.status, 303, name)
        for name in ("holds", "calls", "relays", "peers", "peers/a/key"):
            answered = await browser.ask("POST", f"/admin/{name}", {"action": "host"})
            self.assertEqual(answered.status, 401, name)
