"""Trace fields."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.header import parse_header
from mailrelay.message.trace import (
    Hop,
    date_field,
    delivery_fields,
    message_id_field,
    received_field,
    with_protocol,
)
from mailrelay.smtp.address import Address
from tests.smtp.strategies import addresses


class ReceivedTests(SynchronousTestCase):
    """received_field (RFC 5321 section 4.4)."""

    def test_whole(self) -> None:
        """Everything that is known is told, folded, in the order of the grammar."""
        hop = Hop(
            by="mx.example.org",
            protocol="ESMTPS",
            queue_id=7,
            at=0.0,
            helo="client.example",
            peer_ip="2001:db8::1",
            tls="TLSv1.3 X",
            recipient=Address("u", "example.org"),
        )
        self.assertEqual(
            received_field(hop),
            b"Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example.org\r\n"
            b"\t(TLSv1.3 X)\r\n\twith ESMTPS id 7\r\n\tfor <u@example.org>;\r\n"
            b"\tThu, 01 Jan 1970 00:00:00 +0000\r\n",
        )

    def test_hidden_submitter(self) -> None:
        """Without helo nothing of the client shows, its address neither."""
        field = received_field(Hop("mx", "ESMTPA", 7, 0.0, peer_ip="192.0.2.1"))
        self.assertNotIn(b"192.0.2.1", field)
        self.assertNotIn(b"from", field)
        self.assertNotIn(b"for", field)

    def test_address_forms(self) -> None:
        """IPv4 is a literal of its own form; a Unix socket has no address."""
        field = received_field(Hop("mx", "SMTP", 7, 0.0, helo="c", peer_ip="192.0.2.1"))
        self.assertIn(b"from c ([192.0.2.1])\r\n", field)
        self.assertIn(
            b"from c\r\n", received_field(Hop("mx", "SMTP", 7, 0.0, helo="c", peer_ip=""))
        )

    @given(addresses)
    def test_one_field(self, recipient: Address) -> None:
        """Whatever the recipient, it is one field."""
        header = parse_header(received_field(Hop("mx", "LOCAL", 1, 0.0, recipient=recipient)))
        self.assertEqual([name for name, _ in header.fields], ["received"])

    def test_with_keywords(self) -> None:
        """The keywords of RFC 3848 and RFC 6531 section 4.3."""
        for esmtp, tls, authenticated, smtputf8, keyword in (
            (False, True, True, True, "SMTP"),
            (True, False, False, False, "ESMTP"),
            (True, True, False, False, "ESMTPS"),
            (True, False, True, False, "ESMTPA"),
            (True, True, True, False, "ESMTPSA"),
            (True, False, False, True, "UTF8SMTP"),
            (True, True, True, True, "UTF8SMTPSA"),
        ):
            found = with_protocol(
                esmtp=esmtp, tls=tls, authenticated=authenticated, smtputf8=smtputf8
            )
            self.assertEqual(found, keyword)


class OtherFieldsTests(SynchronousTestCase):
    """Date, Message-ID, Return-Path."""

    @given(st.integers(0, 4_000_000_000))
    def test_date(self, at: int) -> None:
        """The date is the moment, in UTC, with a numeric zone."""
        self.assertEqual(parsedate_to_datetime(date_field(at)).timestamp(), at)
        self.assertTrue(date_field(at).endswith(" +0000"))

    def test_delivery(self) -> None:
        """Final delivery tells the reverse-path, null too, and the recipient."""
        user = Address("a b", "example.org")
        self.assertEqual(
            delivery_fields(None, user), b'Return-Path: <>\r\nDelivered-To: "a b"@example.org\r\n'
        )
        self.assertIn(b'Return-Path: <"a b"@example.org>\r\n', delivery_fields(user, user))

    def test_message_id(self) -> None:
        """The id stands with its brackets."""
        self.assertEqual(message_id_field("<1@x>"), b"Message-ID: <1@x>\r\n")
