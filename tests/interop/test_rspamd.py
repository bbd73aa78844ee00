"""A real rspamd judges what comes: rules of ours in it, and its own test message."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor

from mailrelay.acceptance.rspamd import OnReject, RspamdSettings
from mailrelay.testing.loopback import Loopback
from mailrelay.testing.ports import free_port
from tests.interop.programs import InteropTestCase, installed

reactor: Any = installed_reactor

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

CONFIGURATION = """\
options {{
    pidfile = "{home}/pid";
    tempdir = "{home}";
    control_socket = "{home}/control mode=0600";
    url_tld = "{home}/tld";
    filters = "";
    gtube_patterns = "all";
    dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.05; retransmits = 1; }}
}}
logging {{ type = "console"; level = "warning"; }}
actions {{ reject = 15; rewrite_subject = 10; add_header = 6; greylist = 4; }}
lua = "{home}/rules.lua";
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
"""

RULES = """\
local function rule(task)
  local asked = task:get_header('X-Ask')
  if asked == 'soft' then task:set_pre_result('soft reject', 'come again') end
  if asked == 'milter' then
    task:set_milter_reply({
      add_headers = {['X-Found'] = 'yes\\n\\tindeed', ['Subject'] = 'no'},
      remove_headers = {['X-Ask'] = 0, ['From'] = 0},
    })
  end
  if tonumber(asked) then task:insert_result('ASKED', tonumber(asked)) end
  local said = {}
  for _, one in ipairs(task:get_recipients('smtp') or {}) do said[#said + 1] = one.addr end
  local from = task:get_from('smtp')
  task:set_milter_reply({add_headers = {['X-Seen'] = table.concat({
    from and from[1].addr or '<>', table.concat(said, ' '), tostring(task:get_ip()),
    task:get_helo() or '', tostring(task:get_size()),
  }, ' / ')}})
end
local id = rspamd_config:register_symbol({name = 'RULE', type = 'callback', callback = rule})
rspamd_config:register_symbol({name = 'ASKED', type = 'virtual', parent = id})
rspamd_config:set_metric_symbol({name = 'ASKED', score = 1.0})
"""


class RspamdTests(InteropTestCase):
    """Mail of strangers to a server that asks rspamd."""

    async def start(self, **settings: Any) -> Loopback:
        """Start both."""
        home, port = self.folder(), free_port()
        (home / "tld").write_text("test\norg\n")
        (home / "rules.lua").write_text(RULES)
        (home / "rspamd.conf").write_text(CONFIGURATION.format(home=home, port=port))
        command = (installed("rspamd"), "-f", "-i", "-c", str(home / "rspamd.conf"))
        variables = [f"--var={name}={home}" for name in ("DBDIR", "RUNDIR", "LOGDIR")]
        await self.daemon(port, home, *command, *variables, is_ready=_pongs)
        self.home: Path = home
        asked = RspamdSettings(f"http://127.0.0.1:{port}", **settings)
        return await self.us(trusted_networks=(), rspamd=asked)

    async def deliver(self, server: Loopback, content: bytes) -> bytes:
        """The answer to a message."""
        return (
            await server.say(
                b"EHLO client.test",
                b"MAIL FROM:<a@far.test>",
                b"RCPT TO:<user@example.org>",
                b"DATA",
                content + b".",
            )
        )[-1]

    async def test_judged(self) -> None:
        """Each of its actions has its end, and what it was told is what came."""
        server = await self.start()
        start = b"From: a@far.test\r\nX-Spam: No\r\nX-Spam-Score: -9\r\nSubject: x\r\n"
        for ask, wanted in (
            (b"", b"250 2.0.0"),
            (b"X-Ask: soft\r\n", b"451 4.7.1 not now: come again\r\n"),
            (b"X-Ask: 5\r\n", b"451 4.7.1 greylisted"),
            (b"X-Ask: 7\r\n", b"250 2.0.0"),
            (b"X-Ask: 11\r\n", b"250 2.0.0"),
            (b"X-Ask: 16\r\n", b"550 5.7.1 the message is refused: it looks like spam\r\n"),
            (b"X-Ask: milter\r\n", b"250 2.0.0"),
            (b"\r\n" + GTUBE + b"\r\n", b"550 5.7.1 the message is refused: Gtube pattern\r\n"),
        ):
            answer = await self.deliver(server, start + ask + b"\r\nhi\r\n")
            self.assertEqual(answer[: len(wanted)], wanted, ask)
        plain, header, subject, milter = await self.inbox(server, 4)
        size = len(start + b"\r\nhi\r\n")
        self.assertIn(b"X-Seen: a@far.test / user@example.org / 127.0.0.1 / client.test / ", plain)
        self.assertIn(b"/ %d\r\n" % size, plain)
        self.assertIn(b"X-Spam-Status: No, score=0.00 required=15.00 action=no-action\r\n", plain)
        self.assertNotIn(b"X-Spam: ", plain)
        for message, action in ((header, b"add-header"), (subject, b"rewrite-subject")):
            self.assertIn(b"\r\nX-Spam: Yes\r\n", message)
            self.assertIn(b"action=%s\r\n" % action, message)
            self.assertIn(b"\r\nSubject: x\r\n", message)
        self.assertIn(b"X-Found: yes indeed\r\n", milter)
        self.assertNotIn(b"X-Ask", milter)
        self.assertIn(b"\r\nFrom: a@far.test\r\n", milter)
        for message in (plain, header, subject, milter):
            self.assertNotIn(b"X-Spam-Score", message)
            self.assertNotIn(b"X-Spam: No", message)

    async def test_large(self) -> None:
        """A message in the spool is streamed to it; what it would reject may go to Junk."""
        server = await self.start(on_reject=OnReject.JUNK)
        lines = b"x" * 70 + b"\r\n"
        content = b"From: a@far.test\r\nX-Ask: 16\r\n\r\n" + lines * 5000
        self.assertEqual((await self.deliver(server, content))[:3], b"250")
        [message] = await self.inbox(server, 1)
        self.assertIn(b"\r\nX-Spam: Yes\r\n", message)
        self.assertEqual(message.count(lines), 5000)


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(1000)
    except OSError:
        return False
