"""What operators ask of certificates: how they stand, and that some are ordered again.  Blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from mailrelay.certificates.held import Certificates
from mailrelay.certificates.status import CertificateStatus, statuses
from mailrelay.certificates.store import ACMEStore, Standings
from mailrelay.smtp.address import MalformedAddress, normal_domain


class CannotAsk(Exception):
    """The text says why, and what to do."""


class NoHostName(CannotAsk):
    """What is to be ordered is none."""


@frozen
class CertificateDesk:
    """``read`` gives what a server shows as its files say now; ``store`` is where orders are noted.

    ``read`` raises UnusableCertificate.
    """

    hostname: str
    warn_days: float
    read: Callable[[], tuple[Certificates, Standings]]
    store: ACMEStore | None

    def status(self) -> Sequence[CertificateStatus]:
        """Of all certificates.  Raises: UnusableCertificate."""
        return statuses(*self.read(), self.warn_days)

    def renew(self, name: str | None = None) -> Sequence[str]:
        """Have the one for ``name`` ordered again, or all that were; the names.

        A running server does it within seconds, else the next one that starts.
        Raises: CannotAsk.
        """
        if self.store is None:
            raise CannotAsk("nothing is ordered: set [acme], or put new files where [tls] says")
        try:
            self.store.prepare()
            names = [str(normal_domain(name))] if name else sorted(self.store.names())
            names = names or [self.hostname.lower()]
            for one in names:
                self.store.ask(one)
        except MalformedAddress as error:
            raise NoHostName(f"{name!r} is no host name: {error}") from None
        except OSError as error:
            raise CannotAsk(f"{error.filename}: {error.strerror}") from None
        return names
