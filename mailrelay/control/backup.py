"""Backup and restore of a store of files, and verification of any.

A backup is a folder: ``backup.json`` (what there is, with sizes and SHA-256), ``data/`` (the
database and the spool files that it names) and ``config/`` (configuration, certificate, keys and
password files).  Everything in it is its owner's only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from mailrelay.control.errors import Refusal

MANIFEST = "backup.json"
DATA, CONFIG = "data", "config"
FORMAT = 1
TRIES = 8
"""Snapshots taken until the spool holds all that one names; each try has less to copy."""


class CannotBackUp(Refusal):
    """The copy cannot be made or used; the message says why."""


@frozen
class Finding:
    """Something that is not as it should be."""

    part: str  # database, entry, mailbox, quota, content, spool or backup
    text: str

    def __str__(self) -> str:
        return f"{self.part}: {self.text}"


class Snapshots(Protocol):
    """What is asked of the store's files.  Methods raise CannotBackUp."""

    def database_file(self, url: str, data_dir: Path) -> Path | None:
        """The database's file; None when it is a server's."""

    def spool_folder(self, data_dir: Path) -> Path:
        """Where the large bodies are."""

    def is_in_use(self, database: Path) -> bool:
        """Whether any process has it open."""

    def copy_database(self, database: Path, target: Path) -> None:
        """A consistent copy at one moment, though others write."""

    def spooled(self, database: Path) -> dict[str, int]:
        """Names and sizes of the spool files that it names."""

    def findings(self, database: Path, spool: Path) -> list[Finding]:
        """Everything in it that does not fit together."""


@frozen
class Made:
    """What was backed up."""

    files: int
    size_bytes: int


@frozen
class BackupControl:
    """What may be asked."""

    snapshots: Snapshots
    findings_on_server: Callable[[str], list[Finding]]  # of a database's URL; may CannotBackUp
    now: Callable[[], float]

    def back_up(self, url: str, data_dir: Path, extra: Sequence[Path], target: Path) -> Made:
        """Copy a store, running or not, and the ``extra`` files to the new folder ``target``.

        Raises: CannotBackUp.
        """
        database = self.snapshots.database_file(url, data_dir)
        if database is None:
            raise CannotBackUp("the database is not a file")
        if not database.exists():
            raise CannotBackUp(f"there is no database {database}")
        _make_empty(target)
        (target / DATA).mkdir(mode=0o700)
        copy = target / DATA / database.name
        spool = self.snapshots.spool_folder(target / DATA)
        self._copy_store(database, self.snapshots.spool_folder(data_dir), copy, spool)
        kept: dict[str, str] = {}
        for number, path in enumerate(dict.fromkeys(extra), 1):
            (target / CONFIG).mkdir(mode=0o700, exist_ok=True)
            name = f"{CONFIG}/{number}-{path.name}"
            copy_file(path, target / name)
            kept[name] = str(path)
        files = {str(p.relative_to(target)): _described(p) for p in _files_of(target)}
        manifest = {
            "format": FORMAT,
            "made_at": self.now(),
            "database": f"{DATA}/{database.name}",
            "data_dir": str(data_dir),
            "originals": kept,
            "files": files,
        }
        # Last: a backup without it was not finished.
        write_file(target / MANIFEST, json.dumps(manifest, indent=2).encode())
        return Made(len(files), sum(one["size_bytes"] for one in files.values()))

    def _copy_store(self, database: Path, source: Path, copy: Path, spool: Path) -> None:
        """Copy spool files and database until the copy names nothing that was not copied.

        A running server makes and removes spool files all the time.  They never change, so what
        was copied before the snapshot is right, and a file that it names and that is gone since
        asks for a later snapshot.
        """
        spool.mkdir(mode=0o700)
        _copy_missing(source, spool, [path.name for path in _listed(source)])
        for _ in range(TRIES):
            copy.unlink(missing_ok=True)
            self.snapshots.copy_database(database, copy)
            named = self.snapshots.spooled(copy)
            _copy_missing(source, spool, named)
            if all((spool / name).exists() for name in named):
                break
        else:
            raise CannotBackUp(f"{source} lacks files that the database names: mailrelay verify")
        for path in _listed(spool):
            if path.name not in named:
                path.unlink()
        copy.chmod(0o600)
        sync(copy)
        for folder in (spool, copy.parent):
            sync(folder)

    def verify_store(self, url: str, data_dir: Path) -> list[Finding]:
        """What is wrong with a store, running or not.  Raises: CannotBackUp."""
        database = self.snapshots.database_file(url, data_dir)
        if database is None:
            return self.findings_on_server(url)
        return self.snapshots.findings(database, self.snapshots.spool_folder(data_dir))

    def verify_backup(self, backup: Path) -> list[Finding]:
        """What is wrong with a backup.  Raises: CannotBackUp."""
        manifest = read_manifest(backup)
        found: list[Finding] = []
        for name, wanted in manifest["files"].items():
            path = backup / name
            if not path.is_file():
                found.append(Finding("backup", f"{name} is missing"))
            elif _described(path) != wanted:
                found.append(Finding("backup", f"{name} is not what was backed up"))
        if not found:
            spool = self.snapshots.spool_folder(backup / DATA)
            found = self.snapshots.findings(backup / manifest["database"], spool)
        return found

    def data_dir_of(self, backup: Path) -> Path:
        """Where what ``backup`` holds was.  Raises: CannotBackUp."""
        return Path(read_manifest(backup)["data_dir"])

    def restore(self, backup: Path, target: Path) -> dict[str, str]:
        """Make ``target`` the data directory that was backed up.

        Configuration and keys come to ``target/config``; where each was before is returned.
        Raises: CannotBackUp when the backup is not whole, ``target`` is not empty or in use.
        """
        manifest = read_manifest(backup)
        database = target / Path(manifest["database"]).name
        if database.exists() and self.snapshots.is_in_use(database):
            raise CannotBackUp(f"a server is running in {target}: stop it, restore elsewhere")
        _check_empty(target)
        if found := self.verify_backup(backup):
            raise CannotBackUp(f"{backup} is not whole: {found[0]}")
        _make_empty(target)
        for name in manifest["files"]:
            # data/ becomes the target itself, config/ a folder of it.
            place = target / name.removeprefix(f"{DATA}/")
            for folder in reversed(place.relative_to(target).parents):
                (target / folder).mkdir(mode=0o700, exist_ok=True)
            copy_file(backup / name, place)
        for folder in (*(p for p in target.rglob("*") if p.is_dir()), target):
            sync(folder)
        return {name: str(was) for name, was in manifest["originals"].items()}


