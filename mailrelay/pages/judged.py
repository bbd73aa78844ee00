"""What was judged of a message, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from mailrelay.message.verdict import Verdict

_SPF: Mapping[str, str] = {
    "pass": "the server that sent it may send for the domain of the envelope's sender",
    "fail": "the domain of the envelope's sender says that this server may not send for it",
    "softfail": "the domain of the envelope's sender says that this server probably may not",
    "neutral": "the domain of the envelope's sender says nothing about this server",
    "none": "the domain of the envelope's sender does not say who may send for it",
    "temperror": "the domain of the envelope's sender could not be asked",
    "permerror": "what the domain of the envelope's sender publishes is wrong",
}
_DMARC: Mapping[str, str] = {
    "pass": "it is from the domain that From names",
    "fail": "it is not shown to be from the domain that From names",
    "none": "the domain that From names asks for nothing",
    "temperror": "the domain that From names could not be asked",
    "permerror": "what the domain that From names publishes is wrong",
}
_ARC: Mapping[str, str] = {
    "pass": "those who passed it on sealed what they saw, and the seals are right",
    "fail": "a seal of those who passed it on is wrong",
}
_TONES = {"pass": "good", "fail": "bad", "softfail": "warn", "permerror": "warn"}


@frozen
class Judged:
    """One result: of what, the word for it, what that means, and how good it is."""

    of: str
    word: str
    meaning: str

    @property
    def tone(self) -> str:
        """The class that it is shown with."""
        return _TONES.get(self.word, "")


def judged(verdict: Verdict | None) -> Sequence[Judged]:
    """The results of ``verdict``; none for what did not come from outside."""
    if verdict is None:
        return []
    domains = ", ".join(verdict.dkim_domains[:10])
    signed = f"signed by {domains}" if domains else "no signature of it is right"
    found = [
        Judged("SPF", verdict.spf, _SPF.get(verdict.spf, "")),
        Judged("DKIM", "pass" if domains else "none", signed),
        Judged("DMARC", verdict.dmarc, _DMARC.get(verdict.dmarc, "")),
    ]
    if verdict.arc != "none":
        found.append(Judged("ARC", verdict.arc, _ARC.get(verdict.arc, "")))
    if verdict.is_junk:
        found.append(Judged("Junk", "fail", verdict.junk))
    return found
