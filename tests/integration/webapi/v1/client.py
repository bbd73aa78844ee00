"""A client of the API, as an application has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen
from twisted.internet import reactor as the_reactor

from tests.integration.webapi.api import API, Answered, APICase, basic
from tests.integration.world import start_world

BASE = "/api/v1"


@frozen
class Client:
    """The API of one server, with one login."""

    http: API
    login: Mapping[str, str] = field(factory=basic)

    def logged_in(self, login: str, password: str) -> Client:
        """The same, as somebody else."""
        return evolve(self, login=basic(login, password))

    def with_key(self, key: str) -> Client:
        """The same, with a key."""
        return evolve(self, login={"Authorization": f"Bearer {key}"})

    async def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answered:
        """One request; a body that is not bytes becomes JSON."""
        named = {**self.login, **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named = {"Content-Type": "application/json", **named}
        assert body is None or isinstance(body, bytes)
        return await self.http.ask(method, BASE + path, body, named)


class ClientCase(APICase):
    """A test with a server of its own, and a client that is logged in as its user."""

    async def client(self, **settings: Any) -> Client:
        """Start them."""
        settings = {"localserve": True, **settings}
        return Client(API(await start_world(self, the_reactor, **settings)))

    def assert_problem(self, answered: Answered, status: int, code: str, field: str = "") -> None:
        """``answered`` is problem details with these."""
        self.assertEqual(answered.status, status, answered)
        self.assertEqual(answered.headers["content-type"], "application/problem+json")
        problem = json.loads(answered.body)
        self.assertEqual(
            (problem["status"], problem["code"], problem["field"]), (status, code, field), problem
        )
        self.assertEqual(problem["type"], f"urn:mailrelay:problem:{code}")
        self.assertTrue(problem["title"] and problem["detail"])
