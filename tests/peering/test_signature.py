"""Signatures of mailrelay/1, by the vector that the protocol is published with."""

from __future__ import annotations

import hashlib
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.peering.signature import (
    Signed,
    fits,
    is_idempotency_key,
    is_in_time,
    is_key_id,
    response_signature,
    timestamp_of,
)

SECRET = bytes.fromhex("00112233445566778899aabbccddeeff" * 2)
META = b'{"v":1,"msg_id":"01HZX3Q6E8","mail_from":"a@sender.test","rcpt_to":["b@remote.test"]}\n'
BODY = META + (
    b"From: a@sender.test\r\nTo: b@remote.test\r\nSubject: hi\r\n"
    b"Message-ID: <1@sender.test>\r\n\r\nhello\r\n"
)
REQUEST = Signed(
    "POST",
    "/relay/v1/messages",
    "",
    "k1",
    1767225600,
    "01HZX3Q6E8",
    "application/vnd.mailrelay.message",
    hashlib.sha256(BODY).digest(),
)
SIGNATURE = "1f883400bee86ba29090c9113a77303944647ce710cbbbe5cecd8f3fa25f68a3"
ANSWER = b'{"id":"q1","receipt":"accepted","results":[{"rcpt":"b@remote.test","state":"queued"}]}'
ANSWERED = "30645f94d0dcbb542dc654da4456ae4301b0a1800e34ec7ee528c557333028ef"


class SignatureTests(SynchronousTestCase):
    """Request and answer."""

    def test_request(self) -> None:
        """The published request has the published signature."""
        self.assertEqual(len(BODY), 177)
        self.assertEqual(
            REQUEST.body_digest.hex(),
            "da956f47e52e8cf56f6e0dff254461ad99c651aa622f12ba9c46489174a9131d",
        )
        self.assertEqual(REQUEST.signature(SECRET), SIGNATURE)

    def test_every_part_is_signed(self) -> None:
        """Another value of any part, and another secret, give another signature."""
        found = {SIGNATURE, REQUEST.signature(b"\0" * 32)}
        others: dict[str, Any] = {
            "method": "PUT",
            "path": "/relay/v1/message",
            "query": "a=b",
            "key_id": "k2",
            "timestamp": 1767225601,
            "idempotency_key": "01HZX3Q6E9",
            "content_type": "text/plain",
            "body_digest": hashlib.sha256(BODY + b"\n").digest(),
        }
        for name, value in others.items():
            found.add(evolve(REQUEST, **{name: value}).signature(SECRET))
        self.assertEqual(len(found), 10)

    def test_type_without_case(self) -> None:
        """The type is signed in lower case."""
        shouted = evolve(REQUEST, content_type=REQUEST.content_type.upper())
        self.assertEqual(shouted.signature(SECRET), SIGNATURE)

    def test_answer(self) -> None:
        """The published answer has the published signature; another status has another."""
        self.assertEqual(response_signature(SECRET, 202, SIGNATURE, ANSWER), ANSWERED)
        self.assertNotEqual(response_signature(SECRET, 200, SIGNATURE, ANSWER), ANSWERED)

    def test_fits(self) -> None:
        """A field fits with its version, and with nothing left out or added."""
        self.assertTrue(fits(f"v1={SIGNATURE}", SIGNATURE))
        for given in ("", SIGNATURE, f"v2={SIGNATURE}", f"v1={SIGNATURE} ", "v1=é"):
            self.assertFalse(fits(given, SIGNATURE), given)

    def test_shapes(self) -> None:
        """Key ids, idempotency keys and times have their alphabets and lengths."""
        for text, is_id, is_key in (
            ("k1", True, True),
            ("a" * 64, True, True),
            ("a" * 65, False, True),
            ("a" * 129, False, False),
            ("a b", False, False),
            ("", False, False),
            ("a\n", False, False),
            ("!", False, True),
        ):
            self.assertEqual((is_key_id(text), is_idempotency_key(text)), (is_id, is_key), text)
        self.assertEqual(timestamp_of("1767225600"), 1767225600)
        for text in ("", "-1", "1.5", "9" * 13, "\u0661"):
            self.assertIsNone(timestamp_of(text), text)

    def test_time(self) -> None:
        """Five minutes either way, no more."""
        for off, expected in ((300, True), (-300, True), (300.5, False), (-301, False)):
            self.assertIs(is_in_time(1767225600, 1767225600 + off), expected, off)
