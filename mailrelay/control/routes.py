"""Why mail goes where it goes, without sending any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from mailrelay.control.came_by import passed_on
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.directory.model import Account, Directory
from mailrelay.net.tls import TLSLevel
from mailrelay.queue.entry import Entry, Message
from mailrelay.routing.route import Route
from mailrelay.routing.router import Because, Decision, Router
from mailrelay.routing.ways import (
    ByMX,
    ByRelayHost,
    Discard,
    Fail,
    Refrain,
    RelayHost,
    SocksProxy,
    ToEndpoint,
    ToMailbox,
    ToPeer,
)
from mailrelay.smtp.address import Address, MalformedAddress

_BY_ROUTES = frozenset(
    {
        Because.ROUTE,
        Because.FALLBACK,
        Because.RELAY_RULE,
        Because.RECIPIENT_ROUTE,
        Because.RELAY_HOST,
        Because.MX,
    }
)


@frozen
class Explanation:
    """What is decided for an entry, and which routes were passed over before, each with why."""

    entry: Entry
    account: str | None
    decision: Decision
    passed_over: Sequence[tuple[Route, str]]


@frozen
class RouteControl:
    """What may be asked of the routes."""

    router: Router

    async def explain(
        self, recipient: str, sender: str, account: str | None, attempts: int
    ) -> Explanation:
        """Where mail for ``recipient`` goes; an empty ``sender`` is the null reverse-path.

        Raises: Refusal.
        """
        reverse_path = address_of(sender, "sender") if sender else None
        found = account_named(self.router.directory(), account)
        message = Message(
            id=1,
            account_id=found.id if found is not None else None,
            reverse_path=reverse_path,
            received_at=0.0,
            size_bytes=0,
            door="submission",
        )
        to = address_of(recipient, "recipient")
        entry = Entry(1, message, to, queued_at=0.0, next_attempt_at=0.0, attempts=attempts)
        return self.of_entry(entry, account)

    async def passed_on(self, found: Explanation) -> Sequence[Explanation]:
        """What is decided for each of those to whom the recipient passes it on."""
        entries = passed_on(self.router.directory(), found.entry)
        return [self.of_entry(entry, found.account) for entry in entries]

    def of_entry(self, entry: Entry, account: str | None) -> Explanation:
        """Where ``entry`` goes, of the account of that name."""
        decision = self.router.decide(entry)
        passed_over = list(self._passed_over(entry, account, decision))
        return Explanation(entry, account, decision, passed_over)

    def _passed_over(
        self, entry: Entry, account: str | None, decision: Decision
    ) -> Iterator[tuple[Route, str]]:
        if decision.because not in _BY_ROUTES:
            return
        for route in self.router.current().routes:
            mismatch = route.mismatch(entry, account)
            if mismatch is None:
                return
            yield route, mismatch


def address_of(text: str, what: str) -> Address:
    """The address that ``text`` is.  Raises: Refusal."""
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise Refusal(f"the {what} {text!r} is no address: {error}") from error


def account_named(directory: Directory, name: str | None) -> Account | None:
    """The account, None when no name is given.  Raises: NoSuch."""
    if name is None:
        return None
    for account in directory.accounts.values():
        if account.name == name:
            return account
    raise NoSuch(f"no account {name}: mailrelay account list")


def way_text(way: object) -> str:
    """A way in words, without secrets."""
    match way:
        case ToMailbox():
            return "into the mailbox"
        case ByMX():
            level = f", TLS {way.least_tls.value}" if way.least_tls is not None else ""
            return f"by MX of {way.domain}{_families(way)}{_through(way.socks)}{level}"
        case ByRelayHost():
            return "by " + ", else by ".join(map(_host_text, way.relay_hosts))
        case ToEndpoint():
            return f"to the application {way.name}"
        case ToPeer():
            return f"to the peer {way.name}"
        case Discard():
            return "thrown away"
        case Fail():
            return f"answered {way.reply}, without a connection"
        case Refrain():
            return "not attempted"
    raise AssertionError(f"a way without words: {way}")


def _families(way: ByMX) -> str:
    if way.ipv4 and way.ipv6:
        return ""
    return ", IPv4 only" if way.ipv4 else ", IPv6 only"


def _through(socks: SocksProxy | None) -> str:
    if socks is None:
        return ""
    return f", through SOCKS proxy {socks.host} port {socks.port}, as {socks.ehlo_name}"


def _host_text(host: RelayHost) -> str:
    if host.implicit_tls:
        tls = f"TLS from the first byte, level {host.tls.value}"
    elif host.tls is TLSLevel.NONE:
        tls = "without TLS"
    else:
        tls = f"STARTTLS, level {host.tls.value}"
    login = f", logging in as {host.username}" if host.username else ""
    mx = " (by its MX records)" if host.mx_lookup else ""
    return f"{host.host} port {host.port}{mx}, {tls}{login}"
