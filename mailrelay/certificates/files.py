"""Files of certificates and keys: which there are, what they hold.  Blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from attrs import frozen

from mailrelay.certificates.pair import Pair, parse_pair
from mailrelay.net.tls import UnusableCertificate

MOST_BYTES = 1024 * 1024
MOST_IN_DIRECTORY = 1000


@frozen
class Files:
    """Where a certificate and its key are; the same file twice, when one has both."""

    certificate: Path
    private_key: Path

    def __str__(self) -> str:
        if self.certificate == self.private_key:
            return str(self.certificate)
        return f"{self.certificate} and {self.private_key}"


State = Sequence[tuple[int, int, int] | None]
"""What changes when files do."""


def listed(directory: Path) -> Sequence[Files]:
    """The pairs in a directory, by name.

    ``NAME/fullchain.pem`` with ``NAME/privkey.pem``, as certbot has them, or ``NAME.pem`` with
    both.  Raises: UnusableCertificate.
    """
    found = []
    try:
        for path in sorted(directory.iterdir())[:MOST_IN_DIRECTORY]:
            if path.suffix == ".pem":
                found.append(Files(path, path))
            elif (path / "fullchain.pem").exists():
                found.append(Files(path / "fullchain.pem", path / "privkey.pem"))
    except OSError as error:
        raise UnusableCertificate(f"{error.filename}: {error.strerror}") from error
    return found


def state_of(files: Files) -> State:
    """What changes when ``files`` do."""
    found: list[tuple[int, int, int] | None] = []
    for path in (files.certificate, files.private_key):
        try:
            status = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return found


def read_pair(files: Files, owners: Collection[int]) -> Pair:
    """What ``files`` hold; ``owners`` are the users who may own the key, root may always.

    Raises: UnusableCertificate.
    """
    key = _read(files.private_key, owners)
    certificate = key if files.certificate == files.private_key else _read(files.certificate, None)
    return parse_pair(certificate, key, str(files))


def _read(path: Path, owners: Collection[int] | None) -> bytes:
    """What ``path`` holds.  With ``owners`` it is a key."""
    try:
        with path.open("rb") as file:
            if owners is not None:
                _check_private(path, os.fstat(file.fileno()), owners)
            return file.read(MOST_BYTES)
    except OSError as error:
        raise UnusableCertificate(f"{path}: {error.strerror}") from error


def _check_private(path: Path, status: os.stat_result, owners: Collection[int]) -> None:
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        raise UnusableCertificate(f"{path} is readable by others: chmod 600 {path}")
    if status.st_uid not in {0, *owners}:
        raise UnusableCertificate(
            f"{path} belongs to user {status.st_uid}, who can read and change it: give it to"
            " root, or to the server's user"
        )
