"""What is known of who a message is from: SPF, DKIM and DMARC together."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mailrelay.mailauth.dkim_verify import DKIMOutcome, DKIMResult
from mailrelay.mailauth.dmarc import DMARCOutcome
from mailrelay.mailauth.spf import SPFOutcome, SPFResult

NO_SPF = SPFOutcome(SPFResult.NONE)


@frozen
class Authentication:
    """Of one message.  ``spf`` is of MAIL FROM, of EHLO's name where it is null.

    ``from_domain`` is that of the only author, "" when there is not one.
    """

    from_domain: str = ""
    mail_from_domain: str = ""
    helo: str = ""
    spf: SPFOutcome = NO_SPF
    helo_spf: SPFOutcome = NO_SPF
    dkim: Sequence[DKIMOutcome] = ()
    dmarc: DMARCOutcome = DMARCOutcome()

    @property
    def dkim_domains(self) -> tuple[str, ...]:
        """Those that signed it, and whose signature is right; each once."""
        right = (one.domain for one in self.dkim if one.result is DKIMResult.PASS)
        return tuple(dict.fromkeys(right))
