"""Postfix's load generators: many messages in, and many out."""

from __future__ import annotations

from mailrelay.config.transports import RelayHostSection
from mailrelay.net.tls import TLSLevel
from mailrelay.testing.loopback import USER
from mailrelay.testing.ports import free_port
from tests.interop.programs import InteropTestCase, installed

MESSAGES = 60


class ManyTests(InteropTestCase):
    """No figures here: only that all arrive."""

    async def source(self, port: int, recipient: str) -> None:
        """Send the messages over several connections."""
        await self.run_program(
            *[installed("smtp-source"), "-m", str(MESSAGES), "-s", "5", "-l", "4000"],
            *["-f", "a@sender.test", "-t", recipient, f"127.0.0.1:{port}"],
        )

    async def test_in(self) -> None:
        """What smtp-source sends is in the mailbox."""
        server = await self.us()
        await self.source(server.port("mx"), USER)
        await self.inbox(server, MESSAGES)

    async def test_out(self) -> None:
        """What it sends for elsewhere is at smtp-sink, once each, over kept connections."""
        port, folder = free_port(), self.folder()
        dump = folder / "dump"
        dump.mkdir(mode=0o777)
        dump.chmod(0o777)
        await self.daemon(
            port,
            folder,
            *[installed("smtp-sink"), "-u", "nobody", "-d", f"{dump}/%M."],
            *[f"127.0.0.1:{port}", "100"],
        )
        server = await self.us(relay_host=RelayHostSection("127.0.0.1", port, TLSLevel.NONE))
        await self.source(server.port("mx"), "x@peer.test")
        told = await self.histories(server, MESSAGES)
        self.assertEqual({one["code"] for one in told}, {250})
        self.assertEqual(len(list(dump.iterdir())), MESSAGES)
        reused = [one for one in told if "(connection reused)" in one["transcript"]]
        self.assertGreater(len(reused), MESSAGES // 2)
