"""What ACME needs to keep, in files of the server's own directory.  Blocks.

``acme/`` is the server's user's alone, and so is each file in it; each is replaced whole, durably.
A certificate is in one file with its key, so that none is ever with another's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from twisted.logger import Logger

from mailrelay.certificates.ordering import key_pem, new_key
from mailrelay.certificates.pair import Pair, parse_pair
from mailrelay.net.certificates import make_self_signed, write_private
from mailrelay.net.tls import UnusableCertificate

FOLDER = "acme"

_log = Logger()


class Standing(msgspec.Struct, omit_defaults=True):
    """How it goes with the certificate for a name; times are seconds since the epoch."""

    renew_at: float | None = None
    asked_at: float = 0.0  # when renewal information is to be looked at again
    failures: int = 0
    next_at: float = 0.0  # not before this is it tried again
    error: str | None = None
    error_at: float | None = None


class _Account(msgspec.Struct):
    directory: str
    key: str
    uri: str | None = None


Standings = dict[str, Standing]


class ACMEStore:
    """The files below ``data_dir``.  Methods raise OSError when they cannot be written."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER
        self._certificates = self._folder / "certificates"
        self._asked = self._folder / "renew"
        self._standings = self._folder / "standings.json"

    def prepare(self) -> None:
        """Make what is not there."""
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self._folder, self._certificates, self._asked):
            folder.mkdir(mode=0o700, exist_ok=True)

    def files(self) -> Sequence[Path]:
        """What a backup needs: certificates with their keys, and who we are."""
        return sorted([*self._certificates.glob("*.pem"), *self._folder.glob("account-*.json")])

    # Certificates

    def source(self, name: str) -> str:
        """Where the pair for ``name`` is; host names have no slash, and do not begin with dots."""
        return str(self._certificates / f"{name}.pem")

    def pairs(self) -> Mapping[str, Pair]:
        """All of them, by the name that they were ordered for; what cannot be used is ordered."""
        found = {}
        for path in sorted(self._certificates.glob("*.pem")):
            try:
                text = path.read_bytes()
                found[path.stem] = parse_pair(text, text, str(path))
            except (OSError, UnusableCertificate) as error:
                _log.error("a certificate is not used: {reason}", reason=str(error))
        return found

    def keep(self, name: str, pair: Pair) -> None:
        """Keep the pair for ``name``."""
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in pair.chain)
        write_private(Path(self.source(name)), key_pem(pair.key) + chain)

    def self_signed(self, host: str, now: float) -> Pair:
        """What is shown until there is another, made at first."""
        if not all(path.exists() for path in self._self_signed):
            make_self_signed(*self._self_signed, [host], now)
        made = self.kept_self_signed()
        if made is None:
            raise UnusableCertificate(f"{self._self_signed[0]} cannot be read: remove it")
        return made

    def kept_self_signed(self) -> Pair | None:
        """The same, if it was made."""
        certificate, key = self._self_signed
        with suppress(OSError):
            return parse_pair(certificate.read_bytes(), key.read_bytes(), str(certificate))
        return None

    @property
    def _self_signed(self) -> tuple[Path, Path]:
        return self._folder / "self-signed.pem", self._folder / "self-signed-key.pem"

    def names(self) -> frozenset[str]:
        """Those that were ordered, or tried."""
        kept = {path.stem for path in self._certificates.glob("*.pem")}
        return frozenset(kept | self.standings().keys() - {""})

    # Standing

    def standings(self) -> Standings:
        """How it goes with each name; "" is the authority's."""
        try:
            return msgspec.json.decode(self._standings.read_bytes(), type=Standings)
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return {}

    def keep_standings(self, standings: Standings) -> None:
        """Keep them."""
        write_private(self._standings, msgspec.json.encode(standings))

    # Who we are

    def account(self, directory: str) -> tuple[ec.EllipticCurvePrivateKey, str | None]:
        """Our key at an authority, made at first, and our account, None when there is none."""
        path = self._account(directory)
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=_Account)
            key = load_pem_private_key(kept.key.encode(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            return key, kept.uri
        except FileNotFoundError:
            key = new_key()
            self.keep_account(directory, key, None)
            return key, None

    def keep_account(
        self, directory: str, key: ec.EllipticCurvePrivateKey, uri: str | None
    ) -> None:
        """Keep it: who has the key may revoke our certificates."""
        kept = _Account(directory, key_pem(key).decode(), uri)
        write_private(self._account(directory), msgspec.json.encode(kept))

    def _account(self, directory: str) -> Path:
        digest = hashlib.sha256(directory.encode()).hexdigest()[:16]
        return self._folder / f"account-{digest}.json"

    # What an operator asked

    def ask(self, name: str) -> None:
        """Have the certificate for ``name`` renewed soon, whenever a server runs."""
        self.prepare()
        write_private(self._asked / name, b"")

    def asked(self) -> frozenset[str]:
        """The names that ``ask`` was told, and ``done`` was not."""
        with suppress(FileNotFoundError):
            return frozenset(p.name for p in self._asked.iterdir() if p.suffix != ".new")
        return frozenset()

    def done(self, name: str) -> None:
        """It was tried."""
        (self._asked / name).unlink(missing_ok=True)
