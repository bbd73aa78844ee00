"""Debian's Postfix with mailrelay-post as docs/handoff.md sets it up."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import mailrelay
from tests.integration.installed import interpreter
from tests.interop.postfix import Postfix
from tests.interop.programs import InteropTestCase, until

TOKEN = "the-pre-shared-key"

SERVICE = """\
mailpost unix - n n - 10 pipe
  {overrides}
  flags=DRXhq user=nobody null_sender=
  argv={program} --url {url} --ca {ca} --token-file {token} {options}
  --sender=${{sender}} --recipient=${{recipient}} --queue-id=${{queue_id}}
"""
MAIN_CF = """\
transport_maps = inline:{example.org=mailpost:}
mailpost_destination_recipient_limit = 1
"""


class MailpostCase(InteropTestCase):
    """A test with such a one."""

    def setUp(self) -> None:
        """A certificate, a token, and the program where the user nobody may run it."""
        self.home = self.folder()
        self.ca, key = self.certificate(self.home)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.ca, key)
        package = Path(mailrelay.__file__).parent
        for name in ("__init__.py", "handoff"):
            if (package / name).is_dir():
                shutil.copytree(package / name, self.home / "lib/mailrelay" / name)
            else:
                (self.home / "lib/mailrelay").mkdir(parents=True)
                shutil.copy(package / name, self.home / "lib/mailrelay")
        self.program = self.home / "mailrelay-post"
        self.program.write_text(
            f"#!{interpreter()} -sS\nimport sys\nsys.path.insert(0, {str(self.home / 'lib')!r})\n"
            "from mailrelay.handoff.post import main\nmain()\n"
        )
        self.program.chmod(0o755)
        self.token = self.home / "token"
        self.token.write_text(f"{TOKEN}\n")
        shutil.chown(self.token, "root", "nogroup")
        self.token.chmod(0o640)

    async def postfix(
        self, url: str, options: str = "--require-receipt", overrides: str = ""
    ) -> Postfix:
        """One that hands mail for example.org to the endpoint at ``url``."""
        service = SERVICE.format(
            overrides=overrides,
            program=self.program,
            url=url,
            ca=self.ca,
            token=self.token,
            options=options,
        )
        return await Postfix.start(self, 9, MAIN_CF, services=service)

    async def delivered(self, postfix: Postfix, count: int = 1) -> None:
        """Wait until so many copies were."""
        await until(lambda: postfix.log.count("status=sent (delivered via mailpost") >= count)
        self.assertEqual(postfix.log.count("status=bounced"), 0)
