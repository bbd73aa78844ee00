"""DNS as an operator wants it: any type, as it is now, and whether it was validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import dns.exception
import dns.flags
import dns.rdatatype
import dns.resolver
from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.net.resolver import DNSResolver, LookupFailed, MXHost
from mailrelay.net.threads import Executor

EDNS_PAYLOAD = 1232


@frozen
class Found:
    """What there is at a name.  TXT values are texts, others as in a zone file, dots and all.

    ``name`` is where CNAMEs led to, without its final dot.  ``is_authentic``: the resolver says
    that it validated this (RFC 4035 section 3.2.3); worth as much as the way to it.
    """

    name: str
    values: Sequence[str] = ()
    exists: bool = True  # the name, whatever is there
    is_authentic: bool = False


class Lookups(Protocol):
    """What a check asks of DNS; see DNSResolver for what SPF asks."""

    def find(self, name: str, type_: str) -> Deferred[Found]:
        """The records of one type.  Fails with LookupFailed, and with nothing else."""

    def mx_hosts(self, domain: str) -> Deferred[Sequence[MXHost]]:
        """See Resolver."""

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """See Resolver."""

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """See Resolver."""

    def pointers(self, ip: str) -> Deferred[Sequence[str]]:
        """See SPFResolver."""


class FreshResolver(DNSResolver):
    """Asks each time: what was just published is not hidden by what was there before."""

    def __init__(
        self, executor: Executor, nameservers: Sequence[str] = (), timeout: float = 10.0
    ) -> None:
        super().__init__(executor, nameservers, timeout)
        self._resolver.cache = None
        self._resolver.use_edns(0, 0, EDNS_PAYLOAD)
        # RFC 6840 section 5.7: asked for so, the answer says whether it was validated.
        self._resolver.flags = dns.flags.RD | dns.flags.AD

    def find(self, name: str, type_: str) -> Deferred[Found]:
        """See Lookups."""
        return self._executor.run(self._find, name, type_)

    def _find(self, name: str, type_: str) -> Found:
        try:
            answer = self._resolver.resolve(name, type_, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN as error:
            is_authentic = any(_is_authentic(one) for one in error.responses().values())
            return Found(name, exists=False, is_authentic=is_authentic)
        except (dns.exception.DNSException, ValueError) as error:
            raise LookupFailed(f"looking up {type_} of {name}: {type(error).__name__}") from error
        is_text = dns.rdatatype.from_text(type_) == dns.rdatatype.TXT
        values = [_text(one) if is_text else one.to_text() for one in answer.rrset or ()]
        canonical = answer.canonical_name.to_text(omit_final_dot=True).lower()
        return Found(canonical, sorted(values), is_authentic=_is_authentic(answer.response))


def _is_authentic(response: object) -> bool:
    return bool(getattr(response, "flags", 0) & dns.flags.AD)


def _text(record: object) -> str:
    strings: Sequence[bytes] = record.strings  # type: ignore[attr-defined]
    return b"".join(strings).decode("latin-1")
