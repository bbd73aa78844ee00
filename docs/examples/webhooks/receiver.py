"""Takes signed webhook calls on a port, with nothing but Python's standard library.

Run it as ``WEBHOOK_SECRET=whsec_... python3 receiver.py 8025``.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 5 * 60  # seconds: of an older call somebody may have kept a copy


class Unverified(Exception):
    """The call is not mailrelay's, or not of now."""


def verify(secret: str, headers, body: bytes) -> dict:
    """What a call says. ``body`` is what came, byte for byte. Raises: Unverified."""
    id_, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise Unverified("there is no timestamp")
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        raise Unverified("the timestamp is not of now")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{id_}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    # While a secret is replaced there are several: one that fits is enough.
    for given in headers.get("webhook-signature", "").split(" "):
        version, _, signature = given.partition(",")
        if version == "v1" and hmac.compare_digest(signature.encode(), expected):
            return json.loads(body)
    raise Unverified("no signature fits")


class Receiver(BaseHTTPRequestHandler):
    """One call."""

    def do_POST(self) -> None:
        """Any 2xx takes the call; after anything else it is made again."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            told = verify(os.environ["WEBHOOK_SECRET"], self.headers, body)
        except Unverified as error:
            self.send_error(401, str(error))
            return
        # Here: if this id was seen before, do nothing.
        print(told["type"], self.headers["webhook-id"], flush=True)
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
