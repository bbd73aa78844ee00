"""Templates: made, changed, shown, and messages sent with them."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from typing import Any

from mailrelay.testing.loopback import USER
from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.world import OTHER_PASSWORD

HELLO = {"name": "hello", "subject": "Hi {{ who }}", "html": "<p>Dear {{ who }},</p>"}


class TemplateTests(ClientCase):
    """``/templates``."""

    async def made(self, client: Client, **fields: object) -> Any:
        """A template that was stored."""
        answered = await client.ask("POST", "/templates", {**HELLO, **fields})
        self.assertEqual(answered.status, 201, answered)
        return answered.json

    async def test_life(self) -> None:
        """Stored, listed, read, replaced by a new version, removed."""
        client = await self.client()
        made = await self.made(client)
        self.assertEqual((made["version"], made["text"], made["html"]), (1, "", HELLO["html"]))
        path = f"/templates/{made['id']}"
        self.assertEqual((await client.ask("GET", path)).json, made)
        second = (await client.ask("PUT", path, {**HELLO, "text": "Dear {{ who }}"})).json
        self.assertEqual((second["version"], second["text"]), (2, "Dear {{ who }}"))
        self.assertEqual((await client.ask("GET", path + "?version=1")).json, made)
        versions = (await client.ask("GET", path + "/versions")).json["versions"]
        self.assertEqual([one["version"] for one in versions], [2, 1])
        other = await self.made(client, name="other")
        page = (await client.ask("GET", "/templates?limit=1")).json
        [row] = page["templates"]
        self.assertEqual(row, {name: second[name] for name in row})
        rest = (await client.ask("GET", f"/templates?cursor={page['next_cursor']}")).json
        self.assertEqual([one["id"] for one in rest["templates"]], [other["id"]])
        self.assertIsNone(rest["next_cursor"])
        self.assertEqual((await client.ask("DELETE", path)).status, 204)
        self.assert_problem(await client.ask("GET", path), 404, "not_found")

    async def test_refused(self) -> None:
        """What is wrong is told by its field, and the line within."""
        client = await self.client()
        path = f"/templates/{(await self.made(client))['id']}"
        await self.made(client, name="other")
        for method, where, fields, status, code, field in (
            ("POST", "/templates", {}, 409, "conflict", ""),
            ("PUT", path, {"name": "other"}, 409, "conflict", ""),
            ("POST", "/templates", {"name": "x\n"}, 400, "invalid_field", "name"),
            ("POST", "/templates", {"name": "x", "html": "a\n{%"}, 400, "invalid_field", "html"),
            ("POST", "/templates", {"name": "x", "html": ""}, 400, "invalid_field", "text"),
            ("PUT", path, {"subject": "a\nb"}, 400, "invalid_field", "subject"),
            ("PUT", path, {"text": "a\x00b"}, 400, "invalid_field", "text"),
            ("PUT", path + "9", {}, 404, "not_found", ""),
        ):
            answered = await client.ask(method, where, {**HELLO, **fields})
            self.assert_problem(answered, status, code, field)
        wrong = await client.ask("PUT", path, {**HELLO, "html": "a\n\n{{ x.y() }}"})
        self.assertIn(b"line 3", wrong.body)
        self.assertEqual((await client.ask("GET", path)).json["version"], 1)

    async def test_of_others(self) -> None:
        """Another account's is not there; a key needs the scope."""
        client = await self.client()
        path = f"/templates/{(await self.made(client))['id']}"
        other = client.logged_in("other@example.org", OTHER_PASSWORD)
        for method, where, body in (
            *(("GET", path, None), ("PUT", path, HELLO), ("DELETE", path, None)),
            *(("GET", path + "/versions", None), ("POST", path + "/preview", {})),
        ):
            self.assert_problem(await other.ask(method, where, body), 404, "not_found")
        wanted = {"name": "app", "scopes": ["read"]}
        reader = client.with_key((await client.ask("POST", "/keys", wanted)).json["key"])
        self.assertEqual((await reader.ask("GET", path)).status, 200)
        self.assert_problem(await reader.ask("PUT", path, HELLO), 403, "not_allowed")

    async def test_preview(self) -> None:
        """Of one that is stored, in any version, and of one that is not."""
        client = await self.client()
        path = f"/templates/{(await self.made(client))['id']}"
        await client.ask("PUT", path, {**HELLO, "text": "second {{ who }}"})
        shown = await client.ask("POST", path + "/preview", {"variables": {"who": "<Ann>"}})
        html = "<p>Dear &lt;Ann&gt;,</p>"
        self.assertEqual(shown.json, {"subject": "Hi <Ann>", "text": "second <Ann>", "html": html})
        first = {"variables": {"who": "<Ann>"}, "version": 1}
        shown = await client.ask("POST", path + "/preview", first)
        self.assertEqual(shown.json["text"], "Dear <Ann>,\n")
        source = {"text": "{% for l in lines %}{{ l.title }} {% endfor %}", "variables": {}}
        answered = await client.ask("POST", "/templates/preview", source)
        self.assert_problem(answered, 400, "invalid_field", "variables.lines")
        source["variables"] = {"lines": [{"title": "tea"}]}
        shown = await client.ask("POST", "/templates/preview", source)
        self.assertEqual(shown.json, {"subject": "", "text": "tea ", "html": ""})

    async def test_variables(self) -> None:
        """Names, depth, numbers and size are bounded."""
        client = await self.client()
        deep: Any = 1
        for _ in range(5):
            deep = [deep]
        for wrong in (
            {"a b": 1},
            {"a\n": 1},
            {"": 1},
            {"a": 1e300},
            {"a": deep},
            {"a": "x" * 70_000},
            {"a": ["x" * 60_000, "x" * 60_000]},
            {f"a{n}": 1 for n in range(501)},
        ):
            body = {"text": "x", "variables": wrong}
            answered = await client.ask("POST", "/templates/preview", body)
            problem = json.loads(answered.body)
            self.assertEqual((answered.status, problem["code"]), (400, "invalid_field"), wrong)
            self.assertTrue(problem["field"].startswith("variables"), problem)

    async def test_sent(self) -> None:
        """A message is written with a template; the answer to it is kept as to any other."""
        client = await self.client()
        await self.made(client)
        letter = {
            "from": {"address": USER},
            "to": [{"address": "someone@example.net"}],
            "template": {"name": "hello", "variables": {"who": "Ünï & <Ann>"}},
        }
        key = {"Idempotency-Key": "once"}
        first = await client.ask("POST", "/messages", letter, key)
        self.assertEqual(
            (first.status, (await client.ask("POST", "/messages", letter, key)).body),
            (202, first.body),
        )
        [message] = await self.arrived(client.http)
        content = await self.raw(client.http, message.id)
        parsed: Any = message_from_bytes(content, policy=policy.default)
        self.assertEqual(parsed["subject"], "Hi Ünï & <Ann>")
        text, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
        self.assertEqual(text.get_content().strip(), "Dear Ünï & <Ann>,")
        self.assertEqual(html.get_content().strip(), "<p>Dear Ünï &amp; &lt;Ann&gt;,</p>")

    async def test_not_sent(self) -> None:
        """What a template cannot make is told, with the variable that is missing."""
        client = await self.client()
        await self.made(client)
        for use, more, field in (
            ({"name": "hello"}, {}, "template.variables.who"),
            ({"name": "hello", "variables": {"who": "a\nBcc: x@y"}}, {}, "template.variables"),
            ({"name": "nothing"}, {}, "template.name"),
            ({"name": "hello", "version": 2}, {}, "template.version"),
            ({"name": "hello", "variables": {"who": "x"}}, {"subject": "x"}, "template"),
            ({"name": "hello", "variables": {"who": "x"}}, {"text": "x"}, "template"),
        ):
            letter = {
                "from": {"address": USER},
                "to": [{"address": "someone@example.net"}],
                "template": use,
                **more,
            }
            answered = await client.ask("POST", "/messages", letter)
            self.assert_problem(answered, 400, "invalid_field", field)
        other = client.logged_in("other@example.org", OTHER_PASSWORD)
        letter = {**letter, "from": {"address": "other@example.org"}}
        letter = {**letter, "template": {"name": "hello", "variables": {"who": "x"}}}
        letter.pop("text")
        answered = await other.ask("POST", "/messages", letter)
        self.assert_problem(answered, 400, "invalid_field", "template.name")
