"""The pairs in use, and which of them a client is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.logger import Logger

from mailrelay.certificates.challenges import ACME_TLS, Challenges
from mailrelay.certificates.files import Files, State, listed, read_pair, state_of
from mailrelay.certificates.pair import Pair
from mailrelay.certificates.settings import TLSSection
from mailrelay.net.tls import ServerTLS, UnusableCertificate, server_context

_log = Logger()


@frozen
class Place:
    """Where the files are: ``main`` is [tls]'s own pair.  ``owners`` may own keys, besides root."""

    main: Files | None = None
    others: Sequence[Files] = ()
    directory: Path | None = None
    owners: Collection[int] = ()

    @classmethod
    def of(cls, section: TLSSection, base: Path, *owners: int) -> Place:
        """As ``[tls]`` says; the user who runs this may own keys."""
        main = None
        if section.certificate:
            main = Files(base / section.certificate, base / section.private_key)
        return cls(
            main,
            [Files(base / one.certificate, base / one.private_key) for one in section.certificates],
            base / section.directory if section.directory else None,
            {os.geteuid(), *owners},
        )

    def files(self) -> Sequence[Files]:
        """All of them, now.  Blocks.  Raises: UnusableCertificate."""
        return [*self.named, *(listed(self.directory) if self.directory else ())]

    @property
    def is_empty(self) -> bool:
        """Whether there is to be no file."""
        return not self.named and self.directory is None

    @property
    def named(self) -> Sequence[Files]:
        """Those that the configuration names one by one."""
        return [*(() if self.main is None else (self.main,)), *self.others]


@frozen
class Looked:
    """What a look at the files found: pairs that are to be used, and what is wrong with others."""

    pairs: Mapping[Files, Pair]
    states: Mapping[Files, State]
    broken: Mapping[str, str]


