"""Peers of mailrelay/1 that the node hands mail to: one waits to be asked, one tells by itself.

They tell later what became of what they took.  While the second one is away for long, its mail goes
to the first: what it had taken by then comes twice.  All hear of what comes on our suppression
list, and off it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from attrs import define, field

from mailrelay.testing.simulated.http_calls import Caller
from mailrelay.testing.simulated.http_hops import (
    SECOND,
    Answer,
    Answering,
    Hop,
    Request,
    answer_of,
)

KEY_ID, SECRET = "our-key", bytes(range(32))
THEIR_KEY_ID, THEIR_SECRET = "their-key", bytes(range(32, 64))
"""With the first our requests are signed, with the second what is pushed."""

EVENTS = "/relay/v1/events"


@define(eq=False)
class Peer(Hop):
    """Says of each recipient what becomes of it, and tells later what became."""

    events: list[Mapping[str, Any]] = field(factory=list)
    suppressed: dict[str, bool] = field(factory=dict)  # what it was told of addresses
    _waiting: list[Callable[[], None]] = field(factory=list)

    def take(self, request: Request) -> Answer:
        """See Hop."""
        line, _, content = request.body.partition(b"\n")
        meta = json.loads(line)
        id_ = f"q{len(self.answered)}"
        results = [self._result(recipient) for recipient in meta["rcpt_to"]]
        kept = [one["rcpt"] for one in results if one["state"] == "queued"]
        self.peers.keep(self.domain, kept, content)
        others = [one for one in kept if not one.endswith(f"@{self.domain}")]
        self.world.counts["fallback"] += len(others)
        for recipient in kept:
            self._send(meta["msg_id"], id_, recipient)
        return answer_of(202, id=id_, receipt="accepted", results=results)

    def _result(self, recipient: str) -> Mapping[str, Any]:
        world = self.world
        if world.seconds() <= world.calm_after and world.chance(0.15):
            code = world.random.choice((450, 550))
            world.count(f"HTTP recipient {code}")
            return {"rcpt": recipient, "state": "rejected", "code": code, "text": "no"}
        return {"rcpt": recipient, "state": "queued"}

    def _send(self, msg_id: str, relay_id: str, recipient: str) -> None:
        """Mail that came here because another was away always arrives."""
        world = self.world
        is_own = recipient.endswith(f"@{self.domain}") and self.domain != SECOND
        ends = ("relayed", "relayed", "relayed", "bounced") if is_own else ("relayed",)
        told = [*(["deferred"] if world.chance(0.2) else []), world.random.choice(ends)]
        self.peers.tells(recipient, "failed" if told[-1] == "bounced" else "delivered")
        wait = 0.0
        for number, type_ in enumerate(told, 1):
            wait += world.random.uniform(0.001, 40.0)
            event = {"msg_id": msg_id, "relay_id": relay_id, "rcpt": recipient, "type": type_}
            more = {"attempt": number, "final": type_ == "bounced"}
            world.clock.callLater(wait, self.add, event | more)

    def add(self, event: Mapping[str, Any]) -> None:
        """Something became of a recipient."""
        seq = len(self.events) + 1
        self.events.append({**event, "seq": seq, "id": str(seq), "at": self.world.now()})
        self.world.count(f"peer tells {event['type']}")
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def page(self, after: int, limit: int) -> Mapping[str, Any]:
        """Events, as they are told."""
        page = self.events[after : after + limit]
        more = len(self.events) > after + limit
        return {"events": page, "next": after + len(page), "more": more}

    def other(self, request: Request, answer: Answering) -> None:
        """Events, once there are some or nobody waits any longer; changes of suppression."""
        if request.method in ("PUT", "DELETE") and "/suppressions/" in request.target:
            address = unquote(request.target.rpartition("/")[2])
            self.suppressed[address] = request.method == "PUT"
            self.world.count("suppression told")
            answer(answer_of(200))
        elif request.method == "GET":
            asked = dict(re.findall(r"(\w+)=(\d+)", request.target))
            self.asked(int(asked["after"]), int(asked["limit"]), int(asked["wait"]), answer)
        else:
            answer(answer_of(200))  # what was dropped there is dropped here

    def asked(self, after: int, limit: int, wait: int, answer: Answering) -> None:
        """Tell what is behind ``after``, as soon as there is something."""
        over: list[None] = []

        def tell() -> None:
            if not over:
                over.append(None)
                answer(answer_of(200, **self.page(after, limit)))

        if len(self.events) > after or not wait:
            tell()
            return
        self._waiting.append(tell)
        self.world.clock.callLater(float(wait), tell)

    def signed(self, request: Request, answer: Answer) -> Answer:
        """See Hop."""
        signature = _of_request(request, KEY_ID, SECRET)
        if request.headers["mailrelay-signature"] != f"v1={signature}":
            self.world.violated(f"{self.domain} got a wrong signature for {request.target}")
        given = _of_answer(answer, signature, SECRET)
        return Answer(answer.status, answer.body, {"Mailrelay-Response-Signature": f"v1={given}"})


@define(eq=False, kw_only=True)
class PushingPeer(Peer):
    """Tells by itself, in order, until it hears up to where that was taken."""

    caller: Caller
    answers_too: bool  # to those who ask, as well
    taken: int = 0
    _is_telling: bool = False

    def add(self, event: Mapping[str, Any]) -> None:
        """See Peer."""
        super().add(event)
        self._push()

    def asked(self, after: int, limit: int, wait: int, answer: Answering) -> None:
        """See Peer."""
        if not self.answers_too:
            answer(answer_of(404))
            return
        self.taken = max(self.taken, after)
        super().asked(after, limit, wait, answer)

    def _push(self) -> None:
        if self._is_telling or self.taken >= len(self.events):
            return
        self._is_telling = True
        world = self.world
        page = self.page(self.taken, world.random.choice((1, 3, 100)))
        fields = {
            "mailrelay-key": THEIR_KEY_ID,
            "mailrelay-timestamp": str(int(world.now())),
            "idempotency-key": f"push.{self.taken}.{world.random.getrandbits(32)}",
            "content-type": "application/json",
        }
        request = Request("POST", EVENTS, fields, json.dumps(page).encode())
        signature = _of_request(request, THEIR_KEY_ID, THEIR_SECRET)
        fields["mailrelay-signature"] = f"v1={signature}"

        def told(answer: Answer | None) -> None:
            self._is_telling = False
            if answer is None or answer.status != 200:
                world.count("not taken when pushed")
                world.clock.callLater(world.random.uniform(1.0, 15.0), self._push)
                return
            self._heard(answer, signature)
            self._push()

        self.caller.post(EVENTS, fields, request.body, told)

    def _heard(self, answer: Answer, signature: str) -> None:
        given = answer.fields.get("mailrelay-response-signature")
        if given != f"v1={_of_answer(answer, signature, THEIR_SECRET)}":
            self.world.violated(f"{self.domain} heard a wrong signature")
        cursor = json.loads(answer.body)["cursor"]
        if cursor > len(self.events):
            self.world.violated(f"{self.domain} told {len(self.events)} events, not {cursor}")
        self.world.count("pushed")
        self.taken = max(self.taken, cursor)


def _of_request(request: Request, key_id: str, secret: bytes) -> str:
    path, _, query = request.target.partition("?")
    fields = request.headers
    return _signature(
        secret,
        "mailrelay-hmac-v1",
        request.method,
        path,
        query,
        key_id,
        fields["mailrelay-timestamp"],
        fields.get("idempotency-key", ""),
        fields.get("content-type", ""),
        hashlib.sha256(request.body).hexdigest(),
    )


def _of_answer(answer: Answer, signature: str, secret: bytes) -> str:
    digest = hashlib.sha256(answer.body).hexdigest()
    return _signature(secret, "mailrelay-hmac-v1-response", str(answer.status), signature, digest)


def _signature(secret: bytes, *lines: str) -> str:
    return hmac.new(secret, "\n".join(lines).encode(), hashlib.sha256).hexdigest()
