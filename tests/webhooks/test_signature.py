"""Signatures: the scheme's published vector, and what is no secret."""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.webhooks.signature import (
    MalformedSecret,
    key_of,
    secret_of,
    signature,
    signed_headers,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, TIMESTAMP = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


class SignatureTests(SynchronousTestCase):
    """mailrelay/webhooks/signature.py."""

    def test_published_vector(self) -> None:
        """What the scheme's libraries test themselves with."""
        self.assertEqual(signature(SECRET, ID, TIMESTAMP, BODY), SIGNATURE)

    def test_openssl(self) -> None:
        """Another implementation comes to the same."""
        command = shutil.which("openssl")
        assert command is not None
        key = key_of(SECRET).hex()
        mac = [command, "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key}", "-binary"]
        signed = b"%b.%d.%b" % (ID.encode(), TIMESTAMP, BODY)
        made = subprocess.run(mac, input=signed, capture_output=True, check=True).stdout
        self.assertEqual(f"v1,{b64encode(made).decode()}", SIGNATURE)

    def test_everything_is_signed(self) -> None:
        """Another id, time, body or secret has another signature."""
        other = secret_of(bytes(range(32)))
        made = {
            signature(SECRET, ID, TIMESTAMP, BODY),
            signature(SECRET, f"{ID}x", TIMESTAMP, BODY),
            signature(SECRET, ID, TIMESTAMP + 1, BODY),
            signature(SECRET, ID, TIMESTAMP, BODY + b" "),
            signature(other, ID, TIMESTAMP, BODY),
        }
        self.assertEqual(len(made), 5)

    def test_several_secrets(self) -> None:
        """While a secret is replaced both sign, the newest first."""
        other = secret_of(bytes(24))
        headers = signed_headers([other, SECRET], ID, TIMESTAMP, BODY)
        self.assertEqual(
            headers,
            {
                "webhook-id": ID,
                "webhook-timestamp": "1614265330",
                "webhook-signature": f"{signature(other, ID, TIMESTAMP, BODY)} {SIGNATURE}",
            },
        )

    def test_secrets(self) -> None:
        """A secret is made of 24 to 64 bytes; what is none is refused, and not repeated."""
        for size in (24, 32, 64):
            self.assertEqual(key_of(secret_of(bytes(size))), bytes(size))
        for size in (0, 23, 65):
            self.assertRaises(MalformedSecret, secret_of, bytes(size))
        bad = (
            SECRET[6:],
            "whsec_",
            "whsec_AAAA",
            f"{SECRET}!",
            f"whsec_{'A' * 92}",
            "whsec_\u00e9",
        )
        for text in bad:
            error = self.assertRaises(MalformedSecret, key_of, text)
            self.assertNotIn(SECRET[6:], str(error))
