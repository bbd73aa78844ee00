"""Sender rewriting."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.srs import SRS, VALID_DAYS, is_srs
from mailrelay.smtp.address import Address

NOW = 1_800_000_000.0
DAY = 86400.0
OURS = SRS(b"a secret")
ANN = Address("ann", "example.net")

_WORD = st.text("abcXYZ019._+=-", min_size=1, max_size=12)


def made(path: Address = ANN, domain: str = "example.org") -> Address:
    """``path`` rewritten."""
    found = OURS.rewritten(path, domain, NOW)
    assert found is not None
    return found


class SRSTests(SynchronousTestCase):
    """SRS0 and SRS1."""

    def test_form(self) -> None:
        """As other software writes it, with a longer hash."""
        path = made()
        self.assertRegex(str(path), r"^SRS0=[A-Z2-7]{16}=[A-Z2-7]{2}=example.net=ann@example.org$")
        self.assertTrue(is_srs(path))
        self.assertFalse(is_srs(ANN))

    @given(_WORD, st.sampled_from(["a.example", "xn--bcher-kva.example"]))
    def test_there_and_back(self, localpart: str, domain: str) -> None:
        """What was rewritten is read again, and in lower case as well."""
        path = Address(localpart.strip(".").replace("..", "."), domain)
        if not path.localpart:
            return
        if is_srs(path):
            return
        rewritten = made(path)
        self.assertEqual(OURS.original(rewritten, NOW), path)
        lower = Address(rewritten.localpart.lower(), rewritten.domain)
        found = OURS.original(lower, NOW)
        assert found is not None
        self.assertEqual(str(found), str(path).lower())

    def test_end(self) -> None:
        """It holds for its days, also where the count begins anew, and for slow clocks."""
        for start in (NOW, 1024 * 20 * DAY - DAY / 2):
            path = OURS.rewritten(ANN, "example.org", start)
            assert path is not None
            for days, holds in (
                (0, True),
                (VALID_DAYS, True),
                (VALID_DAYS + 1, False),
                (-2, False),
            ):
                found = OURS.original(path, start + days * DAY)
                self.assertEqual(found is not None, holds, days)
            self.assertIsNotNone(OURS.original(path, start - DAY))

    def test_forged(self) -> None:
        """Another domain, secret, day, author or hash: nobody's."""
        path = made()
        hash_, day, domain, localpart = path.localpart[5:].split("=")
        wrong = [
            Address(path.localpart, "example.com"),
            Address(path.localpart.replace("ann", "anne"), path.domain),
            Address(path.localpart.replace("example.net", "example.nu"), path.domain),
            Address(f"SRS0={hash_}=AA={domain}={localpart}", path.domain),
            Address(f"SRS0={hash_[:-1]}={day}={domain}={localpart}", path.domain),
            Address(f"SRS0=={day}={domain}={localpart}", path.domain),
            Address(f"SRS1={hash_}={domain}=={day}={localpart}", path.domain),
            Address(f"SRS0={hash_[:-1]}\u017f={day}={domain}={localpart}", path.domain),
            Address("SRS0=", path.domain),
            ANN,
        ]
        for one in wrong:
            self.assertIsNone(OURS.original(one, NOW), one)
        self.assertIsNone(SRS(b"another").original(path, NOW))

    def test_guessed(self) -> None:
        """100,000 guesses of a hash, each right but for chance: none is taken (threat 14)."""
        path, random = made(), Random(7)
        _, rest = path.localpart[5:].split("=", 1)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
        hits = 0
        for _ in range(100_000):
            guess = "".join(random.choices(letters, k=16))
            hits += OURS.original(Address(f"SRS0={guess}={rest}", path.domain), NOW) is not None
        self.assertEqual(hits, 0)

    def test_rewritten_before(self) -> None:
        """Another server's path is not wrapped again, however many servers it passes."""
        foreign = Address("SRS0=Xy9z=T3=far.example=bob", "relay.example")
        first = made(foreign)
        self.assertRegex(
            str(first), r"^SRS1=[A-Z2-7]{16}=relay.example==Xy9z=T3=far.example=bob@example.org$"
        )
        self.assertEqual(OURS.original(first, NOW), foreign)
        third = SRS(b"of another server")
        second = third.rewritten(first, "third.example", NOW)
        assert second is not None
        self.assertEqual(third.original(second, NOW), foreign)
        self.assertEqual(len(second.localpart), len(first.localpart))
        dashed = Address("SRS0+Xy9z=T3=far.example=bob", "relay.example")
        self.assertEqual(OURS.original(made(dashed), NOW), dashed)

    def test_no_room(self) -> None:
        """A path that would not fit is not made; neither is one of the server's own postmaster."""
        long = Address("a" * 63, f"{'x.' * 71}example.net")
        self.assertEqual(len(str(made(long))), 254)
        self.assertEqual(OURS.original(Address.parse(str(made(long))), NOW), long)
        longer = Address(long.localpart, f"x{long.domain}")
        self.assertIsNone(OURS.rewritten(longer, "example.org", NOW))
        self.assertIsNone(OURS.rewritten(Address("postmaster", ""), "example.org", NOW))

    def test_secret_is_not_shown(self) -> None:
        """Nor in a traceback."""
        self.assertNotIn("a secret", repr(OURS))
