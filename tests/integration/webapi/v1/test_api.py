"""Login, paths, methods and bodies."""

from __future__ import annotations

import json

from mailrelay.testing.loopback import USER
from tests.integration.webapi.v1.client import ClientCase


class DoorTests(ClientCase):
    """What every operation has in common."""

    async def test_account(self) -> None:
        """A login is told who it is."""
        client = await self.client()
        answered = await client.ask("GET", "/account")
        self.assertEqual(answered.status, 200)
        told = answered.json
        self.assertEqual(told["name"], "user")
        self.assertIn(USER, told["addresses"])
        self.assertEqual(told["scopes"], ["manage", "read", "send"])
        head = await client.ask("HEAD", "/account")
        self.assertEqual((head.status, head.body), (200, b""))

    async def test_login(self) -> None:
        """No login and a wrong one are 401 with a challenge, in the same words for all."""
        client = await self.client()
        none = await client.http.ask("GET", "/api/v1/account")
        self.assert_problem(none, 401, "not_logged_in")
        self.assertIn("Basic", none.headers["www-authenticate"])
        wrong = await client.logged_in(USER, "wrong").ask("GET", "/account")
        unknown = await client.logged_in("nobody@example.org", "wrong").ask("GET", "/account")
        self.assert_problem(wrong, 401, "not_logged_in")
        self.assertEqual(wrong.body, unknown.body)

    async def test_failures_are_limited(self) -> None:
        """Who fails too often is judged no more for a while."""
        client = (await self.client()).logged_in(USER, "wrong")
        for _ in range(40):  # a minute may end meanwhile
            answered = await client.ask("GET", "/account")
            if answered.status != 401:
                break
        self.assert_problem(answered, 429, "too_many_failures")

    async def test_foreign_page(self) -> None:
        """A browser's request for a page of another site is refused, whatever its login."""
        client = await self.client()
        for headers in ({"Origin": "https://evil.test"}, {"Sec-Fetch-Site": "cross-site"}):
            answered = await client.ask("GET", "/account", headers=headers)
            self.assert_problem(answered, 403, "foreign_page")

    async def test_paths_and_methods(self) -> None:
        """What is not there is 404, what cannot be done to it 405 with what can."""
        client = await self.client()
        for path in ("/nothing", "/account/x", "/%2e%2e/healthz", "/keys/../account", "/keys/%ff"):
            self.assert_problem(await client.ask("GET", path), 404, "not_found")
        answered = await client.ask("DELETE", "/account")
        self.assert_problem(answered, 405, "method_not_allowed")
        self.assertEqual(answered.headers["allow"], "GET, HEAD")

    async def test_content_encoding(self) -> None:
        """Nothing is unpacked."""
        client = await self.client()
        headers = {"Content-Encoding": "gzip"}
        answered = await client.ask("GET", "/account", headers=headers)
        self.assert_problem(answered, 415, "unsupported_media_type")

    async def test_document(self) -> None:
        """The document is there for everybody, and tells of what there is."""
        client = await self.client()
        answered = await client.http.ask("GET", "/api/v1/openapi.json")
        self.assertEqual(answered.status, 200)
        document = json.loads(answered.body)
        self.assertEqual(document["openapi"], "3.1.0")
        self.assertIn("/account", document["paths"])
        self.assertEqual(answered.headers["x-content-type-options"], "nosniff")
