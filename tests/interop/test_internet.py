"""Mail between servers that judge each other: it flows, is forwarded, forged, and reported."""

from __future__ import annotations

import smtplib
from email import policy

from twisted.internet.threads import deferToThread

from mailrelay.directory.aliases import Rewrite
from tests.interop.internet import Internet, Ours, Theirs, letter
from tests.interop.programs import InteropTestCase

ALPHA, BETA, GAMMA, DELTA = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
STRANGER = "127.0.0.66"


def forge(internet: Internet, to: Ours | Theirs, recipient: str, sender: str) -> tuple[int, bytes]:
    """The answer to a message in somebody else's name."""
    client = smtplib.SMTP(to.ip, internet.port, timeout=30, source_address=(STRANGER, 0))
    try:
        message = letter(sender, recipient, "forged")
        message["Authentication-Results"] = f"mx.{to.domain}; dmarc=pass header.from=alpha.test"
        client.ehlo("mx.alpha.test")
        client.mail(sender)
        client.rcpt(recipient)
        return client.data(message.as_bytes(policy=policy.SMTP))
    finally:
        client.close()


class InternetTests(InteropTestCase):
    """Three servers of ours."""

    timeout = 240

    async def test_between_ours(self) -> None:
        """Directly, by an alias elsewhere, in somebody's name; and what is told the next day."""
        internet = await Internet.start(self)
        alpha, beta, gamma = [
            await internet.ours(f"{name}.test", ip)
            for name, ip in (("alpha", ALPHA), ("beta", BETA), ("gamma", GAMMA))
        ]
        alias = await gamma.alias("friends", beta.user, rewrite=Rewrite.SRS)

        await alpha.submit(beta.user, "direct")
        direct = await beta.got()
        results = direct.results("mx.beta.test")
        self.assertEqual(direct.mailbox, "Inbox")
        self.assertIn("spf=pass", results)
        self.assertIn("dkim=pass header.d=alpha.test", results)
        self.assertIn("dmarc=pass", results)

        await alpha.submit(alias, "by an alias")
        forwarded = await beta.got()
        results = forwarded.results("mx.beta.test")
        self.assertEqual(forwarded.mailbox, "Inbox")
        self.assertIn('smtp.mailfrom="SRS0=', results)
        self.assertIn("dkim=pass header.d=alpha.test", results)
        self.assertIn("dmarc=pass", results)
        self.assertIn("arc=pass", results)
        self.assertIn(b"dmarc=pass", forwarded.content[forwarded.content.index(b"ARC-") :])

        for to, recipient in ((beta, beta.user), (gamma, alias)):
            answer = await deferToThread(forge, internet, to, recipient, alpha.user)
            self.assertEqual((answer[0], answer[1][:6]), (550, b"5.7.26"), answer)

        await beta.reports_after(3)
        found = [
            (one.ip, one.messages, one.aligned, one.dispositions) for one in await alpha.told()
        ]
        self.assertEqual(
            found,
            [
                (ALPHA, 1, 1, {"none": 1}),
                (GAMMA, 1, 1, {"none": 1}),
                (STRANGER, 1, 0, {"reject": 1}),
            ],
        )


class PostfixTests(InteropTestCase):
    """One of ours, and Debian's Postfix with opendkim and opendmarc."""

    timeout = 240

    async def test_both_ways(self) -> None:
        """Each believes what the other sends."""
        internet = await Internet.start(self)
        alpha = await internet.ours("alpha.test", ALPHA)
        delta = await internet.postfix("delta.test", DELTA, alpha)

        await delta.submit(alpha.user, "from postfix")
        came = await alpha.got()
        results = came.results("mx.alpha.test")
        self.assertEqual(came.mailbox, "Inbox")
        self.assertIn("dkim=pass header.d=delta.test", results)
        self.assertIn("spf=pass", results)
        self.assertIn("dmarc=pass", results)

        await alpha.submit(delta.user, "to postfix")
        went = (await delta.got()).content
        self.assertIn(b"dkim=pass", went)
        self.assertIn(b"dmarc=pass", went)
        self.assertNotIn(b"fail", went)

        answer = await deferToThread(forge, internet, delta, delta.user, alpha.user)
        self.assertEqual((answer[0], answer[1][:5]), (550, b"5.7.1"), answer)
