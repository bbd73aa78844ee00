"""Second factors: codes by time, recovery codes, tokens between password and code."""

from __future__ import annotations

from attrs import evolve
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.errors import Refusal
from mailrelay.control.second_factor import (
    PROPOSED,
    RECOVERY_CODES,
    STEP,
    VALID_FOR,
    Factor,
    FirstSteps,
    SecondFactors,
    WrongCode,
    is_recovery,
    normal,
)
from mailrelay.policy.links import Links
from mailrelay.testing.factors import MemoryFactors, code_at

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
"""RFC 6238 appendix B: 12345678901234567890."""


class FactorTests(SynchronousTestCase):
    """What is taken."""

    def test_codes_of_the_specification(self) -> None:
        """RFC 6238 appendix B, the last six of its eight digits."""
        for now, code in ((59, "287082"), (1111111109, "081804"), (20000000000, "353130")):
            after = Factor(SECRET).after(code, float(now))
            self.assertEqual(after, Factor(SECRET, now // STEP), now)

    def test_drift(self) -> None:
        """A step before and after; no further."""
        now = 1111111109.0
        for ahead, taken in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
            code = code_at(SECRET, now + ahead * STEP)
            self.assertEqual(Factor(SECRET).after(code, now) is not None, taken, ahead)

    def test_once(self) -> None:
        """Neither the code that was taken, nor one of before."""
        now = 1111111109.0
        factor = Factor(SECRET).after(code_at(SECRET, now), now)
        assert factor is not None
        for ahead, taken in ((-1, False), (0, False), (1, True)):
            code = code_at(SECRET, now + ahead * STEP)
            self.assertEqual(factor.after(code, now) is not None, taken, ahead)

    def test_what_is_no_code(self) -> None:
        """Whatever somebody sends."""
        for code in (
            "",
            "12345",
            "1234567",
            "\u0661\u0662\u0663\u0664\u0665\u0666",
            "\0",
            "A" * 16,
        ):
            self.assertIsNone(Factor(SECRET, recovery=("x",)).after(code, 59.0), code)
        self.assertIsNotNone(Factor(SECRET).after(" 287 082 ", 59.0))

    def test_stored(self) -> None:
        """What is written is read; nothing shows in a log."""
        factor = Factor(SECRET, 7, ("a", "b"))
        self.assertEqual(Factor.of(factor.text), factor)
        self.assertNotIn(SECRET, repr(factor))


class SecondFactorTests(SynchronousTestCase):
    """Turned on, asked, turned off."""

    def setUp(self) -> None:
        """Nobody has one."""
        self.at, self.count = 1_000_000.0, 0
        self.records = MemoryFactors()
        links = Links(b"secret", PROPOSED)
        self.factors = SecondFactors(
            self.records, lambda: self.at, self.random, links, "mail.example.org", "op"
        )

    def random(self, size: int) -> bytes:
        """Never the same."""
        self.count += 1
        return self.count.to_bytes(size, "big")

    def result(self, coroutine):
        """What a coroutine gives."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def fails(self, coroutine, error=WrongCode):
        """A coroutine that does."""
        return self.failureResultOf(Deferred.fromCoroutine(coroutine), error)

    def code(self, secret: str) -> str:
        """Of now."""
        return code_at(secret, self.at)

    def turned_on(self, account_id: int | None = 7) -> tuple[str, list[str]]:
        """The secret, and the recovery codes."""
        proposal = self.factors.proposal(account_id, "joe")
        work = self.factors.turn_on(account_id, proposal, self.code(proposal.secret))
        return proposal.secret, list(self.result(work))

    def test_only_once_a_code_was_shown(self) -> None:
        """A wrong one leaves things as they are; the code that turns it on logs nobody in."""
        proposal = self.factors.proposal(7, "joe")
        self.fails(self.factors.turn_on(7, proposal, "000000"))
        self.assertIsNone(self.result(self.factors.find(7)))
        code = self.code(proposal.secret)
        self.result(self.factors.turn_on(7, proposal, code))
        self.fails(self.factors.take(7, code))
        self.at += STEP
        self.result(self.factors.take(7, self.code(proposal.secret)))
        self.fails(self.factors.take(8, self.code(proposal.secret)))
        again = self.factors.proposal(7, "joe")
        self.fails(self.factors.turn_on(7, again, self.code(again.secret)), Refusal)

    def test_proposals(self) -> None:
        """What we proposed to the same account, lately; its URI says who asks."""
        made = self.factors.proposal(7, "joe & ann")
        self.assertEqual(self.factors.proposed(7, "joe & ann", made.token), made)
        self.assertTrue(made.uri.startswith("otpauth://totp/mail.example.org%3Ajoe%20%26%20ann?"))
        for account_id, token in ((8, made.token), (None, made.token), (7, made.token + "x")):
            self.assertRaises(Refusal, self.factors.proposed, account_id, "", token)
        self.at += 1801
        self.assertRaises(Refusal, self.factors.proposed, 7, "", made.token)

    def test_recovery_codes(self) -> None:
        """Each once, however it is written; what is kept gives none of them away."""
        for account_id in (7, None):
            secret, codes = self.turned_on(account_id)
            self.assertEqual(len(set(codes)), RECOVERY_CODES)
            self.assertTrue(all(is_recovery(normal(one)) for one in codes))
            factor = self.result(self.factors.find(account_id))
            for one in codes:
                self.assertNotIn(one, factor.text)
                self.assertNotIn(normal(one), factor.text)
            self.result(self.factors.take(account_id, codes[0].lower().replace("-", " ")))
            self.fails(self.factors.take(account_id, codes[0]))
            self.result(self.factors.take(account_id, codes[1]))
            self.at += STEP
            self.result(self.factors.take(account_id, self.code(secret)))

    def test_two_at_once(self) -> None:
        """Of two who send one code, one is let in: the store decides."""
        secret, _ = self.turned_on()
        self.at += STEP
        before = self.result(self.factors.find(7))
        self.result(self.factors.take(7, self.code(secret)))
        stale = evolve(self.factors, records=self.records.as_of(7, before))
        self.fails(stale.take(7, self.code(secret)))

    def test_turned_off(self) -> None:
        """By a code; or by an operator."""
        secret, codes = self.turned_on()
        self.fails(self.factors.turn_off(7, "123456"))
        self.result(self.factors.turn_off(7, codes[3]))
        self.assertIsNone(self.result(self.factors.find(7)))
        self.fails(self.factors.take(7, self.code(secret)))
        self.fails(self.factors.remove(7), Refusal)
        self.turned_on()
        self.result(self.factors.remove(7))
        self.assertIsNone(self.result(self.factors.find(7)))


class FirstStepTests(SynchronousTestCase):
    """Tokens between password and code."""

    def test_of_one_password_for_some_minutes(self) -> None:
        """Not of another account, not once the password changed, not later."""
        at = [1000.0]
        steps = FirstSteps(Links(b"secret", "x"), lambda: at[0])
        token = steps.token(7, "hash")
        self.assertEqual((steps.account_id(token), steps.is_of(token, 7, "hash")), (7, True))
        for account_id, credential in ((8, "hash"), (None, "hash"), (7, "other"), (7, "")):
            self.assertFalse(steps.is_of(token, account_id, credential))
        other = FirstSteps(Links(b"secret", "y"), lambda: at[0])
        self.assertFalse(other.is_of(token, 7, "hash"))
        self.assertIsNone(steps.account_id(steps.token(None, "hash")))
        at[0] += VALID_FOR + 1
        self.assertFalse(steps.is_of(token, 7, "hash"))
        self.assertIsNone(steps.account_id(token))


def test_code_at_is_what_applications_show() -> None:
    """The helper of the tests against the library."""
    key = b"12345678901234567890"
    assert TOTP(key, 6, SHA1(), 30).generate(59) == code_at(SECRET, 59.0).encode()
