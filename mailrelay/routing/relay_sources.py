"""What relay rules are made of, and who is believed of two that speak of one key.  Pure.

A file, the configuration's chains among them, comes before directory data, and that before the
environment.  A key in a file stands for itself whatever it says: opting out there takes no chain
from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from attrs import evolve, field, frozen

from mailrelay.routing.next_hop import NextHop
from mailrelay.routing.relay_chains import RelayChain, chain_of
from mailrelay.routing.relay_environment import RelayEnvironment
from mailrelay.routing.relay_files import (
    Credentials,
    RelayFile,
    RelayMap,
    RelayWarning,
    normal_key,
)
from mailrelay.routing.relay_rules import NOTHING, RelayRules, Sourced
from mailrelay.routing.relay_stored import StoredRules

T = TypeVar("T")


@frozen
class RelaySources:
    """What rules are made of.  ``credentials`` is None when there is no such file."""

    environment: RelayEnvironment = RelayEnvironment()
    relay_map: RelayMap | None = None
    credentials: Mapping[str, Credentials] | None = field(default=None, repr=False)
    recipient_routes: Mapping[str, Sequence[NextHop]] = field(factory=dict)
    managed_domains: Sequence[str] = ()
    warnings: Sequence[RelayWarning] = ()
    encrypts_all: bool = False
    unverified: frozenset[str] = frozenset()
    chains: Mapping[str, RelayChain] = field(factory=dict)  # the configuration's
    stored: StoredRules = StoredRules()

    def rules(self) -> RelayRules:
        """The rules, and what about them is hardly meant."""
        env = self.environment
        logs_in = self.credentials is not None or self.stored.credentials is not None
        default = Sourced(chain_of(env.default), RelayFile.ENVIRONMENT.source)
        rules = RelayRules(
            dict(self._by_sender()),
            default if env.default else NOTHING,
            _first(
                (RelayFile.RECIPIENT_ROUTES, self.recipient_routes),
                (RelayFile.DIRECTORY, self.stored.routes),
            ),
            self._credentials(),
            senders_log_in=logs_in,
            encrypts=logs_in or env.login is not None,
            encrypts_all=self.encrypts_all,
            unverified=self.unverified,
        )
        return evolve(rules, warnings=[*self.warnings, *self._warnings(rules)])

    def _by_sender(self) -> Mapping[str, Sourced[RelayChain]]:
        env, of_file = self.environment, self.relay_map or RelayMap()
        no_chain = RelayChain()
        of_files = {key: chain_of(hops) for key, hops in of_file.hops.items()}
        of_files |= {key: no_chain for key in of_file.opted_out}
        stored = {key: no_chain for key in self.stored.excluded} | dict(self.stored.chains)
        implied = {}
        if env.relay_host is not None:
            domains = {normal_key(f"@{domain}") for domain in self.managed_domains}
            implied = {key: chain_of([env.relay_host]) for key in domains}
        found = _first(
            (RelayFile.RELAY_MAP, of_files),
            (RelayFile.CONFIGURATION, self.chains),
            (RelayFile.DIRECTORY, stored),
            (RelayFile.ENVIRONMENT, implied),
        )
        out = of_file.opted_out | self.stored.excluded
        return {key: rule for key, rule in found.items() if key not in out or rule.value.hops}

    def _credentials(self) -> Mapping[str, Sourced[Credentials]]:
        env = self.environment
        of_environment: dict[str, Credentials] = {}
        if env.login is not None and env.login_key is not None:
            of_environment[env.login_key] = env.login
        return _first(
            (RelayFile.CREDENTIALS, self.credentials or {}),
            (RelayFile.DIRECTORY, self.stored.credentials or {}),
            (RelayFile.ENVIRONMENT, of_environment),
        )

    def _warnings(self, rules: RelayRules) -> Iterator[RelayWarning]:
        yield from self._of_environment()
        chains = [rules.default.value, *(rule.value for rule in rules.by_sender.values())]
        hops = [hop for chain in chains for hop in chain.hops]
        known = {hop.next_hop.host for hop in hops} | {hop.next_hop.key for hop in hops}
        known |= {hop.credentials for hop in hops if hop.credentials is not None}
        for key in self.credentials or {}:
            if "@" not in key and key not in known:
                said = f"{key} is no relay host of the map, as it is written there: it is not used"
                yield RelayWarning(RelayFile.CREDENTIALS, 0, said)
        for key, rule in rules.by_sender.items():
            for hop in rule.value.hops:
                if hop.credentials is not None and hop.credentials not in rules.credentials:
                    said = f"there are no credentials {hop.credentials}: no mail goes there"
                    told = f"{key}, {hop.next_hop.text}: {said}"
                    yield RelayWarning(RelayFile(rule.source), 0, told)
        default = rules.default.value.hops
        logins = {hop.next_hop.host for hop in default} | {hop.next_hop.key for hop in default}
        if self._senders_have_logins and default and not logins & set(rules.credentials):
            said = "bounces have no sender, and go to the default relay host without login"
            yield RelayWarning(RelayFile.CREDENTIALS, 0, said)

    @property
    def _senders_have_logins(self) -> bool:
        return bool(self.credentials or self.stored.credentials)

    def _of_environment(self) -> Iterator[RelayWarning]:
        env, file = self.environment, RelayFile.ENVIRONMENT
        if env.is_half:
            yield RelayWarning(
                file, 0, "RELAY_USER and RELAY_PASSWORD go together: neither is used"
            )
        if env.login is not None and env.login_key is None:
            said = "RELAY_USER is for no host: set RELAY_HOST or DEFAULT_RELAY_HOST"
            yield RelayWarning(file, 0, said)
        if env.login is not None and env.default and env.relay_host is not None:
            said = "RELAY_USER is for DEFAULT_RELAY_HOST; there is no login at RELAY_HOST"
            yield RelayWarning(file, 0, said)
        if env.login is not None and len(env.default) > 1:
            said = "RELAY_USER is for one host: give those of a list theirs in the file"
            yield RelayWarning(file, 0, said)
        if env.default and self.relay_map is not None:
            for key in sorted(self.relay_map.opted_out):
                said = f"{key} goes by DEFAULT_RELAY_HOST all the same, not by MX"
                yield RelayWarning(RelayFile.RELAY_MAP, 0, said)


def _first(*given: tuple[RelayFile, Mapping[str, T]]) -> dict[str, Sourced[T]]:
    """What stands first of each key, in the order of who is believed."""
    found: dict[str, Sourced[T]] = {}
    for file, values in given:
        for key, value in values.items():
            found.setdefault(key, Sourced(value, file.source))
    return found
