"""docs/examples/webhooks: each receiver takes a real call, and none that is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from socket import create_connection
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.threads import deferToThread

from mailrelay.testing.loopback import USER
from mailrelay.testing.ports import free_port
from mailrelay.webhooks.signature import secret_of, signed_headers
from tests.integration.application import LOCAL_CALLS
from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.world import soon
from tests.interop.programs import installed

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "webhooks"
OTHER_SECRET = secret_of(bytes(32))
BODY = b'{"type":"message.delivered","timestamp":"2026-11-21T09:00:00Z","data":{}}'


def refused(secret: str, now: int) -> dict[str, dict[str, str]]:
    """Headers with which BODY must not be taken, by what is wrong with them."""
    good = signed_headers([secret], "call_7", now, BODY)
    signature = good["webhook-signature"]
    return {
        "nothing": {},
        "another secret": signed_headers([OTHER_SECRET], "call_7", now, BODY),
        "another body": signed_headers([secret], "call_7", now, BODY + b" "),
        "another id": {**good, "webhook-id": "call_8"},
        "another time": {**good, "webhook-timestamp": str(now + 1)},
        "too old": signed_headers([secret], "call_7", now - 330, BODY),
        "of the future": signed_headers([secret], "call_7", now + 330, BODY),
        "no time": {**good, "webhook-timestamp": ""},
        "time that is none": {**good, "webhook-timestamp": f"{now}x"},
        "no signature": {**good, "webhook-signature": ""},
        "no version": {**good, "webhook-signature": signature.removeprefix("v1,")},
        "another version": {**good, "webhook-signature": signature.replace("v1,", "v2,")},
        "half of it": {**good, "webhook-signature": signature[:-8]},
        "version alone": {**good, "webhook-signature": "v1,"},
    }


class ReceiverCase(ClientCase):
    """One example beside a server."""

    async def check(self, command: Callable[[Path, str], Sequence[str]]) -> None:
        """It takes what the server calls it with, and what is signed rightly, and nothing else."""
        client = await self.client(webhooks=LOCAL_CALLS)
        port = free_port()
        url = f"http://127.0.0.1:{port}/"
        fields = {"name": "app", "url": url, "events": ["delivered", "incoming"]}
        made = (await client.ask("POST", "/webhooks", fields)).json
        self.run_beside(command(Path(self.mktemp()).absolute(), str(port)), made["secret"], port)
        mail = {"from": {"address": USER}, "to": [{"address": USER}], "text": "Grüße"}
        self.assertEqual((await client.ask("POST", "/messages", mail)).status, 202)
        await self.taken(client, {"delivered", "incoming"})
        await self.judged(client, made["secret"], port)

    def run_beside(self, command: Sequence[str], secret: str, port: int) -> None:
        """Start it; it ends with the test."""
        process = subprocess.Popen(
            command,
            env={**os.environ, "WEBHOOK_SECRET": secret},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until = time.monotonic() + 60.0
        while process.poll() is None and time.monotonic() < until:
            try:
                create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return
        self.fail(f"{command} does not listen")

    async def taken(self, client: Client, events: set[str]) -> None:
        """Wait until the server's calls are taken; none may have failed."""
        calls: list[dict[str, Any]] = []
        while {one["event"] for one in calls} != events:
            await soon(the_reactor)
            calls = (await client.ask("GET", "/calls?state=taken")).json["calls"]
        self.assertEqual([one["attempt_count"] for one in calls], [1, 1])

    async def judged(self, client: Client, secret: str, port: int) -> None:
        """Post what is right, and what is not."""
        now = int(time.time())
        both = [OTHER_SECRET, secret]
        for secrets in ([secret], both, both[::-1]):
            headers = signed_headers(secrets, "call_7", now, BODY)
            self.assertEqual(await self.post(port, headers), 204, secrets)
        early = signed_headers([secret], "call_7", now - 200, BODY)
        self.assertEqual(await self.post(port, early), 204)
        for wrong, headers in refused(secret, now).items():
            self.assertEqual(await self.post(port, headers), 401, wrong)

    async def post(self, port: int, headers: Mapping[str, str]) -> int:
        """The status with which BODY is answered."""

        def posted() -> int:
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("POST", "/", BODY, dict(headers))
                return connection.getresponse().status
            finally:
                connection.close()

        status: int = await deferToThread(posted)
        return status


class VerifyTests(ReceiverCase):
    """The examples."""

    def test_page(self) -> None:
        """What the page shows stands in the examples, word for word."""
        page = (EXAMPLES.parents[1] / "verify-webhooks.md").read_text(encoding="utf-8")
        shown = dict(
            re.findall(r"^```(python|js|go|php)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        )
        for language, ending in (("python", "py"), ("js", "mjs"), ("go", "go"), ("php", "php")):
            example = (EXAMPLES / f"receiver.{ending}").read_text(encoding="utf-8")
            self.assertIn(shown[language], example)

    async def test_python(self) -> None:
        """Python's."""
        await self.check(lambda _, port: [sys.executable, str(EXAMPLES / "receiver.py"), port])

    async def test_node(self) -> None:
        """Node's."""
        node = installed("node")
        await self.check(lambda _, port: [node, str(EXAMPLES / "receiver.mjs"), port])

    async def test_php(self) -> None:
        """PHP's."""
        php = installed("php")
        await self.check(
            lambda _, port: [php, "-S", f"127.0.0.1:{port}", str(EXAMPLES / "receiver.php")]
        )

    async def test_go(self) -> None:
        """Go's, by GCC's compiler, which is the smaller."""
        gccgo = installed("gccgo")

        def compiled(program: Path, port: str) -> Sequence[str]:
            source = str(EXAMPLES / "receiver.go")
            subprocess.run([gccgo, "-o", str(program), source], check=True, timeout=120)
            return [str(program), port]

        await self.check(compiled)
