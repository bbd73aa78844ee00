"""One order of a certificate, from its beginning to its end: what waits, waits on the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mailrelay.certificates.challenges import Challenge, Challenges, proof_of
from mailrelay.certificates.pair import Fault, Pair, parse_pair
from mailrelay.certificates.settings import TLS_ALPN_01
from mailrelay.net.threads import Executor
from mailrelay.net.tls import UnusableCertificate

ASK_EVERY = 2.0
"""Seconds between two questions whether something is done."""

PATIENCE = 300.0
"""Seconds after which an order that is not done has failed."""

MOST_REASON = 300
"""Characters of what an authority says is wrong."""


class ACMEFailed(Exception):
    """An authority refused, or cannot be had; the message says why, in one line.

    ``retry_after`` are the seconds that it wants us to wait.
    """

    def __init__(
        self,
        text: str,
        retry_after: float | None = None,
        *,
        is_limited: bool = False,
        is_account_gone: bool = False,
    ) -> None:
        line = "".join(c if c.isprintable() else " " for c in text)
        super().__init__(line[:MOST_REASON])
        self.retry_after, self.is_limited = retry_after, is_limited
        self.is_account_gone = is_account_gone


@frozen
class Account:
    """Ours with an authority."""

    uri: str


@frozen
class Order:
    """As the authority knows it: places."""

    url: str
    finalize: str
    authorizations: Sequence[str]


@frozen
class Suggestion:
    """When an authority wants a certificate renewed; ``retry_after`` are seconds to ask again."""

    start: float
    end: float
    retry_after: float | None = None


class Authority(Protocol):
    """Whom certificates are ordered from.  Blocks; every method raises ACMEFailed."""

    def account(self) -> Account:
        """Ours there, which is made if there is none.  Comes before everything else."""

    def order(self, name: str, replaces: str | None) -> Order:
        """Order a certificate for ``name``, in place of that which ``replaces`` identifies."""

    def challenge(self, order: Order, name: str) -> Challenge | None:
        """What is to be shown for ``order``, None when ``name`` is proved already."""

    def answer(self, challenge: Challenge) -> None:
        """Have the authority look."""

    def is_proved(self, order: Order) -> bool:
        """Whether the authority saw what it wanted; fails when it did not."""

    def finalize(self, order: Order, request: x509.CertificateSigningRequest) -> None:
        """Ask for the certificate of an order whose name is proved."""

    def certificate(self, order: Order) -> bytes | None:
        """The certificate with its chain, None when it is not made yet."""

    def suggestion(self, certificate: x509.Certificate) -> Suggestion | None:
        """When the authority wants it renewed (RFC 9773), None when it does not say."""


@frozen
class Ordering:
    """Orders certificates of ``authority``, whose methods run on ``executor``."""

    authority: Authority
    executor: Executor
    clock: IReactorTime
    now: Callable[[], float]
    challenges: Challenges

    async def obtain(
        self, name: str, key: PrivateKeyTypes | None, replaces: str | None, source: str
    ) -> Pair:
        """A certificate for ``name``, with ``key`` or with a new one.  Raises: ACMEFailed."""
        run, authority = self.executor.run, self.authority
        until = self.clock.seconds() + PATIENCE
        order = await run(authority.order, name, replaces)
        challenge = await run(authority.challenge, order, name)
        if challenge is not None:
            await self._prove(order, challenge, until)
        own, request = await run(_requested, name, key)
        await run(authority.finalize, order, request)
        chain = await run(authority.certificate, order)
        while chain is None:
            await self._wait(until)
            chain = await run(authority.certificate, order)
        return await run(_checked, name, chain, own, source, self.now())

    async def _prove(self, order: Order, challenge: Challenge, until: float) -> None:
        run, authority, proof = self.executor.run, self.authority, None
        if challenge.kind == TLS_ALPN_01:
            proof = await run(proof_of, challenge, self.now())
        with self.challenges.shown(challenge, proof):
            await run(authority.answer, challenge)
            while not await run(authority.is_proved, order):
                await self._wait(until)

    async def _wait(self, until: float) -> None:
        if self.clock.seconds() >= until:
            raise ACMEFailed(f"the authority took longer than {PATIENCE:.0f} seconds")
        waited: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self.clock.callLater(ASK_EVERY, waited.callback, None)
        await waited


def new_key() -> ec.EllipticCurvePrivateKey:
    """As certificates and accounts have them."""
    return ec.generate_private_key(ec.SECP256R1())


def _requested(
    name: str, key: PrivateKeyTypes | None
) -> tuple[PrivateKeyTypes, x509.CertificateSigningRequest]:
    own: Any = key or new_key()
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(
        names, critical=False
    )
    return own, builder.sign(own, hashes.SHA256())


def _checked(name: str, chain: bytes, key: PrivateKeyTypes, source: str, now: float) -> Pair:
    """What an authority made, as everything that comes from outside.  Raises: ACMEFailed."""
    try:
        pair = parse_pair(chain, key_pem(key), source)
    except UnusableCertificate as error:
        raise ACMEFailed(str(error)) from error
    faults = pair.faults(now, name) - {Fault.NOT_YET}  # their clock may be ahead of ours
    if faults:
        raise ACMEFailed(f"what came is no good: {'; '.join(one.value for one in faults)}")
    return pair


def key_pem(key: PrivateKeyTypes) -> bytes:
    """A private key as files hold it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
