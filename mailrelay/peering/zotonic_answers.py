"""What a Zotonic relay's answer to a message means.  Pure.

Only a receipt is one: a relay that says ok without it, a proxy and a captive portal answer 200 too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import frozen

from mailrelay.directory.peers import Peer
from mailrelay.net.http import HTTPAnswer
from mailrelay.peering.standing import WELL, Found
from mailrelay.peering.zotonic import scrubbed
from mailrelay.queue.outcome import Deferral, HandedOver, Outcome, PermanentFailure
from mailrelay.smtp.reply import printable, reply

CONFIGURATION = frozenset({401, 403, 404, 410})
"""The secret, the URL or the module there is wrong: for the operators, and no reason to bounce."""

BAD_REQUEST = 400


@frozen
class ZotonicVerdict:
    """What a request came to; ``relay_id`` is what the relay calls a message that it took."""

    outcome: Outcome
    said: str
    found: Found = WELL
    relay_id: str = ""


def verdict_of(answer: HTTPAnswer, peer: Peer) -> ZotonicVerdict:
    """What ``answer`` means for the recipient that was asked for; no secret is in what is said."""
    status, told = answer.status, _object(answer)
    why = scrubbed(_why(told), [key.secret for key in peer.keys])
    if status == 200:
        return _of_200(told, peer, why)
    said = f"the peer answered {status}" + (f": {why}" if why else "")
    if status in CONFIGURATION:
        return ZotonicVerdict(Deferral(reply(451, "4.7.8", said)), said, Found(False, alarm=said))
    if status == BAD_REQUEST:
        return ZotonicVerdict(PermanentFailure(reply(554, "5.3.0", said)), said)
    outcome = Deferral(reply(451, "4.3.0", said))
    return ZotonicVerdict(outcome, said, Found(is_well=status < 500))


def _of_200(told: Mapping[str, Any], peer: Peer, why: str) -> ZotonicVerdict:
    result = told.get("result")
    receipt = result.get("receipt") if isinstance(result, dict) else None
    if told.get("status") == "ok" and isinstance(receipt, str) and receipt:
        assert isinstance(result, dict)
        relay_id = printable(str(result.get("message_nr") or ""), 100)
        taken = HandedOver(reply(250, "2.0.0", f"{peer.name} has it as {relay_id or 'its own'}"))
        return ZotonicVerdict(
            taken, f"POST answered 200: {printable(receipt, 200)}", WELL, relay_id
        )
    if told.get("status") == "error":
        said = f"the peer answered 200, with an error: {why}"
        return ZotonicVerdict(Deferral(reply(451, "4.3.0", said)), said)
    said = "the peer answered 200, without a receipt"
    return ZotonicVerdict(Deferral(reply(451, "4.5.0", said)), said, Found(False))


def _object(answer: HTTPAnswer) -> Mapping[str, Any]:
    try:
        told = msgspec.json.decode(answer.body_start) if answer.is_whole else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _why(told: Mapping[str, Any]) -> str:
    """What an error says: a word, or a receipt."""
    for place in (told.get("error"), told.get("result"), told.get("message")):
        said = place.get("receipt") if isinstance(place, dict) else place
        if isinstance(said, str) and said:
            return printable(said, 200)
    return ""
