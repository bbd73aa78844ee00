"""Relay rules as they are listed: one row for what a source says of a key.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from attrs import evolve, frozen

from mailrelay.directory.relays import RelayRuleKind
from mailrelay.routing.next_hop import DUNNO, NextHop
from mailrelay.routing.relay_chains import RelayChain
from mailrelay.routing.relay_files import Credentials, RelayFile
from mailrelay.routing.relay_sources import RelaySources


@frozen
class RelayEntry:
    """What ``source`` says of a key: where mail goes, that it opts out, who logs in.

    The key of the environment's default relay host is empty.
    """

    source: str
    kind: RelayRuleKind
    key: str
    next_hop: str | None = None
    username: str | None = None
    chain: RelayChain | None = None


def entries(sources: RelaySources) -> Iterator[RelayEntry]:
    """Everything that is said, file before directory data before environment."""
    relay_map, stored, env = sources.relay_map, sources.stored, sources.environment
    file, directory = RelayFile.RELAY_MAP.source, RelayFile.DIRECTORY.source
    environment = RelayFile.ENVIRONMENT.source
    hops = relay_map.hops if relay_map is not None else {}
    of_files = {
        key: RelayEntry(
            file, RelayRuleKind.MAP, key, ", ".join(hop.text for hop in some) or "DUNNO"
        )
        for key, some in hops.items()
    }
    yield from _of_senders(
        file, of_files, relay_map.opted_out if relay_map else (), sources.credentials or {}
    )
    for key, some in sources.recipient_routes.items():
        to = _told(some) or "MX"
        yield RelayEntry(file, RelayRuleKind.ROUTE, key, to)
    for key, chain in sources.chains.items():
        yield _of_chain(RelayFile.CONFIGURATION.source, key, chain)
    chains = {key: _of_chain(directory, key, chain) for key, chain in stored.chains.items()}
    yield from _of_senders(directory, chains, stored.excluded, stored.credentials or {})
    for key, some in stored.routes.items():
        to = _told(some) or "MX"
        yield RelayEntry(directory, RelayRuleKind.ROUTE, key, to)
    username = env.login.username if env.login is not None else None
    if env.default:
        yield RelayEntry(environment, RelayRuleKind.MAP, "", _told(env.default), username)
    if env.relay_host is not None:
        login = username if not env.default else None
        for domain in sources.managed_domains:
            yield RelayEntry(
                environment, RelayRuleKind.MAP, f"@{domain}", env.relay_host.text, login
            )


def _told(hops: Sequence[NextHop]) -> str:
    return ", ".join(hop.text for hop in hops)


def _of_chain(source: str, key: str, chain: RelayChain) -> RelayEntry:
    if chain.is_plain:
        return RelayEntry(source, RelayRuleKind.MAP, key, str(chain) or DUNNO)
    return RelayEntry(source, RelayRuleKind.CHAIN, key, str(chain), chain=chain)


def _of_senders(
    source: str,
    mapped: Mapping[str, RelayEntry],
    excluded: Collection[str],
    logins: Mapping[str, Credentials],
) -> Iterator[RelayEntry]:
    """One row for a key, whatever is said of it."""
    rows = dict(mapped)
    rows |= {key: RelayEntry(source, RelayRuleKind.EXCLUDE, key) for key in sorted(excluded)}
    for key, login in logins.items():
        row = rows.get(key, RelayEntry(source, RelayRuleKind.PASSWORD, key))
        rows[key] = evolve(row, username=login.username)
    yield from rows.values()
