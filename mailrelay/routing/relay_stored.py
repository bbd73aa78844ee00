"""Relay rules that are directory data: read as the files are.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from mailrelay.directory.relays import RelayRule, RelayRuleKind
from mailrelay.routing.next_hop import MalformedNextHop, NextHop, parse_next_hops
from mailrelay.routing.relay_chains import MalformedChain, RelayChain, chain_of, read_chain
from mailrelay.routing.relay_environment import parse_route
from mailrelay.routing.relay_files import Credentials, RelayFile, RelayProblem, parse_login


@frozen
class StoredRules:
    """What the rules say.  ``credentials`` is None when no rule is of any."""

    chains: Mapping[str, RelayChain] = field(factory=dict)  # by sender or account
    excluded: frozenset[str] = frozenset()  # ``@domain``
    credentials: Mapping[str, Credentials] | None = field(default=None, repr=False)
    routes: Mapping[str, Sequence[NextHop]] = field(factory=dict)


def read_stored(rules: Sequence[RelayRule]) -> StoredRules:
    """What ``rules`` say.  Raises: RelayProblem."""
    chains: dict[str, RelayChain] = {}
    excluded: set[str] = set()
    credentials: dict[str, Credentials] = {}
    routes: dict[str, Sequence[NextHop]] = {}
    for rule in rules:
        try:
            match rule.kind:
                case RelayRuleKind.MAP:
                    chains[rule.key] = chain_of(parse_next_hops(rule.value))
                case RelayRuleKind.CHAIN:
                    chains[rule.key] = read_chain(rule.value)
                case RelayRuleKind.EXCLUDE:
                    excluded.add(rule.key)
                case RelayRuleKind.PASSWORD:
                    credentials[rule.key] = parse_login(rule.value)
                case RelayRuleKind.ROUTE:
                    routes[rule.key] = parse_route(rule.value)
        except (MalformedNextHop, MalformedChain, ValueError) as error:
            said = f"{rule.kind.value} of {rule.key}: {error}"
            raise RelayProblem(RelayFile.DIRECTORY, 0, said) from None
    return StoredRules(chains, frozenset(excluded), credentials or None, routes)
