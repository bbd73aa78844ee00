"""What is known of who a message is from: its host's name, SPF, DKIM and DMARC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from mailrelay.mailauth.dkim_verify import DKIMOutcome, DKIMResult
from mailrelay.mailauth.dmarc import DMARCOutcome
from mailrelay.mailauth.iprev import HostName
from mailrelay.mailauth.spf import SPFOutcome
from mailrelay.message.auth_results import MethodResult


@frozen
class Authentication:
    """Of one message.  An outcome is None where there was nothing to evaluate.

    ``spf`` is of ``mail_from``, the whole reverse-path, and None when that is null; ``helo_spf`` of
    ``helo``, the name in EHLO.
    """

    ip: str = ""
    helo: str = ""
    mail_from: str = ""
    host: HostName | None = None
    spf: SPFOutcome | None = None
    helo_spf: SPFOutcome | None = None
    dkim: Sequence[DKIMOutcome] = ()
    dmarc: DMARCOutcome = DMARCOutcome()

    @property
    def sender_spf(self) -> SPFOutcome | None:
        """What SPF says of whoever failures are reported to: EHLO's name when that is nobody."""
        return self.spf if self.mail_from else self.helo_spf

    @property
    def sender_domain(self) -> str:
        """Whose SPF record that is of."""
        return self.mail_from.rpartition("@")[2] if self.mail_from else self.helo

    @property
    def dkim_domains(self) -> tuple[str, ...]:
        """Those that signed it, and whose signature is right; each once."""
        right = (one.domain for one in self.dkim if one.result is DKIMResult.PASS)
        return tuple(dict.fromkeys(right))

    @property
    def is_signed_by_author(self) -> bool:
        """Whether the domain in From, or one that belongs to it, signed it."""
        return self.dmarc.is_dkim_aligned or self.dmarc.from_domain in self.dkim_domains

    def results(self) -> Iterator[MethodResult]:
        """The same as Authentication-Results tells it (RFC 8601 section 2.7)."""
        if self.host is not None:
            named = {"policy.iprev": self.ip}
            yield _method("iprev", self.host.result, self.host.reason, named)
        if self.spf is not None:
            named = {"smtp.mailfrom": self.mail_from}
            yield _method("spf", self.spf.result, self.spf.reason, named)
        if self.helo_spf is not None:
            named = {"smtp.helo": self.helo}
            yield _method("spf", self.helo_spf.result, self.helo_spf.reason, named)
        for one in self.dkim:
            named = {"header.d": one.domain, "header.s": one.selector, "header.a": one.algorithm}
            yield _method("dkim", one.result, one.reason, named)
        if not self.dkim:
            yield _method("dkim", DKIMResult.NONE)
        dmarc = self.dmarc
        named = {"header.from": dmarc.from_domain}
        if dmarc.record is not None:
            named["policy.dmarc"] = dmarc.asked
        yield _method("dmarc", dmarc.result, dmarc.reason, named)


def _method(
    name: str, result: str, reason: str = "", properties: Mapping[str, str] | None = None
) -> MethodResult:
    return MethodResult(name, str(result), reason, tuple((properties or {}).items()))
