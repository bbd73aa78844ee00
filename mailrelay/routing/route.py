"""Routing an entry: the first rule that fits decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from mailrelay.directory.model import Account, Directory, DomainDisabled, NoSuchUser
from mailrelay.policy.simulated import simulated_failure
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Entry
from mailrelay.routing.ways import ByMX, ByRelayHost, Discard, Fail, Refrain, RelayHost, ToMailbox
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import reply

NO_SUCH_USER = reply(550, "5.1.1", "no such user any more")
DOMAIN_DISABLED = reply(451, "4.2.1", "domain is switched off for now")
NEVER_OUT = reply(550, "5.7.1", "this server delivers to its own mailboxes only")


@frozen
class Route:
    """``[[route]]``: for recipients of ``domain`` (``*`` for all, ``.example.org`` for below)."""

    domain: str
    relay_host: RelayHost | None = None
    discard: bool = False
    mx: bool = False  # by MX, though there is a relay host for the rest

    def fits(self, recipient: Address) -> bool:
        """Whether this route is the recipient's."""
        if self.domain == "*":
            return True
        if self.domain.startswith("."):
            return recipient.domain.endswith(self.domain)
        return recipient.domain == self.domain


@frozen
class RoutingSettings:
    """``[relay_host]`` and ``[[route]]`` of the configuration."""

    routes: Sequence[Route] = ()
    relay_host: RelayHost | None = None
    simulate: bool = False  # localserve: special localparts fail
    local_only: bool = False  # localserve: nothing leaves


@frozen
class Router:
    """Called for each entry when it enters memory; a plain function on snapshots."""

    current: Callable[[], RoutingSettings]
    directory: Callable[[], Directory]
    is_suppressed: Callable[[int | None, Address], bool] = lambda account_id, recipient: False

    def __call__(self, entry: Entry) -> Destination:
        """Where ``entry`` goes now."""
        recipient, settings = entry.recipient, self.current()
        if self.is_suppressed(entry.message.account_id, recipient):
            return Destination("suppressed", Refrain(), is_local=True)
        if settings.simulate:
            simulated = simulated_failure(recipient)
            # A report about a simulated failure goes to its sender, whatever that is called.
            if simulated is not None and entry.message.door != "dsn":
                return Destination(
                    f"simulated:{recipient.localpart}", Fail(simulated.reply, simulated.after)
                )
        local = self.directory().resolve(recipient)
        if isinstance(local, Account):
            return Destination("mailbox", ToMailbox(), is_local=True)
        if isinstance(local, NoSuchUser):
            return Destination("mailbox:unknown", Fail(NO_SUCH_USER))
        if isinstance(local, DomainDisabled):
            return Destination("mailbox:disabled", Fail(DOMAIN_DISABLED))
        return _outward(recipient, settings)


def _outward(recipient: Address, settings: RoutingSettings) -> Destination:
    if settings.local_only:
        return Destination("none", Fail(NEVER_OUT))
    route = next((r for r in settings.routes if r.fits(recipient)), None)
    if route is not None and route.discard:
        return Destination("discard", Discard(), is_local=True)
    host = settings.relay_host
    if route is not None:
        host = None if route.mx else route.relay_host
    if host is None:
        return Destination(f"mx:{recipient.domain}", ByMX(recipient.domain))
    return Destination(relay_key(host), ByRelayHost(host))


def relay_key(host: RelayHost) -> str:
    """Host, credentials and TLS level: connections are shared within it, never across."""
    user = f"{host.username}@" if host.username else ""
    implicit = "+implicit" if host.implicit_tls else ""
    return f"relay:{user}{host.host}:{host.port}:{host.tls.value}{implicit}"