def read_manifest(backup: Path) -> dict[str, Any]:
    """What ``backup`` says it holds; no name in it leads out of it.  Raises: CannotBackUp."""
    try:
        manifest: dict[str, Any] = json.loads((backup / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise CannotBackUp(f"{backup} is no finished backup: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise CannotBackUp(f"{backup / MANIFEST} cannot be read: {error}") from None
    if manifest.get("format") != FORMAT:
        raise CannotBackUp(f"{backup} has format {manifest.get('format')}, not {FORMAT}")
    for name in (manifest["database"], *manifest["files"]):
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise CannotBackUp(f"{backup / MANIFEST} names {name}, which is not in the backup")
    return manifest


def _check_empty(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CannotBackUp(f"{target} is not empty: name a new directory")


def _make_empty(target: Path) -> None:
    """Make ``target`` a folder of ours alone, so that nobody puts a link into it meanwhile."""
    _check_empty(target)
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.chmod(0o700)
        os.chown(target, os.geteuid(), os.getegid())
    except OSError as error:
        raise CannotBackUp(f"{target} cannot be made: {error.strerror}") from error
    _check_empty(target)


def _copy_missing(source: Path, target: Path, names: Iterable[str]) -> None:
    """Root may do this in a folder of the server's user: no name and no link leads elsewhere."""
    for name in names:
        if Path(name).name != name:
            raise CannotBackUp(f"the database names {name!r}, which is no name of a spool file")
        if not (target / name).exists() and not name.endswith(".part"):
            try:
                copy_file(source / name, target / name, os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # the server needed it no longer


def copy_file(source: Path, target: Path, flags: int = 0) -> None:
    """Copy, durably, to a new file that only its owner can read."""
    with os.fdopen(os.open(source, os.O_RDONLY | flags), "rb") as file:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as copy:
            while block := file.read(1024 * 1024):
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())


def write_file(path: Path, data: bytes) -> None:
    """Write a new file, durably, that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file or folder on stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files_of(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size_bytes": path.stat().st_size, "sha256": digest}
