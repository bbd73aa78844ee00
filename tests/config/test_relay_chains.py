"""``[[relaying.chain]]``: what it becomes, and every mistake in it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.config.convert import relay_place
from mailrelay.config.load import BadConfiguration
from mailrelay.routing.next_hop import NextHop
from mailrelay.routing.relay_chains import ChainHop, LeastTLS, RelayChain
from mailrelay.routing.relay_files import normal_key
from mailrelay.smtp.reply_pattern import ReplyPattern
from tests.config.test_load import read

GOOD_CHAIN = """\
[[relaying.chain]]
sender = "Bücher.example"
move_on = ["421", "5.7.1"]
[[relaying.chain.hop]]
next_hop = "[A.example]:587"
weight = 3
tls = "verify"
credentials = "Main"
[[relaying.chain.hop]]
next_hop = "b.example"
[[relaying.chain]]
account = "Shop"
hop = [{ next_hop = "[c.example]" }]
"""


class ChainTests(SynchronousTestCase):
    """Chains of a configuration."""

    def test_chains(self) -> None:
        """Keys are as they are looked up."""
        chains = relay_place(read(GOOD_CHAIN).relaying).chains
        first = NextHop("a.example", 587, False, "[A.example]:587")
        second = NextHop("b.example", 25, True, "b.example")
        hops = (ChainHop(first, 3, LeastTLS.VERIFY, "main"), ChainHop(second))
        replies = (ReplyPattern.parse("421"), ReplyPattern.parse("5.7.1"))
        third = ChainHop(NextHop("c.example", 25, False, "[c.example]"))
        self.assertEqual(
            chains,
            {
                normal_key("@bücher.example"): RelayChain(hops, replies),
                "account:Shop": RelayChain((third,)),
            },
        )

    def test_mistakes(self) -> None:
        """Each says where it is, and what to do."""
        hop = 'hop = [{ next_hop = "[a.example]" }]\n'
        for text, said in (
            ('sender = "a.test"\n', "chain[1].hop: is needed"),
            (hop, "exactly one of sender and account"),
            (f'sender = "a.test"\naccount = "b"\n{hop}', "exactly one of sender and account"),
            (f'sender = "a b"\n{hop}', "neither a domain nor an address"),
            ('sender = "a.test"\nhop = []\n', "1 to 20 hops"),
            ('sender = "a.test"\nhop = [{ next_hop = "[a" }]\n', "'[a' is none"),
            ('sender = "a.test"\nhop = [{ next_hop = "a.test", tls = "x" }]\n', "tls 'x' is none"),
            ('sender = "a.test"\nhop = [{ next_hop = "a.test", weight = 1001 }]\n', "at most 1000"),
            (f'sender = "a.test"\nmove_on = ["200"]\n{hop}', "no reply that refuses"),
        ):
            error = self.assertRaises(BadConfiguration, read, f"[[relaying.chain]]\n{text}")
            self.assertIn(said, str(error))
            self.assertRegex(str(error), r"line \d+: relaying.chain\[1\]")
        twice = f'[[relaying.chain]]\nsender = "a.test"\n{hop}' * 2
        self.assertIn("@a.test's, too", str(self.assertRaises(BadConfiguration, read, twice)))
