"""Relay hosts as operators see and change them: a folder with docker-mailserver's two files.

Invariants:

- A change is written whole or not at all, and only if the file can be used afterwards.
- Files are their owner's alone (0600): there are passwords in one of them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import field, frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.relay_checks import bracketed, domain_key, host_key, login, sender_key
from mailrelay.directory.relays import RelayRule
from mailrelay.routing.relay_chains import RelayChain
from mailrelay.routing.relay_environment import read_environment, read_recipient_routes
from mailrelay.routing.relay_files import (
    RelayFile,
    RelayLine,
    RelayProblem,
    RelayWarning,
    normal_key,
    read_credentials,
    read_lines,
    read_relay_map,
    with_line,
    without_line,
)
from mailrelay.routing.relay_sources import RelaySources
from mailrelay.routing.relay_stored import read_stored

FILES = (RelayFile.RELAY_MAP, RelayFile.CREDENTIALS)
MAX_FILE_BYTES = 4 * 1024 * 1024

_READERS: Mapping[RelayFile, Callable[[str], object]] = {
    RelayFile.RELAY_MAP: read_relay_map,
    RelayFile.CREDENTIALS: read_credentials,
}


@frozen
class RelayFolder:
    """Where the files are."""

    path: Path

    def read(self, file: RelayFile) -> str | None:
        """A file's text, None when there is none.  Raises: RelayProblem."""
        return read_text(file, self.path / file.file_name)

    def write(self, file: RelayFile, text: str) -> None:
        """Put ``text`` in place of the file.  Raises: OSError."""
        target = self.path / file.file_name
        owner = target.stat() if target.exists() else self.path.stat()
        new = self.path / f".{file.file_name}.new"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
            os.fsync(stream.fileno())
        new.replace(target)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While nobody else changes the files.  Raises: OSError."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@frozen
class RelayControl:
    """What may be asked of the files.  Everything blocks, and raises Refusal and OSError."""

    folder: RelayFolder

    async def add_domain(self, domain: str, host: str, port: str = "25") -> str:
        """Have senders of ``domain``, or one address, go by a host; the key."""
        key = sender_key(domain)
        self._set(RelayFile.RELAY_MAP, key, bracketed(host, port))
        return key

    async def exclude_domain(self, domain: str) -> str:
        """Have senders of ``domain`` not go by the environment's RELAY_HOST; the key."""
        key = domain_key(domain)
        self._set(RelayFile.RELAY_MAP, key, "")
        return key

    async def add_login(self, domain: str, username: str, password: str) -> str:
        """Have senders of ``domain``, or one address, log in; the key."""
        key = sender_key(domain)
        self._set(RelayFile.CREDENTIALS, key, login(username, password))
        return key

    async def add_host_login(self, host: str, username: str, password: str) -> str:
        """Have everybody log in at a host, written as in the map or its name alone; the key."""
        key = host_key(host)
        self._set(RelayFile.CREDENTIALS, key, login(username, password))
        return key

    async def remove(self, text: str) -> Sequence[RelayFile]:
        """Take a key out of both files; those that it was in."""
        wanted = {normal_key(text)}
        with suppress(Refusal):  # a host's key is none
            wanted.add(sender_key(text))
        changed = []
        with self._held():
            for file in FILES:
                before = self._text(file)
                after = before
                for key in wanted:
                    after = without_line(after, key)
                if after != before:
                    self._store(file, after)
                    changed.append(file)
        if not changed:
            raise NoSuch(f"no relay host or login of {text}: mailrelay relay list")
        return changed

    async def import_from(self, other: RelayFolder, *, replace: bool) -> int:
        """Take over the entries of another folder's files; how many are new or changed here.

        Raises: RelayProblem, when the other's cannot be used.
        """
        given = {file: other.read(file) or "" for file in FILES}
        lines = {file: read_lines(file, text)[0] for file, text in given.items()}
        for file, text in given.items():
            _READERS[file](text)
        with self._held():
            changes = {file: list(self._news(file, lines[file], replace=replace)) for file in FILES}
            for file, news in changes.items():
                text = self._text(file)
                for line in news:
                    text = with_line(text, line.key, line.value)
                if news:
                    self._store(file, text)
        return sum(map(len, changes.values()))

    def _news(
        self, file: RelayFile, lines: Sequence[RelayLine], *, replace: bool
    ) -> Iterator[RelayLine]:
        mine = {line.key: line.value for line in self._lines(file)}
        for line in lines:
            if mine.get(line.key) == line.value:
                continue
            if line.key in mine and not replace:
                said = f"{line.key} has another value here: --replace takes the new one"
                raise Refusal(f"{file.file_name}, line {line.number}: {said}")
            yield line

    # Files

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Refuses what cannot be done because a file cannot be used."""
        try:
            yield
        except RelayProblem as problem:
            raise Refusal(f"{self.folder.path}: {problem}") from None

    @contextmanager
    def _held(self) -> Iterator[None]:
        self.folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._usable(), self.folder.locked():
            yield

    def _set(self, file: RelayFile, key: str, value: str) -> None:
        with self._held():
            before = self.folder.read(file)
            after = with_line(before or "", key, value)
            if after != before:
                self._store(file, after)

    def _store(self, file: RelayFile, text: str) -> None:
        _READERS[file](text)
        self.folder.write(file, text)

    def _text(self, file: RelayFile) -> str:
        return self.folder.read(file) or ""

    def _lines(self, file: RelayFile) -> Sequence[RelayLine]:
        return read_lines(file, self._text(file))[0]


def read_text(file: RelayFile, path: Path) -> str | None:
    """The text at ``path``, None when there is none.  Raises: RelayProblem."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RelayProblem(file, 0, f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise RelayProblem(file, 0, f"has more than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RelayProblem(file, line, "is not UTF-8") from None


@frozen
class RelayPlace:
    """Where everything is said about relay hosts that is not directory data."""

    folder: RelayFolder | None = None
    variables: Mapping[str, str] = field(factory=dict, repr=False)
    recipient_routes: Path | None = None
    encrypts_all: bool = False
    unverified: frozenset[str] = frozenset()
    chains: Mapping[str, RelayChain] = field(factory=dict)

    @property
    def files(self) -> Sequence[Path]:
        """What to watch."""
        folder = self.folder
        of_folder = [folder.path / file.file_name for file in FILES] if folder is not None else []
        return [*of_folder, *([self.recipient_routes] if self.recipient_routes else [])]


def read_sources(
    place: RelayPlace, managed_domains: Sequence[str], stored: Sequence[RelayRule] = ()
) -> RelaySources:
    """Everything that decides, as it stands now.  Blocks.  Raises: RelayProblem."""
    warnings: list[RelayWarning] = []
    texts = {file: place.folder.read(file) if place.folder is not None else None for file in FILES}
    relay_map = credentials = None
    text = texts[RelayFile.RELAY_MAP]
    if text is not None:
        relay_map, told = read_relay_map(text)
        warnings += told
    text = texts[RelayFile.CREDENTIALS]
    if text is not None:
        credentials, told = read_credentials(text)
        warnings += told
    routes = None
    if place.recipient_routes is not None:
        routes = read_text(RelayFile.RECIPIENT_ROUTES, place.recipient_routes)
        if routes is None:
            raise RelayProblem(RelayFile.RECIPIENT_ROUTES, 0, f"no file {place.recipient_routes}")
    return RelaySources(
        read_environment(place.variables),
        relay_map,
        credentials,
        read_recipient_routes(routes or ""),
        managed_domains,
        warnings,
        place.encrypts_all,
        place.unverified,
        place.chains,
        read_stored(stored),
    )
