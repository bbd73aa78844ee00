"""What was judged of a message that came from outside; kept with it as long as it is."""

from __future__ import annotations

from attrs import frozen


@frozen
class Verdict:
    """Results are the words of RFC 8601 section 2.7, "none" where there was nothing to judge.

    ``is_mail_from_valid`` and ``is_from_valid`` are what the application is told of the
    reverse-path and of From; ``dkim_domains`` those that signed it, and whose signature is right.
    ``reasons`` are lines for people: why each result is what it is.
    """

    spf: str = "none"
    dmarc: str = "none"
    arc: str = "none"
    is_mail_from_valid: bool = False
    is_from_valid: bool = False
    dkim_domains: tuple[str, ...] = ()
    junk: str = ""  # why it belongs in Junk; "" when it does not
    reasons: tuple[str, ...] = ()

    @property
    def is_forged(self) -> bool:
        """Whether who is named as its sender may not be: he must not be told of it."""
        return "fail" in (self.spf, self.dmarc)

    @property
    def is_junk(self) -> bool:
        """Whether local mailboxes put it in Junk."""
        return bool(self.junk)
