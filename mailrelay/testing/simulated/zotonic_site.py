"""A Zotonic site that the node hands mail to: it reports, until it is heard, to where it was told.

Nothing here is by an encoder of ours: what is said is of the protocol's tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs

from attrs import define, field

from mailrelay.testing.simulated.http_calls import Caller
from mailrelay.testing.simulated.http_hops import (
    FAULTS,
    Answer,
    Answering,
    Hop,
    Request,
    answer_of,
)

SECRET = "site-secret"
PATH = "/api/model/email_relay/post/relay"

SITE_FAULTS = {
    "cut before it is kept": FAULTS["cut before it is kept"],
    "cut after it is kept": FAULTS["cut after it is kept"],
    "slow answer": FAULTS["slow answer"],
    "403": 0.05,
    "400": 0.05,
    "no receipt": 0.08,
    "an error": 0.08,
}
SAID = {
    "permanent_failure": ("550 5.1.1 no such user", "bounce"),
    "temporary_failure": ("451 4.2.0 try again", ""),
    "relayed": ("",),
    "sent": ("",),
}
_REPORTS = (
    ("relayed",),
    ("sent",),
    ("temporary_failure", "relayed"),
    ("permanent_failure",),
    ("temporary_failure", "permanent_failure"),
    ("relayed", "permanent_failure"),  # it bounced later
)


@define(eq=False, kw_only=True)
class Site(Hop):
    """Takes a message for each recipient by its number."""

    caller: Caller
    report_to: str  # what the URL begins with that it is to report to
    suppressed: dict[str, bool] = field(factory=dict)  # what it was told of addresses

    faults: ClassVar[Mapping[str, float]] = SITE_FAULTS
    instead: ClassVar[Mapping[str, Answer | None]] = {
        "cut before it is kept": None,
        "403": answer_of(403, status="error", error="eacces"),
        "no receipt": answer_of(200, status="ok", result={"to": "somebody"}),
        "an error": answer_of(200, status="error", error={"receipt": "500 [RELAY] disabled"}),
    }
    never: ClassVar[Mapping[str, Answer]] = {
        "400": answer_of(400, status="error", error="payload"),
    }

    def is_message(self, request: Request) -> bool:
        """See Hop."""
        path, _, query = request.target.partition("?")
        if parse_qs(query).get("s") != [SECRET]:
            self.world.violated(f"{self.domain} was asked without its secret: {path}")
        return not path.endswith("/recipient")

    def key(self, request: Request) -> str:
        """See Hop."""
        return str(json.loads(request.body)["message_nr"])

    def take(self, request: Request) -> Answer:
        """See Hop."""
        asked = json.loads(request.body)
        number, recipient, url = asked["message_nr"], asked["recipient"], asked["webhook_url"]
        if not url.startswith(self.report_to):
            self.world.violated(f"{self.domain} is to report to {url}")
        self.peers.keep(self.domain, [recipient], asked["email"].encode())
        reports = self.world.random.choice(_REPORTS)
        ended_well = reports[-1] != "permanent_failure"
        self.peers.tells(recipient, "delivered" if ended_well else "failed")
        self._later(url.removeprefix(self.report_to), number, recipient, reports)
        receipt = f"200 [RELAY] Message queued as z{len(self.answered)}"
        result = {"receipt": receipt, "to": recipient, "message_nr": f"z{len(self.answered)}"}
        return answer_of(200, status="ok", result=result)

    def _later(self, path: str, number: str, recipient: str, reports: Sequence[str]) -> None:
        if reports:
            wait = self.world.random.uniform(0.001, 30.0)
            self.world.clock.callLater(wait, self._report, path, number, recipient, reports)

    def _report(self, path: str, number: str, recipient: str, reports: Sequence[str]) -> None:
        world = self.world
        type_ = reports[0]
        report = {"type": type_, "message_nr": number, "recipient": recipient}
        status = world.random.choice(SAID[type_])
        body: Mapping[str, Any] = {"type": "delivery_report", "report": report}
        if status:
            report["status"] = status

        def told(answer: Answer | None) -> None:
            if answer is not None and answer.status not in (200, 503):
                world.violated(f"{self.domain} reports, and is answered {answer.status}")
            is_heard = answer is not None and answer.status == 200
            world.count(f"site reports {type_}" if is_heard else "report not heard")
            self._later(path, number, recipient, reports[1:] if is_heard else reports)

        fields = {"Content-Type": "application/json", "Accept": "application/json"}
        self.caller.post(f"{path}?s={SECRET}", fields, json.dumps(body).encode(), told)

    def other(self, request: Request, answer: Answering) -> None:
        """An address is blocked, or no more."""
        fault = self.fault()
        if fault in self.instead and fault != "no receipt":  # none is needed here
            answer(self.instead[fault])
            return
        asked = json.loads(request.body)
        self.suppressed[asked["recipient"]] = asked["is_blocked"]
        self.world.count("suppression told")
        answer(None if fault == "cut after it is kept" else answer_of(200, status="ok"))
