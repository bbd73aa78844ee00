"""What a peer's answer to a message means for its recipients.  Pure.  A.6.4."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from mailrelay.control.peer_requests import Told
from mailrelay.directory.peers import Peer
from mailrelay.net.http import CallFailed
from mailrelay.peering.client import PeerAnswer
from mailrelay.peering.meta import read_accepted, refusal_text
from mailrelay.peering.standing import WELL, Found
from mailrelay.queue.outcome import Deferral, HandedOver, Outcome, PermanentFailure, Refrained
from mailrelay.smtp.reply import EnhancedStatus, Reply, printable, reply

PERMANENT = frozenset({400, 405, 406, 411, 415, 422, 426})
CONFIGURATION = frozenset({401, 403, 404, 410})
"""Key, URL or the peer's idea of us is wrong: for the operators, and no reason to bounce."""

TOO_LARGE, LOOP = 413, 508
_TAKEN = (200, 202)


@frozen
class Verdict:
    """What a request came to.  ``outcome`` is of all its recipients; else ``results`` says each.

    ``is_answer`` when it is not to be repeated.
    """

    said: str
    found: Found = WELL
    outcome: Outcome | None = None
    is_answer: bool = False
    relay_id: str = ""
    results: Mapping[int, Told] = field(factory=dict)

    @classmethod
    def of_no_answer(cls, error: CallFailed) -> Verdict:
        """Of a call that brought none."""
        why = printable(str(error), 300)
        return cls(why, Found(is_well=False), Deferral(reply(451, "4.4.2", f"the peer: {why}")))


def verdict_of(answer: PeerAnswer, entries: Mapping[int, str]) -> Verdict:
    """What ``answer`` means for ``entries``, recipients by their ids."""
    status, why = answer.status, ""
    if 200 <= status < 400:
        accepted = read_accepted(answer.body, entries) if answer.is_verified else None
        if status in _TAKEN and accepted is not None:
            relay_id, results = accepted
            said = f"POST answered {status}: {relay_id}"
            return Verdict(said, is_answer=True, relay_id=relay_id, results=results)
        why = "without its signature" if not answer.is_verified else "which cannot be understood"
        told = f"the peer answered {status}, {why}"
        return Verdict(told, Found(False), Deferral(reply(451, "4.5.0", told)))
    why = refusal_text(answer.body)
    told = f"the peer answered {status}" + (f": {why}" if why else "")
    outcome = _permanent(status, told)
    if outcome is not None:
        return Verdict(told, outcome=outcome, is_answer=True)
    if status in CONFIGURATION:
        return Verdict(told, Found(False, alarm=told), Deferral(reply(451, "4.7.8", told)))
    found = Found(is_well=status < 500, wait=answer.wait)
    return Verdict(told, found, Deferral(reply(451, "4.3.0", told)))


def _permanent(status: int, told: str) -> Outcome | None:
    if status == TOO_LARGE:
        return PermanentFailure(reply(552, "5.3.4", told))
    if status == LOOP:
        return PermanentFailure(reply(554, "5.4.6", told))
    if status in PERMANENT:
        return PermanentFailure(reply(554, "5.3.0", told))
    return None


def outcome_of(told: Told, peer: Peer, relay_id: str) -> Outcome:
    """What a peer said of one recipient."""
    if told.state == "queued":
        return HandedOver(reply(250, "2.0.0", f"{peer.name} has it as {relay_id}"))
    if told.state == "suppressed":
        return Refrained(reply(550, "5.7.1", f"{peer.name} has it on a suppression list"))
    code = told.code if 400 <= told.code < 600 else 550
    word, _, rest = told.text.partition(" ")
    status = EnhancedStatus.parse(word)
    if status is None or status.class_ != code // 100:
        status, rest = EnhancedStatus(code // 100, 0, 0), told.text
    why = Reply(code, f"{peer.name}: {rest or 'refused'}", status)
    return Deferral(why) if why.is_transient else PermanentFailure(why)
