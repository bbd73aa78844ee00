"""The suppression list on the account's pages."""

from __future__ import annotations

import json
import re
from typing import Any

from mailrelay.control.suppression import SuppressionFilter
from mailrelay.pages.suppression_files import LIMITS
from mailrelay.pages.suppressions import PAGE
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API, Part
from tests.integration.world import OTHER_PASSWORD

HOSTILE = "<script>alert(1)</script>\"'{{7*7}}"


def trouble(page: Page) -> str:
    """What a form says is wrong."""
    [text] = re.findall(r'id="trouble">([^<]*)<', page.answered.body.decode())
    return str(text)


class SuppressionTests(BrowserCase):
    """``/suppressions``."""

    async def added(self, browser: Browser, address: str, **fields: str) -> None:
        """Put an address on the list, by the form."""
        page = await browser.open("/suppressions")
        answered = await browser.send("/suppressions", page, address=address, **fields)
        self.assertEqual(answered.headers.get("location"), "/suppressions?done=added", answered)

    async def not_sent(self, browser: Browser, address: str) -> None:
        """Wait until mail to it is suppressed."""
        page = await browser.open("/sent?state=suppressed")
        for _ in range(600):
            if address in page.text:
                return
            page = await browser.open("/sent?state=suppressed")
        self.fail(f"{address} is sent to")

    def listed(self, page: Page) -> list[str]:
        """The base addresses of a list."""
        found = []
        for tag, given in page.tags:
            if tag == "input" and given.get("type") == "hidden" and given["name"] == "address":
                found.append(given["value"] or "")
        return found

    async def import_text(self, browser: Browser, text: str) -> Page:
        """What is said of a list that is pasted."""
        page = await browser.open("/suppressions/import")
        answered = await browser.upload(
            "/suppressions/import", page, Part("text", text.encode()), Part("file", b"", "")
        )
        return Page(answered)

    async def test_life(self) -> None:
        """An address is put on the list, is not sent to, says why, and is taken off again."""
        browser = await self.logged_in()
        self.assertIn("Nothing is suppressed", (await browser.open("/suppressions")).text)
        await self.added(browser, "J.Doe+x@x.test", reason=HOSTILE, expires_at="2030-01-02T03:04")
        page = await browser.open("/suppressions?done=added")
        self.assertIn("is on the list", page.text)
        self.assertIn(HOSTILE, page.text)
        self.assertNotIn(b"<script>alert", page.answered.body)
        self.assertIn("2030-01-02 03:04:00 UTC", page.answered.body.decode())
        self.assertEqual(self.listed(page), ["jdoe@x.test"])
        await API(browser.server).send(To=[{"Address": "jdoe@x.test"}])
        await self.not_sent(browser, "jdoe@x.test")
        why = await browser.open("/suppressions/why?address=jd.oe%40x.test")
        for text in ("Nothing is sent", "on your list", "J.Doe+x@x.test", HOSTILE, "by hand"):
            self.assertIn(text, why.text)
        answered = await browser.send("/suppressions/remove", page, address="jdoe@x.test")
        self.assertEqual(answered.headers["location"], "/suppressions?done=removed")
        self.assertIn("is sent to again", (await browser.open("/suppressions?done=removed")).text)
        why = await browser.open("/suppressions/why?address=jdoe%40x.test")
        self.assertIn("Mail to this address is sent", why.text)
        again = await browser.send("/suppressions/remove", page, address="jdoe@x.test")
        self.assertEqual(again.status, 404)

    async def test_evidence(self) -> None:
        """Of a failure: the reply, and the message that failed."""
        browser = await self.logged_in()
        await API(browser.server).send(To=[{"Address": "x-permerror@localhost"}])
        page = await browser.open("/suppressions")
        for _ in range(600):
            if self.listed(page):
                break
            page = await browser.open("/suppressions")
        self.assertIn("bounce", page.text)
        self.assertIn("code 550", page.text)
        [link] = [one for one in page.links if one.startswith("/sent/entry/")]
        answered = await browser.ask("GET", link)
        self.assertRegex(answered.headers["location"], r"^/sent/\d+$")
        timeline = await browser.open(answered.headers["location"])
        self.assertIn("Failed", timeline.text)
        other = Browser(browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        self.assertEqual((await other.ask("GET", link)).status, 404)

    async def test_refused(self) -> None:
        """What is wrong is said in the form, where what was typed still stands."""
        browser = await self.logged_in()
        await self.added(browser, "there@x.test")
        page = await browser.open("/suppressions")
        good = {"address": "a@x.test", "reason": "kept reason"}
        for field, value, said in (
            ("address", "nonsense", "no address"),
            ("address", "", "no address"),
            ("address", "a@x.test\x01", "no address"),
            ("address", "th.ere+7@x.test", "on the list already"),
            ("reason", "two\nlines", "The reason must be one line"),
            ("reason", "a\x00b", "The reason must be one line"),
            ("reason", "x" * 501, "The reason must be one line"),
            ("expires_at", "2001-01-01T00:00", "The end must lie ahead"),
            ("expires_at", "0000-01-01T00:00", "A time is written as"),
        ):
            answered = await browser.send("/suppressions", page, **{**good, field: value})
            self.assertEqual(answered.status, 422, (field, value))
            refused = Page(answered)
            self.assertIn(said, trouble(refused))
            if field != "reason":
                self.assertIn("kept reason", answered.body.decode())
        self.assertEqual(self.listed(await browser.open("/suppressions")), ["there@x.test"])
        answered = await browser.ask("GET", "/suppressions/why?address=nonsense")
        self.assertEqual(answered.status, 422)
        self.assertIn("no address", trouble(Page(answered)))
        for query in ("search=%00", "search=a%0Ab", "cause=%7F"):
            answered = await browser.ask("GET", f"/suppressions?{query}")
            self.assertEqual(answered.status, 400, query)
            self.assertIn(query.split("=")[0], Page(answered).text)

    async def test_pages_and_search(self) -> None:
        """The list is read page by page, and searched."""
        browser = await self.logged_in()
        text = "\n".join(f"a{number}@x.test" for number in range(PAGE + 2))
        done = await self.import_text(browser, text)
        self.assertIn(f"{PAGE + 2} added, 0 were there already, 0 wrong", done.text)
        first = await browser.open("/suppressions")
        self.assertEqual(len(self.listed(first)), PAGE)
        [more] = [one for one in first.links if "after=" in one]
        second = await browser.open(more)
        self.assertEqual(self.listed(second), [f"a{PAGE}@x.test", f"a{PAGE + 1}@x.test"])
        self.assertEqual([one for one in second.links if "after=" in one], [])
        for query, count in (("search=a1%40", 1), ("search=%25", 0), ("cause=bounce", 0)):
            found = self.listed(await browser.open(f"/suppressions?{query}"))
            self.assertEqual(len(found), count, query)

    async def test_servers_list(self) -> None:
        """The server's list is named when an address is asked about, and is not lifted here."""
        browser = await self.logged_in()
        control = browser.server.control()
        self.addCleanup(control.close)
        await control.suppression.add(None, "*@trap.test", "a trap")
        page = await browser.open("/suppressions/why?address=joe%40trap.test")
        for text in ("Nothing is sent", "on the server's list", "a trap", "operators"):
            self.assertIn(text, page.text)
        self.assertNotIn("address", page.hidden)
        page = await browser.open("/suppressions")
        self.assertEqual(self.listed(page), [])
        answered = await browser.send("/suppressions/remove", page, address="*@trap.test")
        self.assertEqual(answered.status, 404)

    async def test_import(self) -> None:
        """Of each line it is said what became of it; a wrong one keeps no other off the list."""
        browser = await self.logged_in()
        await self.added(browser, "there@x.test")
        text = f"there@x.test\nfresh@x.test,asked\n{HOSTILE}\n*@y.test\n"
        done = await self.import_text(browser, text)
        self.assertIn("2 added, 1 was there already, 1 wrong", done.text)
        rows = re.findall(r"(\d+)(there already|added|wrong)(.*)", done.text)
        self.assertEqual(
            [row[:2] for row in rows],
            [("1", "there already"), ("2", "added"), ("3", "wrong"), ("4", "added")],
        )
        self.assertNotIn(b"<script>alert", done.answered.body)
        listed = self.listed(await browser.open("/suppressions"))
        self.assertEqual(listed, ["there@x.test", "fresh@x.test", "*@y.test"])
        why = await browser.open("/suppressions/why?address=any%40y.test")
        self.assertIn("Nothing is sent", why.text)
        await API(browser.server).send(To=[{"Address": "fresh@x.test"}])
        await self.not_sent(browser, "fresh@x.test")

    async def test_import_of_files(self) -> None:
        """What is exported is imported as it was, whatever its name."""
        browser = await self.logged_in()
        for number in range(3):
            await self.added(browser, f"a{number}@x.test", reason=f'"{number}", =1+1')
        for name, kind in (("csv", "text/csv; charset=utf-8"), ("json", "application/json")):
            exported = await browser.ask("GET", f"/suppressions/export.{name}")
            self.assertEqual(exported.headers["content-type"], kind)
            attached = f'attachment; filename="suppressions.{name}"'
            self.assertEqual(exported.headers["content-disposition"], attached)
            before = await self.reasons(browser)
            page = await browser.open("/suppressions")
            await browser.send("/suppressions/remove", page, address="a1@x.test")
            page = await browser.open("/suppressions/import")
            file = Part("file", exported.body, "../../x<script>")
            done = Page(await browser.upload("/suppressions/import", page, file))
            self.assertIn("1 added, 2 were there already, 0 wrong", done.text)
            self.assertEqual(await self.reasons(browser), before)
        api = await API(browser.server).ask(
            "POST",
            "/api/v1/suppressions/import",
            exported.body,
            {**API(browser.server).login, "Content-Type": "application/json"},
        )
        self.assertEqual([one["result"] for one in api.json["results"]], ["present"] * 3)

    async def reasons(self, browser: Browser) -> dict[str, Any]:
        """The user's list, as operators see it."""
        control = browser.server.control()
        try:
            found = await control.suppression.find(SuppressionFilter("user"))
            return {one.suppression.base_address: one.suppression.reason for one in found}
        finally:
            control.close()

    async def test_empty_export(self) -> None:
        """Of nothing there is the head, and a document without elements."""
        browser = await self.logged_in()
        answered = await browser.ask("GET", "/suppressions/export.json")
        self.assertEqual(json.loads(answered.body), {"suppressions": []})
        answered = await browser.ask("GET", "/suppressions/export.csv")
        self.assertEqual(answered.body.count(b"\n"), 1)

    async def test_imports_that_are_refused(self) -> None:
        """Nothing, what is no list, and what is too large; nothing is put on the list."""
        browser = await self.logged_in()
        self.assertIn("Choose a file", trouble(await self.import_text(browser, "")))
        refused = await self.import_text(browser, '{"kept": 1}')
        self.assertEqual(refused.status, 422)
        self.assertIn("JSON is", trouble(refused))
        self.assertIn('{"kept": 1}', refused.text)
        page = await browser.open("/suppressions/import")
        large = Part("file", b"a@x.test\n" * (LIMITS.files // 9 + 1), "list.csv")
        answered = await browser.upload("/suppressions/import", page, large)
        self.assertEqual(answered.status, 413)
        self.assertIn("longer than", Page(answered).text)
        large = Part("text", b"x" * (LIMITS.fields + 1))
        answered = await browser.upload("/suppressions/import", page, large)
        self.assertEqual(answered.status, 413)
        forged = Page(page.answered)
        forged.hidden["form_token"] = "x"
        answered = await browser.upload("/suppressions/import", forged, Part("text", b"a@x.test"))
        self.assertEqual(answered.status, 403)
        self.assertEqual(self.listed(await browser.open("/suppressions")), [])

    async def test_of_another_account(self) -> None:
        """Another account's list is not seen, exported or changed."""
        browser = await self.logged_in()
        await self.added(browser, "mine@x.test")
        other = Browser(browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        page = await other.open("/suppressions")
        self.assertEqual(self.listed(page), [])
        for name in ("csv", "json"):
            exported = await other.ask("GET", f"/suppressions/export.{name}")
            self.assertNotIn(b"mine", exported.body)
        why = await other.open("/suppressions/why?address=mine%40x.test")
        self.assertIn("Mail to this address is sent", why.text)
        answered = await other.send("/suppressions/remove", page, address="mine@x.test")
        self.assertEqual(answered.status, 404)
        self.assertEqual(self.listed(await browser.open("/suppressions")), ["mine@x.test"])
