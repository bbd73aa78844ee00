"""The program of the stock Twisted peer: `python -m … PORT DIRECTORY`."""

# Twisted names the methods.
# ruff: noqa: N802

import os
import sys
from itertools import count
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.mail import smtp
from zope.interface import implementer


@implementer(smtp.IMessage)
class StoredMessage:
    """Collects the lines of a message and stores it durably at its end."""

    serial = count(1)

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        """Keeps a line."""
        self.lines.append(line)

    def eomReceived(self) -> "Deferred[None]":
        """Writes, syncs, renames and syncs the directory before the answer."""
        self.lines.append(b"")
        temporary = self.directory / f"{next(self.serial)}.tmp"
        with temporary.open("wb") as file:
            file.write(b"\n".join(self.lines))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(temporary.with_suffix(".eml"))
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return succeed(None)

    def connectionLost(self) -> None:
        """Forgets the message."""
        self.lines = []


@implementer(smtp.IMessageDelivery)
class AcceptAll:
    """Accepts every sender and recipient."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        """A trace header of the usual length."""
        return b"Received: from load.test ([127.0.0.1])\n\tby bench.test with ESMTP"

    def validateFrom(self, helo: object, origin: smtp.Address) -> smtp.Address:
        """Accepts the sender."""
        return origin

    def validateTo(self, user: smtp.User) -> object:
        """Accepts the recipient."""
        return lambda: StoredMessage(self.directory)


class Factory(smtp.SMTPFactory):
    """Builds stock ESMTP sessions."""

    protocol = smtp.ESMTP
    noisy = False

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.domain = b"bench.test"

    def buildProtocol(self, addr: object) -> smtp.ESMTP:
        """One session."""
        session: smtp.ESMTP = super().buildProtocol(addr)
        session.delivery = AcceptAll(self.directory)
        return session


def main() -> None:
    """Listens until it is told to stop."""
    port, directory = int(sys.argv[1]), Path(sys.argv[2])
    endpoint = TCP4ServerEndpoint(reactor, port, backlog=1000, interface="127.0.0.1")
    endpoint.listen(Factory(directory))
    reactor.run()


if __name__ == "__main__":
    main()
