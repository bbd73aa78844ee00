"""Relay rules as directory data: what may be asked, checked, and written down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.relay_checks import bracketed, domain_key, host_key, login, sender_key
from mailrelay.control.relays import FILES, RelayFolder
from mailrelay.directory.model import Directory
from mailrelay.directory.relays import RelayRule, RelayRuleKind
from mailrelay.routing.next_hop import MalformedNextHop, parse_next_hops
from mailrelay.routing.relay_chains import (
    ACCOUNT,
    ChainValue,
    MalformedChain,
    checked_chain,
    parse_hop,
    written_chain,
)
from mailrelay.routing.relay_environment import read_recipient_routes
from mailrelay.routing.relay_files import (
    RelayFile,
    normal_key,
    read_credentials,
    read_lines,
    read_relay_map,
)
from mailrelay.routing.relay_stored import StoredRules, read_stored
from mailrelay.smtp.address import MalformedAddress, normal_domain

LONGEST_KEY = 400
LONGEST_VALUE = 10_000


class RelayRecords(Protocol):
    """Relay rules' rows.  Every change tells running processes, and is audited as ``actor``'s.

    Methods fail with Refusal's kinds, and with StoreUnavailable.  No audit line has a value.
    """

    def load(self) -> Deferred[Directory]:
        """Everything now."""

    def put(self, actor: str, rules: Sequence[RelayRule]) -> Deferred[None]:
        """Have ``rules`` hold, all or none, each in place of what was said of the same."""

    def remove(self, actor: str, keys: Collection[str]) -> Deferred[Sequence[RelayRule]]:
        """Remove what is said of ``keys``, and tell what that was."""


@frozen
class StoredRelayControl:
    """What may be asked of the rules in the directory.  Everything raises Refusal."""

    records: RelayRecords
    actor: str

    async def rules(self) -> StoredRules:
        """What they say.  Raises: RelayProblem, for what some other hand wrote."""
        return read_stored((await self.records.load()).relay_rules)

    async def stored(self) -> Sequence[RelayRule]:
        """All of them, as they are stored."""
        return (await self.records.load()).relay_rules

    async def add_domain(self, domain: str, host: str, port: str = "25") -> str:
        """Have senders of ``domain``, or one address, go by a host; the key."""
        return await self._put(RelayRuleKind.MAP, sender_key(domain), bracketed(host, port))

    async def exclude_domain(self, domain: str) -> str:
        """Have senders of ``domain`` not go by the environment's RELAY_HOST; the key."""
        return await self._put(RelayRuleKind.EXCLUDE, domain_key(domain), "")

    async def add_login(self, domain: str, username: str, password: str) -> str:
        """Have senders of ``domain``, or one address, log in; the key."""
        key = sender_key(domain)
        return await self._put(RelayRuleKind.PASSWORD, key, login(username, password))

    async def add_host_login(self, host: str, username: str, password: str) -> str:
        """Have everybody log in at a host, or a chain by this name; the key."""
        key = host_key(host)
        return await self._put(RelayRuleKind.PASSWORD, key, login(username, password))

    async def add_route(self, pattern: str, next_hop: str) -> str:
        """Have mail for recipients that fit go by a next hop, by MX if that is empty; the key."""
        try:
            hops = ", ".join(hop.text for hop in parse_next_hops(next_hop)) if next_hop else ""
        except MalformedNextHop as error:
            raise Refusal(str(error)) from None
        return await self._put(RelayRuleKind.ROUTE, _recipient_key(pattern), f"smtp:{hops}")

    async def add_chain(self, whose: str, hops: Sequence[str], move_on: Sequence[str]) -> str:
        """Have a domain's, an address's or an account's mail go by a chain; the key."""
        directory = await self.records.load()
        key = _chain_key(directory, whose)
        try:
            chain = checked_chain(ChainValue(list(map(parse_hop, hops)), list(move_on)))
        except MalformedChain as error:
            raise Refusal(str(error)) from None
        return await self._put(RelayRuleKind.CHAIN, key, written_chain(chain))

    async def remove(self, text: str) -> Sequence[RelayRuleKind]:
        """Remove all that is said of a key; of which kinds that was."""
        gone = await self.records.remove(self.actor, _keys_of(text))
        if not gone:
            raise NoSuch(f"no relay rule of {text} in the directory: mailrelay relay list")
        return [rule.kind for rule in gone]

    async def import_from(self, folder: RelayFolder, routes: str | None, *, replace: bool) -> int:
        """Take over the entries of files; how many are new or changed here.

        Raises: RelayProblem, when a file cannot be used.
        """
        directory = await self.records.load()
        mine = {(rule.kind, rule.key): rule.value for rule in directory.relay_rules}
        news = []
        for file, rule in _rules_of(folder, routes):
            before = mine.get((rule.kind, rule.key))
            if before == rule.value:
                continue
            if before is not None and not replace:
                said = f"{rule.key} has another value here: --replace takes the new one"
                raise Refusal(f"{file.file_name}: {said}")
            news.append(_bounded(rule))
        if news:
            await self.records.put(self.actor, news)
        return len(news)

    async def _put(self, kind: RelayRuleKind, key: str, value: str) -> str:
        await self.records.put(self.actor, [_bounded(RelayRule(kind, key, value))])
        return key


