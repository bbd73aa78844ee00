"""Sender rewriting (SRS): a reverse-path of ours that tells whose it was.  Pure.

``SRS0=HASH=DAY=DOMAIN=LOCAL@ours`` stands for ``LOCAL@DOMAIN``.  A path that another server has
rewritten already is not wrapped again: ``SRS1=HASH=OTHER==REST@ours`` stands for
``SRS0=REST@OTHER``, so that a path does not grow with every server.

- HASH is 80 bits of HMAC-SHA256 in base32 (threat 14), of everything else, in lower case: mail
  servers may lower it.  An address made for one domain is none in another.
- DAY is the number of days since the epoch modulo 1024, in two characters of base32.
- A path holds for VALID_DAYS.  SRS1 has no day of its own: the other server checks the one inside.
- A localpart may become longer than the 64 bytes of RFC 5321 section 4.5.3.1.1, as other software's
  does, rather than have a hash that can be guessed; a path has its 254 bytes, or there is none.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode

from attrs import field, frozen

from mailrelay.smtp.address import MAX_PATH_BYTES, Address, MalformedAddress

VALID_DAYS = 21
HASH_BYTES = 10

_DAY = 86400.0
_DAYS = 1024  # what two characters of base32 tell
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

_FLAGS = re.IGNORECASE | re.ASCII | re.DOTALL
_ANY = re.compile(r"SRS([01])[=+-](.+)", _FLAGS)
_SRS0 = re.compile(r"SRS0=([A-Z2-7]{16})=([A-Z2-7]{2})=([^=]{1,255})=(.+)", _FLAGS)
_SRS1 = re.compile(r"SRS1=([A-Z2-7]{16})=([^=]{1,255})=([=+-].+)", _FLAGS)
_OTHERS_SRS1 = re.compile(r"SRS1[=+-][^=]+=([^=]+=[=+-].+)", _FLAGS)


def is_srs(path: Address) -> bool:
    """Whether some server rewrote ``path``."""
    return _ANY.fullmatch(path.localpart) is not None


@frozen
class SRS:
    """Rewrites with an installation's ``secret``, and reads what it wrote."""

    secret: bytes = field(repr=False)

    def rewritten(self, path: Address, domain: str, now: float) -> Address | None:
        """``path`` as an address in ``domain``; None when it has no room there."""
        if not path.domain:
            return None
        found = _ANY.fullmatch(path.localpart)
        if found is None:
            day = _day_text(int(now // _DAY))
            return self._address("SRS0", f"{day}={path.domain}={path.localpart}", domain)
        if found.group(1) == "0":
            rest = path.localpart[len("SRS0") :]
            return self._address("SRS1", f"{path.domain}={rest}", domain)
        others = _OTHERS_SRS1.fullmatch(path.localpart)
        return self._address("SRS1", others.group(1), domain) if others is not None else None

    def original(self, path: Address, now: float) -> Address | None:
        """What a path of ours was made of; None for every other, and when its time is over."""
        found = _SRS0.fullmatch(path.localpart)
        if found is not None:
            hash_, day, domain, localpart = found.groups()
            said = f"{day}={domain}={localpart}"
            is_ours = self._is_ours(hash_, "SRS0", said, path.domain)
            return _parsed(localpart, domain) if is_ours and _holds(day, now) else None
        found = _SRS1.fullmatch(path.localpart)
        if found is None:
            return None
        hash_, domain, rest = found.groups()
        if not self._is_ours(hash_, "SRS1", f"{domain}={rest}", path.domain):
            return None
        return _parsed(f"SRS0{rest}", domain)

    def _address(self, kind: str, said: str, domain: str) -> Address | None:
        address = Address(f"{kind}={self._hash(kind, said, domain)}={said}", domain)
        return address if len(str(address).encode()) <= MAX_PATH_BYTES else None

    def _is_ours(self, hash_: str, kind: str, said: str, domain: str) -> bool:
        return hmac.compare_digest(hash_.upper(), self._hash(kind, said, domain))

    def _hash(self, kind: str, said: str, domain: str) -> str:
        key = hmac.digest(self.secret, b"srs", hashlib.sha256)
        text = f"{kind}={said}@{domain}".lower().encode("utf-8", "surrogateescape")
        return b32encode(hmac.digest(key, text, hashlib.sha256)[:HASH_BYTES]).decode()


def _day_text(day: int) -> str:
    day %= _DAYS
    return _BASE32[day // 32] + _BASE32[day % 32]


def _holds(day: str, now: float) -> bool:
    """Whether a path made on that ``day`` can be used: tomorrow's too, for clocks that differ."""
    high, low = (_BASE32.index(character) for character in day.upper())
    age = (int(now // _DAY) - (high * 32 + low)) % _DAYS
    return age <= VALID_DAYS or age == _DAYS - 1


def _parsed(localpart: str, domain: str) -> Address | None:
    """The address when it is one that mail can go to."""
    try:
        return Address.parse(str(Address(localpart, domain)))
    except MalformedAddress:
        return None
