"""Localparts that simulate failures."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy.simulated import (
    TIMEOUT_SECONDS,
    fails_at_mail,
    fails_at_rcpt,
    simulated_failure,
)
from mailrelay.smtp.address import Address


def at(localpart: str) -> Address:
    """An address with that localpart."""
    return Address(localpart, "localhost")


class SimulatedTests(SynchronousTestCase):
    """simulated_failure and where it happens."""

    def test_suffixes(self) -> None:
        """The suffix names the code, whatever its case; other localparts are ordinary."""
        for localpart, code in {
            "temperror": 451,
            "x-TempError": 451,
            "permerror": 550,
            "user421": 421,
            "554": 554,
            "timeout": 451,
            "user": None,
            "399": None,
            "600": None,
            "45": None,
            "4567": 567,
            "550x": None,
            "temperror2": None,
            "a5\u0665\u0665": None,
        }.items():
            with self.subTest(localpart):
                failure = simulated_failure(at(localpart))
                self.assertEqual(failure.reply.code if failure else None, code)
                if failure:
                    self.assertEqual(failure.reply.code // 100, code and code // 100)
                    self.assertEqual(
                        failure.after, TIMEOUT_SECONDS if localpart == "timeout" else 0
                    )

    def test_earlier_commands(self) -> None:
        """Only the prefix of a command makes that command fail."""
        self.assertIsNotNone(fails_at_mail(at("MailFrom-550")))
        self.assertIsNone(fails_at_mail(at("rcptto-550")))
        self.assertIsNone(fails_at_mail(at("mailfrom")))
        self.assertIsNone(fails_at_mail(at("x550")))
        self.assertIsNone(fails_at_mail(None))
        self.assertIsNotNone(fails_at_rcpt(at("RCPTTO-temperror")))
        self.assertIsNone(fails_at_rcpt(at("mailfrom-550")))
        self.assertIsNone(fails_at_rcpt(at("rcptto")))
