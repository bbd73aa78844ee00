"""The From field of what a peer hands to us."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.peers import FromPolicy, PeerOptions
from mailrelay.message.fields import read_fields
from mailrelay.message.header import parse_header
from mailrelay.peering.from_policy import NOT_FROM_THERE, refuse_from_of_peer, with_own_from
from mailrelay.policy.relay import NO_FROM
from mailrelay.smtp.address import Address

OURS = Address("relay", "here.test")
MESSAGE = (
    b"DKIM-Signature: v=1;\r\n b=abc\r\nReceived: by site\r\nFrom: =?utf-8?q?J=C3=B6rg?=\r\n"
    b" <joerg@site.test>\r\nSender: x@site.test\r\nSubject: from here\r\nReferences: <1@a>\r\n"
    b"\r\nFrom: the body\r\n"
)


class RewriteTests(SynchronousTestCase):
    """An address of ours."""

    def test_from_and_reply_to(self) -> None:
        """Under the author's name, who gets the answers; all that is still true stays."""
        made = with_own_from(MESSAGE, OURS)
        fields = read_fields(parse_header(made))
        self.assertEqual([(one.name, one.address) for one in fields.from_], [("J\u00f6rg", OURS)])
        header = parse_header(made)
        self.assertIn("<joerg@site.test>", header.first("reply-to") or "")
        self.assertEqual((fields.subject, fields.references), ("from here", ("<1@a>",)))
        for name in ("sender", "dkim-signature"):
            self.assertEqual(header.count(name), 0)
        self.assertEqual((header.count("received"), header.count("from")), (1, 1))
        self.assertTrue(made.endswith(b"\r\n\r\nFrom: the body\r\n"))
        self.assertTrue(made.isascii())

    def test_own_reply_to(self) -> None:
        """Where answers go to somebody already, they go there."""
        made = with_own_from(b"Reply-To: help@site.test\r\n" + MESSAGE, OURS)
        self.assertEqual(list(parse_header(made).all("reply-to")), ["help@site.test"])

    def test_hostile_name(self) -> None:
        """A name cannot become a field."""
        made = with_own_from(
            b"From: =?utf-8?q?a=0D=0ABcc:_x=40y.test?= <a@site.test>\r\n\r\n", OURS
        )
        self.assertEqual(parse_header(made).count("bcc"), 0)


class RefusalTests(SynchronousTestCase):
    """Who may write."""

    def test_domains(self) -> None:
        """From the domains named, or any when none is; when it is rewritten, from any."""
        for domains, policy, refusal in (
            ((), FromPolicy.KEEP, None),
            (("Site.test",), FromPolicy.KEEP, None),
            (("other.test",), FromPolicy.KEEP, NOT_FROM_THERE),
            (("other.test",), FromPolicy.REWRITE, None),
        ):
            options = PeerOptions(from_policy=policy, from_domains=domains)
            self.assertEqual(refuse_from_of_peer(MESSAGE, options), refusal, (domains, policy))

    def test_several_authors(self) -> None:
        """All of them must be from there."""
        options = PeerOptions(from_domains=("site.test",))
        head = b"From: a@site.test, b@evil.test\r\n\r\n"
        self.assertEqual(refuse_from_of_peer(head, options), NOT_FROM_THERE)

    def test_no_author(self) -> None:
        """One From field, with an address."""
        hidden = b"From: <a@site.test> <b@evil.test>\r\n\r\n"
        for head in (b"", b"Subject: x\r\n", b"From: nobody\r\n", MESSAGE[:-20] * 2, hidden):
            self.assertEqual(refuse_from_of_peer(head, PeerOptions()), NO_FROM, head)
        large = b"X: y\r\n" * 1001 + b"\r\n"
        refusal = refuse_from_of_peer(large, PeerOptions())
        self.assertEqual(refusal.code if refusal else 0, 552)
