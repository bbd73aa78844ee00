"""What is shown of webhook calls."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.pages.admin_calls import MOST_PAYLOAD
from mailrelay.pages.payloads import payload_text


class PayloadTests(SynchronousTestCase):
    """``payload_text``."""

    def test_json(self) -> None:
        """It is set in lines; what is none is as it is."""
        self.assertEqual(payload_text('{"a":"ü"}'.encode(), MOST_PAYLOAD), '{\n  "a": "ü"\n}')
        self.assertEqual(payload_text(b'{"a":\xff', MOST_PAYLOAD), '{"a":\ufffd')

    def test_long(self) -> None:
        """What is long is not read to the end: that would hold everybody up."""
        payload = b'{"a":"' + b"x" * MOST_PAYLOAD + b'"}'
        self.assertEqual(payload_text(payload, MOST_PAYLOAD), payload[:MOST_PAYLOAD].decode())
