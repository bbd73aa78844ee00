"""Random bits that were fetched ahead."""

from __future__ import annotations

from random import SystemRandom
from threading import Thread
from typing import Any
from unittest import TestCase
from unittest.mock import patch

from mailrelay.net.surroundings import FETCHED_BYTES, StoredRandom


class StoredRandomTests(TestCase):
    """StoredRandom."""

    def test_each_once(self) -> None:
        """What the system gives is given out in order, each bit once, whatever sizes are asked."""
        given: list[bytes] = []

        def urandom(size: int) -> bytes:
            first = sum(map(len, given)) // 4
            given.append(b"".join(n.to_bytes(4) for n in range(first, first + size // 4)))
            return given[-1]

        random = StoredRandom()
        with patch("os.urandom", urandom):
            drawn = [random.getrandbits(128).to_bytes(16) for _ in range(FETCHED_BYTES // 8)]
        self.assertEqual(len(set(drawn)), len(drawn))
        words = [word[at : at + 4] for word in drawn for at in range(0, 16, 4)]
        self.assertEqual(words, sorted(words))
        self.assertGreater(len(given), 1)  # it was fetched again

    def test_threads(self) -> None:
        """Who asks while another thread is being given its bits waits for others."""
        random = StoredRandom()
        drawn: list[int] = []
        meanwhile = Thread(target=lambda: drawn.append(random.getrandbits(128)))

        class Stored(bytes):
            def __getitem__(self, at: Any) -> Any:
                if not meanwhile.ident:
                    meanwhile.start()
                    meanwhile.join(0.2)
                return super().__getitem__(at)

        with patch("os.urandom", lambda size: Stored(SystemRandom().randbytes(size))):
            drawn.append(random.getrandbits(128))
            meanwhile.join()
        self.assertEqual(len(set(drawn)), 2)

    def test_sizes(self) -> None:
        """Any number of bits may be asked for, more than are fetched at once too."""
        random = StoredRandom()
        for bits in (0, 1, 8, 53, 64, 128, 16 * FETCHED_BYTES):
            self.assertLess(random.getrandbits(bits), 1 << bits)
        self.assertRaises(ValueError, random.getrandbits, -1)
        self.assertGreater(random.getrandbits(8 * FETCHED_BYTES), 1 << (8 * FETCHED_BYTES - 64))
