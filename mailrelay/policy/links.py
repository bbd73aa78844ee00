"""Links that prove by themselves what they are for: signed, and with an end.  Pure.

A token is ``1.PAYLOAD.MAC``: 1 is the key's number, PAYLOAD base64url of the fields and the time
of its end, MAC the first 128 bits of HMAC-SHA256 (threat 14).  The key is of one purpose only:
a token for one thing opens no other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

from attrs import field, frozen

KEY = "1"
MAC_BYTES = 16
MAX_TOKEN_CHARACTERS = 1000

_TOKEN = re.compile(r"1\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{22})")
_SEPARATOR = "\0"


@frozen
class Links:
    """Tokens of one ``purpose``, made with the installation's ``secret``."""

    secret: bytes = field(repr=False)
    purpose: str

    def token(self, fields: Sequence[str], until: float) -> str:
        """A token that says ``fields`` until that time, in seconds since the epoch."""
        text = _SEPARATOR.join((*fields, str(int(until))))
        if text.count(_SEPARATOR) != len(fields):
            raise ValueError("a field has a NUL")
        payload = _encoded(text.encode())
        return f"{KEY}.{payload}.{_encoded(self._mac(payload))}"

    def read(self, token: str, now: float) -> Sequence[str] | None:
        """The fields of a token that we made and that holds at ``now``; None for every other."""
        found = _TOKEN.fullmatch(token) if len(token) <= MAX_TOKEN_CHARACTERS else None
        if found is None:
            return None
        payload, mac = found.groups()
        # Compared as text: several texts may decode to the same bytes.
        if not hmac.compare_digest(mac, _encoded(self._mac(payload))):
            return None
        *fields, until = _decoded(payload).decode().split(_SEPARATOR)
        return fields if now < int(until) else None

    def _mac(self, payload: str) -> bytes:
        key = hmac.digest(self.secret, f"link {self.purpose}".encode(), hashlib.sha256)
        return hmac.digest(key, payload.encode(), hashlib.sha256)[:MAC_BYTES]


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