@define(eq=False)
class Certificates:
    """Chooses the pair for each connection; to be asked in the reactor thread.

    Invariant: a pair in a file is replaced only by one that is no worse; ``broken`` says, by
    file, why what is there now is not in use.  ``ordered`` are pairs by the name that they were
    ordered for: they come before files, which are what is shown until there is one.
    """

    hostname: str
    place: Place
    challenges: Challenges
    now: Callable[[], float]
    ordered: dict[str, Pair] = field(factory=dict)
    last_resort: Pair | None = None
    broken: Mapping[str, str] = field(factory=dict, init=False)
    _held: Mapping[Files, Pair] = field(factory=dict, init=False)
    _states: Mapping[Files, State] = field(factory=dict, init=False)
    _front: ServerTLS | None = field(default=None, init=False)
    _by_name: dict[str, Pair] = field(factory=dict, init=False)

    # Reading

    def load(self, place: Place | None = None) -> None:
        """Read the files at ``place`` and use them from now on.  Blocks.

        Raises: UnusableCertificate for one that the configuration names; then everything stays
        as it was.
        """
        place = place or self.place
        looked = self.look(place, {})
        for name, reason in looked.broken.items():
            if name in {*map(str, place.named), str(place.directory)}:
                raise UnusableCertificate(reason)
            _log.error("a certificate is not used: {reason}", reason=reason)
        self.place = place
        self.take(looked)

    def look(self, place: Place, seen: Mapping[Files, State]) -> Looked:
        """What is in the files now.  Blocks; for a thread: it changes nothing."""
        pairs, states, broken = {}, {}, {}
        try:
            files = place.files()
        except UnusableCertificate as error:
            return Looked(self._held, {}, {str(place.directory): str(error)})
        for one in files:
            held = self._held.get(one)
            states[one] = state_of(one)
            if held is not None and seen.get(one) == states[one] and str(one) not in self.broken:
                pairs[one] = held
                continue
            try:
                found = read_pair(one, place.owners)
                self._check(found, held, is_main=one == place.main)
            except UnusableCertificate as error:
                broken[str(one)] = str(error)
                if held is not None:
                    pairs[one] = held
            else:
                pairs[one] = found
        return Looked(pairs, states, broken)

    def _check(self, found: Pair, held: Pair | None, *, is_main: bool) -> None:
        """What replaces a pair has no fault that it has not.  Raises: UnusableCertificate."""
        if held is None:
            return
        host = self.hostname if is_main else ""
        now = self.now()
        worse = found.faults(now, host) - held.faults(now, host)
        if worse:
            reasons = "; ".join(sorted(fault.value for fault in worse))
            raise UnusableCertificate(f"{found.source}: the certificate stays as it was: {reasons}")

    def looked(self, place: Place, looked: Looked) -> None:
        """Use what a look at ``place`` found, and tell what cannot be used, once."""
        if place != self.place:
            return  # it was changed meanwhile
        for name in sorted(self.broken.keys() - looked.broken.keys()):
            _log.info("{name} can be used again", name=name)
        for name, reason in looked.broken.items():
            if self.broken.get(name) != reason:
                _log.error("a certificate is not used: {reason}", reason=reason)
        renewed = [p for one, p in looked.pairs.items() if self._held.get(one) is not p]
        for pair in renewed:
            _log.info("the certificate in {name} is used from now on", name=pair.source)
        if renewed or len(looked.pairs) != len(self._held):
            self.take(looked)
        self.broken, self._states = looked.broken, looked.states

    @property
    def seen(self) -> Mapping[Files, State]:
        """The files as they were at the last look."""
        return self._states

    def take(self, looked: Looked) -> None:
        """Use what a look found, in silence."""
        self._held, self._states, self.broken = looked.pairs, looked.states, looked.broken
        self.choose()

    # Choosing

    @property
    def pairs(self) -> Sequence[Pair]:
        """Those in use; what is ordered comes first."""
        resort = () if self.last_resort is None else (self.last_resort,)
        return [*self.ordered.values(), *self._held.values()] or resort

    def choose(self) -> None:
        """Go by what is held now, from the next connection on."""
        now = self.now()
        ranked = sorted(self.pairs, key=lambda pair: not pair.begins <= now <= pair.ends)
        if not ranked:
            self._front = None
            return
        self._by_name = {}
        for pair in ranked:
            for name in pair.names:
                self._by_name.setdefault(name, pair)
        default = self.of(self.hostname) or ranked[0]
        self._front = ServerTLS(self._context(default))

    def of(self, name: str) -> Pair | None:
        """The pair for a client that asks for ``name``, if any is for it."""
        return self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}")

    def _context(self, default: Pair) -> SSL.Context:
        context = server_context(default.chain, default.key)
        context.set_tlsext_servername_callback(lambda connection: self._named(connection, default))
        return context

    def _named(self, connection: SSL.Connection, default: Pair) -> None:
        pair = self.of(_asked(connection)) or default
        if pair is not default:
            connection.set_context(pair.context)

    def options(self) -> ServerTLS:
        """See ServerCertificate."""
        if self._front is None:
            self.load()
            assert self._front is not None, "config/load.py checks that there is one"
        return self._front

    def is_challenged(self) -> bool:
        """Whether an authority may come to see a challenge's certificate now."""
        return bool(self.challenges.certificates)

    def challenged(self) -> ServerTLS:
        """As ``options``, for HTTPS while a name is to be proved by tls-alpn-01 (RFC 8737)."""
        default = self.of(self.hostname) or self.pairs[0]
        context = server_context(default.chain, default.key)

        def named(connection: SSL.Connection) -> None:
            name = _asked(connection)
            proof = self.challenges.certificates.get(name)
            pair = self.of(name) or default
            if proof is not None:
                connection.set_context(_proving(pair, proof))
            elif pair is not default:
                connection.set_context(pair.context)

        context.set_tlsext_servername_callback(named)
        return ServerTLS(context)


def _proving(pair: Pair, proof: Pair) -> SSL.Context:
    """Shows ``proof`` to who speaks acme-tls/1 alone, ``pair`` to everybody else.

    With TLS 1.2 OpenSSL has chosen the certificate before it asks here; authorities speak 1.3.
    """
    context = server_context(pair.chain, pair.key)

    def chosen(connection: SSL.Connection, protocols: list[bytes]) -> Any:
        if protocols != [ACME_TLS] or connection.get_protocol_version_name() != "TLSv1.3":
            return SSL.NO_OVERLAPPING_PROTOCOLS
        connection.set_context(proof.context)
        return ACME_TLS

    context.set_alpn_select_callback(chosen)
    return context


def _asked(connection: SSL.Connection) -> str:
    """The name that a client asks for, "" if none."""
    return (connection.get_servername() or b"").decode("ascii", "replace").lower()