def _rules_of(folder: RelayFolder, routes: str | None) -> Iterator[tuple[RelayFile, RelayRule]]:
    """What files say, as rules.  Raises: RelayProblem."""
    texts: Mapping[RelayFile, str] = {
        **{file: folder.read(file) or "" for file in FILES},
        RelayFile.RECIPIENT_ROUTES: routes or "",
    }
    for file, text in texts.items():
        _READERS[file](text)
        for line in read_lines(file, text)[0]:
            kind = _KINDS[file]
            if kind is RelayRuleKind.MAP and not line.value:
                kind = RelayRuleKind.EXCLUDE
            yield file, RelayRule(kind, line.key, line.value)


_READERS: Mapping[RelayFile, Callable[[str], object]] = {
    RelayFile.RELAY_MAP: read_relay_map,
    RelayFile.CREDENTIALS: read_credentials,
    RelayFile.RECIPIENT_ROUTES: read_recipient_routes,
}

_KINDS = {
    RelayFile.RELAY_MAP: RelayRuleKind.MAP,
    RelayFile.CREDENTIALS: RelayRuleKind.PASSWORD,
    RelayFile.RECIPIENT_ROUTES: RelayRuleKind.ROUTE,
}


def _bounded(rule: RelayRule) -> RelayRule:
    if len(rule.key) > LONGEST_KEY:
        raise Refusal(f"{rule.key[:40]}... is longer than {LONGEST_KEY} characters")
    if len(rule.value) > LONGEST_VALUE:
        raise Refusal(f"what is said of {rule.key} is longer than {LONGEST_VALUE} characters")
    return rule


def _chain_key(directory: Directory, text: str) -> str:
    if not text.startswith(ACCOUNT):
        return sender_key(text)
    name = text.removeprefix(ACCOUNT)
    if all(account.name != name for account in directory.accounts.values()):
        raise NoSuch(f"no account {name}: mailrelay account list")
    return text


def _recipient_key(pattern: str) -> str:
    """A recipient's pattern: an address, a domain, ``.domain`` or ``*``."""
    text = pattern.strip().lower()
    if text == "*" or "@" in text.removeprefix("@"):
        return text if text == "*" else sender_key(text)
    dot = "." if text.startswith(".") else ""
    try:
        return dot + normal_domain(text.removeprefix("."))
    except MalformedAddress:
        said = "is no address, domain, .domain or *"
        raise Refusal(f"{pattern!r} {said}") from None


def _keys_of(text: str) -> set[str]:
    """The keys that may be meant."""
    keys = {text, normal_key(text)}
    with suppress(Refusal):  # a host's key is none
        keys.add(sender_key(text))
    return keys
