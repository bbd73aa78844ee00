"""The document is what the server does: schemathesis asks it all sorts of things."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from mailrelay.directory.login import LoginSettings
from mailrelay.testing.loopback import PASSWORD, USER
from mailrelay.web.settings import HTTPSettings
from tests.integration.webapi.v1.client import Client, ClientCase

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)
CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 415, 422]
"""
"""What is too long for its field may be too long altogether: 413."""
OF_PATH = """
[[operations]]
include-path-regex = "^{path}/"
exclude-method = "DELETE"
parameters = {{ id = "{id}" }}
"""
"""Ids that are made up lead nowhere; what was removed has none."""
MOST_GONE = 8
"""Operations: as many as there are for received messages and one thing more."""

EXAMPLES = os.environ.get("MAILRELAY_TEST_SCHEMA_EXAMPLES", "12")
SECONDS = os.environ.get("MAILRELAY_TEST_SCHEMA_SECONDS", "25")
"""It ends by itself then; what it found until then counts."""


class SchemaTests(ClientCase):
    """No failure of the server's, and no answer that the document does not tell of."""

    timeout = 600
    if find_spec("schemathesis") is None:
        skip = "schemathesis is not there: pip install -e '.[test]'"

    async def test_conformance(self) -> None:
        """Every operation, with what fits its types and what does not."""
        no_limits = HTTPSettings(requests_per_minute=0, requests_per_hour=0)
        many = LoginSettings(*[10**6] * 3)  # one of the checks is to log in wrongly
        client = await self.client(http=no_limits, login=many)
        there = await self.made(client)
        client.http.server.server._bell.close()  # a long poll that is asked for is answered at once
        login = ["--auth", f"{USER}:{PASSWORD}"]
        ended, said = await deferToThread(schemathesis, client, login, there, self.mktemp())
        self.assertEqual(ended, 0, said)
        self.assertNotIn("Rate limited", said, "what answers 429 was not tested")
        missing = said.partition("Missing test data")[2].partition("Schema validation")[0]
        # A DELETE may hit upon an id of those that are there: then the others find nothing.
        gone = re.findall(r"- (?!DELETE)\w+ /\S*\{id\}\S*", missing)
        self.assertLess(len(gone), MOST_GONE, said)

    async def made(self, client: Client) -> Mapping[str, int]:
        """One of everything that has an id; the ids, by the beginning of their paths."""

        async def post(path: str, **body: object) -> Any:
            return (await client.ask("POST", path, body)).json

        letter = {"from": {"address": USER}, "to": [{"address": USER}], "text": "x"}
        await post("/messages", **letter)
        await client.ask("GET", "/events?kind=delivered&wait=30")
        received = (await client.ask("GET", "/mailbox/messages")).json["messages"]
        later = await post(
            "/messages", **letter, send_at=f"{date.today() + timedelta(90)}T00:00:00Z"
        )
        webhook = await post(
            "/webhooks", name="app", url="http://127.0.0.1:9/", events=["canceled"]
        )
        return {
            "/messages": later["id"],
            "/entries": later["entries"][0]["id"],
            "/mailbox/messages": received[0]["id"],
            "/webhooks": webhook["id"],
            "/calls": (await post(f"/webhooks/{webhook['id']}/test"))["id"],
            "/templates": (await post("/templates", name="order", text="x"))["id"],
        }


def schemathesis(
    client: Client, options: Sequence[str], there: Mapping[str, int], folder: str
) -> tuple[int, str]:
    """Run it to its end; the exit code, and what it said."""
    place = Path(folder).absolute()
    place.mkdir()
    (place / "schemathesis.toml").write_text(
        CONFIGURATION + "".join(OF_PATH.format(path=path, id=id_) for path, id_ in there.items())
    )
    url = f"http://127.0.0.1:{client.http.server.port('http')}/api/v1/openapi.json"
    command: list[Any] = [
        *(sys.executable, "-m", "schemathesis.cli", "run", url, "--no-color"),
        *("--checks", ",".join(CHECKS), "--max-examples", EXAMPLES, "--seed", "1"),
        *("--phases", "examples,fuzzing", "--generation-deterministic"),
        *("--request-timeout", "20", "--max-time", SECONDS, "--suppress-health-check", "all"),
        *options,
    ]
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, timeout=170, check=False
    )
    return done.returncode, done.stdout[-20_000:] + done.stderr[-5000:]
