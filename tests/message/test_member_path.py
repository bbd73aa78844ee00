"""Reverse-paths for one member's copy."""

from __future__ import annotations

from random import Random

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.member_path import VALID_DAYS, MemberPaths, MembersCopy
from mailrelay.smtp.address import Address

NOW = 1_800_000_000.0
DAY = 86400.0
OURS = MemberPaths(b"a secret")
ANN = Address("ann", "example.net")


def made(member: Address = ANN, now: float = NOW) -> Address:
    """The path of a copy of alias 7's."""
    found = OURS.path(7, member, "example.org", now)
    assert found is not None
    return found


class MemberPathTests(SynchronousTestCase):
    """Made and read."""

    def test_form(self) -> None:
        """Alias, member and minute can be seen; the hash cannot be made."""
        self.assertRegex(
            str(made()), r"^LIST0=[A-Z2-7]{16}=30000000=7=example\.net=ann@example\.org$"
        )

    @given(st.from_regex(r"[abXYZ019_+= -]{1,12}", fullmatch=True), st.integers(1, 2**53 - 1))
    def test_there_and_back(self, localpart: str, alias_id: int) -> None:
        """What was made is read again, and in lower case as well."""
        member = Address(localpart, "a.example")
        path = OURS.path(alias_id, member, "example.org", NOW + 59)
        assert path is not None
        self.assertEqual(OURS.copy(path, NOW), MembersCopy(alias_id, member, NOW))
        lower = Address(path.localpart.lower(), path.domain)
        found = OURS.copy(lower, NOW)
        assert found is not None
        self.assertEqual(str(found.member), str(member).lower())

    def test_end(self) -> None:
        """It holds for its days, and for a clock that is a day behind."""
        for days, holds in ((0, True), (VALID_DAYS, True), (VALID_DAYS + 1, False), (-2, False)):
            self.assertIs(OURS.copy(made(), NOW + days * DAY) is not None, holds, days)

    def test_forged(self) -> None:
        """Another alias, member, minute, domain or secret makes it none of ours."""
        path = made()
        for old, new in (("=7=", "=8="), ("=ann", "=bob"), ("=30000000=", "=30000001=")):
            forged = evolve(path, localpart=path.localpart.replace(old, new))
            self.assertNotEqual(forged, path)
            self.assertIsNone(OURS.copy(forged, NOW), forged)
        self.assertIsNone(OURS.copy(Address(path.localpart, "example.com"), NOW))
        self.assertIsNone(MemberPaths(b"another").copy(path, NOW))
        self.assertIsNone(OURS.copy(ANN, NOW))
        rest = path.localpart[len("LIST0=") + 16 :]
        random = Random(1)
        for _ in range(200):
            guess = "".join(random.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=16))
            self.assertIsNone(OURS.copy(Address(f"LIST0={guess}{rest}", "example.org"), NOW))

    def test_no_room(self) -> None:
        """A path that is too long, or not of ASCII, is none."""
        self.assertIsNone(OURS.path(7, Address("a" * 220, "example.net"), "example.org", NOW))
        self.assertIsNone(OURS.path(7, Address("änn", "example.net"), "example.org", NOW))
