"""What a peer says of a message, whatever it says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.peering.door import Refusal
from mailrelay.peering.offer import read_offer
from mailrelay.smtp.command import Notify

PLAIN: dict[str, Any] = {"v": 1, "msg_id": "m", "mail_from": "", "rcpt_to": ["b@remote.test"]}
NAMES = [*PLAIN, "envid", "ret", "notify", "orcpt", "expires_at", "not_before", "priority"]
NAMES += ["require_tls", "smtputf8", "hops", "extra", "other"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def line(**meta: Any) -> bytes:
    """A line of meta."""
    return json.dumps({**PLAIN, **meta}).encode()


class OfferTests(SynchronousTestCase):
    """read_offer."""

    def test_for_each_recipient(self) -> None:
        """What is asked for one recipient is that one's alone."""
        to = ["b@remote.test", "c@remote.test"]
        said = line(
            rcpt_to=to, notify={to[0]: ["SUCCESS", "DELAY"]}, orcpt={to[1]: "rfc822;x@y.test"}
        )
        [(_, first), (_, second)] = read_offer(said, 0.0).recipients
        assert first is not None and second is not None
        self.assertEqual(first.notify, {Notify.SUCCESS, Notify.DELAY})
        self.assertEqual((first.orcpt, second.orcpt), (None, "rfc822;x@y.test"))
        self.assertEqual(second.notify, frozenset())

    def test_unknown_keys(self) -> None:
        """What is not known is kept as text."""
        offer = read_offer(line(extra={"a": "b"}, colour="blue", list=[1, {"x": None}]), 0.0)
        self.assertEqual(offer.extra, {"a": "b", "colour": "blue", "list": '[1,{"x":null}]'})

    def test_nothing_beside(self) -> None:
        """What is said for DSNs is one word of the next server's command, whatever it says."""
        to = "b@remote.test"
        for original in (
            "rfc822 NOTIFY=NEVER;x@y.test",
            "utf-8;x@y.test NOTIFY=NEVER",
            "rfc822;x\u20ac",
            "x@y.test",
            ";x",
        ):
            refused = self.assertRaises(Refusal, read_offer, line(orcpt={to: original}), 0.0)
            self.assertEqual((refused.status, str(refused)[:6]), (400, "orcpt "), original)
        for original, kept in (
            ("rfc822;x y@z.test", "rfc822;x y@z.test"),  # quoted there as it is sent
            ("utf-8;\u00e9@y.test", "utf-8;\\x{E9}@y.test"),
            ("utf-8;\\x{E9}@y.test", "utf-8;\\x{E9}@y.test"),
        ):
            [(_, rcpt)] = read_offer(line(orcpt={to: original}), 0.0).recipients
            self.assertEqual(rcpt.orcpt if rcpt else None, kept)
        refused = self.assertRaises(Refusal, read_offer, line(envid="\u20ac"), 0.0)
        self.assertEqual(str(refused)[:6], "envid ")

    @given(st.binary(max_size=200))
    def test_any_bytes(self, said: bytes) -> None:
        """What is no meta is refused, and nothing else happens."""
        self.assertRaises(Refusal, read_offer, said, 0.0)

    @given(st.dictionaries(st.sampled_from(NAMES), VALUES))
    def test_any_meta(self, meta: dict[str, Any]) -> None:
        """Whatever the keys are, it is understood or refused by a 400."""
        try:
            offer = read_offer(json.dumps({**PLAIN, **meta}).encode(), 0.0)
        except Refusal as refusal:
            self.assertEqual(refusal.status, 400)
        else:
            self.assertTrue(offer.recipients)
