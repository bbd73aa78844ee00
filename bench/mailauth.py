"""What signing, verifying and sealing cost: processor time of one thread, no server and no DNS."""

import time
from collections.abc import Callable, Coroutine, Sequence
from statistics import median
from typing import Any

import attrs

from bench.measurement import Run
from bench.servers import Server
from bench.surroundings import Surroundings
from mailrelay.mailauth.arc import ChainResult
from mailrelay.mailauth.arc_seal import Sealing, seal
from mailrelay.mailauth.arc_verify import ARCOutcome, ChainVerifier
from mailrelay.mailauth.dkim import Algorithm, BodyDigest, raw_fields
from mailrelay.mailauth.dkim_sign import BODY, SigningKey, new_key, sign
from mailrelay.mailauth.dkim_verify import DKIMResult, Verifier

NOW = 1_700_000_000.0
HEADER = b"".join(
    name + b": a value of the usual length, which says something <value@bench.test>\r\n"
    for name in (
        *(b"Received", b"Received", b"From", b"To", b"Subject", b"Date", b"Message-ID"),
        *(b"MIME-Version", b"Content-Type", b"Content-Transfer-Encoding", b"X-Mailer"),
    )
)
LINE = b"The quick brown fox jumps over the lazy dog, and does it once more.\r\n"
BATCH = 50


@attrs.frozen
class MailAuth:
    """Signs and verifies a message of 5 kB with RSA of 2048 bits, and with Ed25519; seals it."""

    name: str

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """One run; ``kind`` is ours."""
        body = LINE * ((5000 - len(HEADER)) // len(LINE))
        metrics = {}
        for name, algorithm in (("", Algorithm.RSA), ("ed25519_", Algorithm.ED25519)):
            one = _Message(body, SigningKey("bench.test", "s", new_key(algorithm)))
            for verb, work in one.work().items():
                metrics[f"{name}{verb}_ms"] = _cost(work, surroundings.seconds / 8)
        return Run(self.name, kind.name, metrics)


@attrs.frozen
class _Message:
    body: bytes
    key: SigningKey

    def work(self) -> dict[str, Callable[[], object]]:
        """What is measured."""
        signed, sealed = self.signature() + HEADER, self.seal() + HEADER
        return {
            "sign": self.signature,
            "verify": lambda: self.verify(signed),
            "seal": self.seal,
            "validate": lambda: self.validate(sealed),
        }

    def digest(self) -> bytes:
        digest = BodyDigest(BODY)
        digest.update(self.body)
        return digest.finish()

    def signature(self) -> bytes:
        return sign(raw_fields(HEADER), self.digest(), [self.key], NOW)

    def seal(self) -> bytes:
        sealing = Sealing("bench.test; none", ARCOutcome(ChainResult.NONE))
        return seal(raw_fields(HEADER), self.digest(), sealing, self.key, NOW)

    def verify(self, header: bytes) -> None:
        verifier = Verifier(raw_fields(header))
        verifier.update(self.body)
        [outcome] = _at_once(verifier.outcomes(self.texts, NOW, _computed))
        if outcome.result is not DKIMResult.PASS:
            raise ValueError(outcome.reason)

    def validate(self, header: bytes) -> None:
        verifier = ChainVerifier(raw_fields(header))
        verifier.update(self.body)
        outcome = _at_once(verifier.outcome(self.texts, NOW, _computed))
        if outcome.result is not ChainResult.PASS:
            raise ValueError(outcome.reason)

    async def texts(self, name: str) -> Sequence[bytes]:
        return [self.key.record().encode()]


async def _computed(call: Callable[[], bool]) -> bool:
    return call()


def _at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits")


def _cost(work: Callable[[], object], seconds: float) -> float:
    """Milliseconds of processor time, of the median batch."""
    work()
    costs: list[float] = []
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at or not costs:
        began = time.thread_time()
        for _ in range(BATCH):
            work()
        costs.append((time.thread_time() - began) / BATCH * 1000)
    return median(costs)
