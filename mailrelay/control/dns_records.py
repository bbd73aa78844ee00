"""The records that a domain's DNS should have, so that its mail is found and believed.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from ipaddress import ip_address

from attrs import field, frozen

from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.directory.model import Domain

MX_PREFERENCE = 10
SPF = "v=spf1 mx ~all"
"""Forwarded mail fails SPF: "-all" has some receivers refuse it before they see its signature."""

HOST_SPF = "v=spf1 a -all"
"""For HELO and the null reverse-path, which nobody forwards (RFC 7208 section 2.3)."""


class Topic(StrEnum):
    """What a record is for; the values are shown."""

    HOST = "host"
    MX = "MX"
    SPF = "SPF"
    DKIM = "DKIM"
    DMARC = "DMARC"
    MTA_STS = "MTA-STS"
    TLSRPT = "TLSRPT"
    CLIENTS = "clients"
    DANE = "DANE"
    CAA = "CAA"
    PTR = "PTR"
    DNSSEC = "DNSSEC"


class Need(StrEnum):
    """How much of a pity it is when a record is not there."""

    NEEDED = "needed"
    USEFUL = "useful"
    HINT = "hint"  # for who wants it, and knows what it asks for


@frozen
class Record:
    """A record to publish.  Names have no final dot; a TXT's ``value`` is its text, unquoted.

    The zone ``of_host`` is that of the server's own name, once for all domains.
    """

    topic: Topic
    name: str
    type: str
    value: str
    why: str
    need: Need = Need.NEEDED
    of_host: bool = False


@frozen
class ReportAddresses:
    """Where reports about a domain are to go; "" for nowhere."""

    dmarc: str
    tls: str


@frozen
class MailHost:
    """This server, as DNS tells of it.  Ports are None where nothing listens."""

    hostname: str
    ehlo_name: str = ""  # the host name's when empty
    addresses: Sequence[str] = ()  # from which mail leaves, and at which it arrives
    smtp_port: int | None = 25
    submission_port: int | None = None
    submissions_port: int | None = None
    autoconfig_port: int | None = None  # where clients get their settings by https
    tlsa: Sequence[str] = ()  # of the certificates in use, such as 3 1 1 and a digest
    authority: str = ""  # the name that CAA has for who issues them
    names: Sequence[str] = field(init=False)  # by which it goes

    @names.default
    def _names(self) -> Sequence[str]:
        return tuple(dict.fromkeys([self.hostname, self.ehlo_name or self.hostname]))


@frozen
class Published:
    """What records are made of."""

    domain: Domain
    keys: Sequence[StoredKey]
    host: MailHost
    reports: ReportAddresses
    mta_sts_id: str = ""  # of the policy that is served; "" for none


def wanted_records(of: Published) -> Sequence[Record]:
    """All of them, those of the host first."""
    return [*host_records(of.host), *_mail(of), *_policies(of), *_clients(of)]


def host_records(host: MailHost) -> Iterator[Record]:
    """What the server's own names need, whatever domains it has."""
    for name in host.names:
        for address in host.addresses:
            type_ = "AAAA" if ip_address(address).version == 6 else "A"
            why = "where the server is, and what its address must point back to"
            yield Record(Topic.HOST, name, type_, address, why, of_host=True)
        why = "what is sent with this name in EHLO, such as reports of failed delivery"
        yield Record(Topic.SPF, name, "TXT", HOST_SPF, why, Need.USEFUL, of_host=True)
    for address in host.addresses:
        why = "set by who gave you the address; large receivers refuse mail without it"
        pointer = ip_address(address).reverse_pointer
        target = f"{host.names[-1]}."
        yield Record(Topic.PTR, pointer, "PTR", target, why, of_host=True)
    for pin in host.tlsa:
        why = "for a zone that is signed (DNSSEC): TLS with this certificate's key, or no delivery"
        name = f"_{host.smtp_port or 25}._tcp.{host.hostname}"
        yield Record(Topic.DANE, name, "TLSA", pin, why, Need.HINT, of_host=True)
    if host.authority:
        why = "no other authority makes certificates"
        value = f'0 issue "{host.authority}"'
        yield Record(Topic.CAA, host.hostname, "CAA", value, why, Need.HINT, of_host=True)


def _mail(of: Published) -> Iterator[Record]:
    name = of.domain.name
    target = f"{MX_PREFERENCE} {of.host.hostname}."
    yield Record(Topic.MX, name, "MX", target, "where mail for the domain goes")
    yield Record(Topic.SPF, name, "TXT", SPF, "which servers send mail of the domain: this one")
    for key in of.keys:
        why = _DKIM_WHY[key.state]
        need = Need.USEFUL if key.state is KeyState.RETIRED else Need.NEEDED
        yield Record(Topic.DKIM, key.name, "TXT", key.record, why, need)


_DKIM_WHY = {
    KeyState.NEXT: "the next key: mail is signed with it once this is seen",
    KeyState.ACTIVE: "the key that mail is signed with",
    KeyState.RETIRED: "a key of before: mail that it signed is still on its way",
}


def _policies(of: Published) -> Iterator[Record]:
    name, reports = of.domain.name, of.reports
    yield Record(
        Topic.DMARC,
        f"_dmarc.{name}",
        "TXT",
        dmarc_text(of),
        "what receivers do with mail that is not the domain's, and where they tell of it",
    )
    elsewhere = reports.dmarc.rpartition("@")[2]
    if reports.dmarc and not f".{elsewhere}".endswith(f".{name}"):
        why = "this domain takes reports for the other (RFC 7489 section 7.1)"
        taker = f"{name}._report._dmarc.{elsewhere}"
        yield Record(Topic.DMARC, taker, "TXT", "v=DMARC1", why)
    if of.mta_sts_id:
        text = f"v=STSv1; id={of.mta_sts_id}"
        why = "the domain has a policy of TLS; a new id says that there is a new one"
        yield Record(Topic.MTA_STS, f"_mta-sts.{name}", "TXT", text, why)
        why = "where that policy is read, by https"
        yield Record(Topic.MTA_STS, f"mta-sts.{name}", "CNAME", f"{of.host.hostname}.", why)
    if reports.tls:
        text = f"v=TLSRPTv1; rua=mailto:{reports.tls}"
        why = "where others tell of trouble with TLS towards us"
        yield Record(Topic.TLSRPT, f"_smtp._tls.{name}", "TXT", text, why)


def dmarc_text(of: Published) -> str:
    """The domain's DMARC record."""
    rua = f"; rua=mailto:{of.reports.dmarc}" if of.reports.dmarc else ""
    return f"v=DMARC1; p={of.domain.dmarc}{rua}"


def _clients(of: Published) -> Iterator[Record]:
    """RFC 6186 section 3.1, RFC 8314 section 5.1; and what Thunderbird and Outlook look for."""
    name, host = of.domain.name, of.host
    found = (
        ("_submissions._tcp", host.submissions_port, "how mail programs send, by TLS"),
        ("_submission._tcp", host.submission_port, "how mail programs send, by STARTTLS"),
        ("_autodiscover._tcp", host.autoconfig_port, "where Outlook reads how to send"),
    )
    for service, port, why in found:
        if port is not None:
            target = f"0 1 {port} {host.hostname}."
            yield Record(Topic.CLIENTS, f"{service}.{name}", "SRV", target, why, Need.USEFUL)
    if host.autoconfig_port is not None:
        why = "where Thunderbird reads how to send"
        target = f"{host.hostname}."
        yield Record(Topic.CLIENTS, f"autoconfig.{name}", "CNAME", target, why, Need.USEFUL)
