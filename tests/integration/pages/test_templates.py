"""Templates on pages."""

from __future__ import annotations

from mailrelay.testing.loopback import USER
from tests.integration.pages.browser import BrowserCase, Page
from tests.integration.webapi.api import API
from tests.integration.world import OTHER_PASSWORD

FIELDS = {
    "name": "welcome",
    "subject": "Hello {{ name }}",
    "text": "\r\nDear {{ name }},\r\n",
    "html": "<p style='color:red' onclick='x()'>Dear <b>{{ name }}</b></p><script>x()</script>",
    "variables": '{"name": "<Ann>"}',
    "address": USER,
}


class TemplateTests(BrowserCase):
    """``/templates``."""

    async def test_versions(self) -> None:
        """Made, changed, looked at as it was, removed."""
        browser = await self.logged_in()
        self.assertIn("There are no templates", (await browser.open("/templates")).text)
        page = await browser.open("/templates/new")
        answered = await browser.send("/templates/new", page, **FIELDS, action="save")
        self.assertEqual(answered.status, 303, answered)
        path = answered.headers["location"].partition("?")[0]
        page = await browser.open(answered.headers["location"])
        self.assertIn("The template is made", page.text)
        self.assertIn("\n\nDear {{ name }},\n", page.answered.body.decode())
        changed = {**FIELDS, "text": "changed"}
        answered = await browser.send(path, page, **changed, action="save")
        self.assertEqual(answered.headers["location"], f"{path}?done=saved")
        self.assertIn("changed", (await browser.open(path)).text)
        old = await browser.open(f"{path}?version=1")
        self.assertIn("This is version 1; 2 is in use", old.text)
        self.assertIn("Dear {{ name }},", old.text)
        self.assertIn("welcome", (await browser.open("/templates")).text)
        await browser.log_in("other@example.org", OTHER_PASSWORD)
        others = await browser.open("/templates")
        self.assertNotIn("welcome", others.text)
        for method in ("GET", "POST"):
            form = None if method == "GET" else {**others.hidden, **FIELDS, "action": "save"}
            self.assertEqual((await browser.ask(method, path, form)).status, 404)
        self.assertEqual((await browser.send(f"{path}/remove", others)).status, 404)
        await browser.log_in()
        page = await browser.open(path)
        answered = await browser.send(f"{path}/remove", page)
        self.assertIn("removed", (await browser.open(answered.headers["location"])).text)
        self.assertEqual((await browser.ask("GET", path)).status, 404)

    async def test_preview(self) -> None:
        """Nothing is stored; the HTML does nothing, in a frame that is no page of ours."""
        browser = await self.logged_in()
        page = await browser.open("/templates/new")
        answered = await browser.send("/templates/new", page, **FIELDS, action="preview")
        self.assertEqual(answered.status, 200)
        shown = Page(answered)
        self.assertIn("Hello <Ann>", shown.text)
        self.assertIn("Dear <Ann>,", shown.text)
        self.assertNotIn(b"<Ann>", answered.body)
        [frame] = [given for tag, given in shown.tags if tag == "iframe"]
        self.assertNotIn("allow-same-origin", frame["sandbox"] or "")
        self.assertNotIn("allow-scripts", frame["sandbox"] or "")
        answered = await browser.send("/templates/html", page, **FIELDS)
        self.assertEqual(answered.status, 200)
        self.assertIn(b"<b>&lt;Ann&gt;</b>", answered.body)
        for gone in (b"<script", b"onclick", b"x()"):
            self.assertNotIn(gone, answered.body)
        policy = answered.headers["content-security-policy"]
        self.assertIn("sandbox allow-popups", policy)
        self.assertTrue(policy.startswith("default-src 'none'; img-src data:;"))
        answered = await browser.send("/templates/html", page, **FIELDS, remote="1")
        self.assertIn("https:", answered.headers["content-security-policy"])
        hostile = {**FIELDS, "html": "{{ nothing }}"}
        answered = await browser.send("/templates/html", page, **hostile)
        self.assertIn(b"nothing", answered.body)
        self.assertIn("There are no templates", (await browser.open("/templates")).text)

    async def test_wrong(self) -> None:
        """Line and field are named; what was typed stays."""
        browser = await self.logged_in()
        page = await browser.open("/templates/new")
        for action, fields, field, said in (
            ("save", {"text": "a\r\n{{ b"}, "text", "line 2"),
            ("save", {"html": "{% include 'x' %}"}, "html", "line 1"),
            ("save", {"name": "<b>"}, "name", "must be"),
            ("save", {"subject": "a\x01"}, "subject", "control character"),
            ("preview", {"variables": '{"name":\r\n}'}, "variables", "line 2"),
            ("preview", {"variables": "{}"}, "variables", "name"),
            ("send", {"variables": "[]"}, "variables", "object"),
            ("send", {"address": "other@example.org"}, "", "own addresses"),
        ):
            given = {**FIELDS, **fields, "action": action}
            answered = await browser.send("/templates/new", page, **given)
            self.assertEqual(answered.status, 422, given)
            shown = Page(answered)
            wrong = [one.get("name") for _, one in shown.tags if one.get("aria-invalid") == "true"]
            self.assertEqual(wrong, [field] if field else [], given)
            [text] = [
                line for line in answered.body.decode().split("\n") if 'class="problem"' in line
            ]
            self.assertIn(said, text)
            self.assertIn("Hello {{ name }}" if field != "subject" else "welcome", str(shown.tags))
        self.assertIn("There are no templates", (await browser.open("/templates")).text)

    async def test_sent_to_oneself(self) -> None:
        """As the application's messages are."""
        browser = await self.logged_in()
        page = await browser.open("/templates/new")
        answered = await browser.send("/templates/new", page, **FIELDS, action="send")
        self.assertEqual(answered.status, 200, answered)
        [sent] = [link for link in Page(answered).links if link.startswith("/sent/")]
        self.assertEqual((await browser.ask("GET", sent)).status, 200)
        [arrived] = await self.arrived(API(browser.server), 1)
        self.assertIn("Hello <Ann>", (await browser.open(f"/mail/{arrived.id}")).text)
