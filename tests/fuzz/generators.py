"""Seeded random inputs: pieces of a grammar put together, then damaged."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

SPECIAL = [b"\0", b"\r", b"\n", b"\r\n", b"\xff", b"\xc3", "\u2028".encode(), b" ", b"\t", b"\x7f"]


def grown(random: Random, pieces: Sequence[bytes], most: int = 12) -> bytes:
    """Up to ``most`` pieces, most of the time damaged here and there."""
    data = b"".join(random.choices(pieces, k=random.randint(0, most)))
    for _ in range(random.choice((0, 0, 1, 2, 5))):
        data = damaged(random, data)
    return data


def damaged(random: Random, data: bytes) -> bytes:
    """``data`` with one byte or stretch changed, doubled, gone or put in."""
    if not data:
        return random.choice(SPECIAL)
    a = random.randrange(len(data))
    b = min(len(data), a + random.choice((1, 1, 2, 8)))
    match random.randrange(6):
        case 0:
            return data[:a] + data[b:]
        case 1:
            return data[:b] + data[a:b] * random.choice((1, 2, 50)) + data[b:]
        case 2:
            return data[:a] + random.choice(SPECIAL) + data[a:]
        case 3:
            return data[:a] + bytes([random.randrange(256)]) + data[a + 1 :]
        case 4:
            return data[:a] + data[a:b].swapcase() + data[b:]
        case _:
            return (
                data[:a]
                + str(random.randrange(10 ** random.choice((1, 5, 25)))).encode()
                + data[b:]
            )


def cut(random: Random, data: bytes) -> list[bytes]:
    """``data`` in pieces, as a network may deliver it."""
    if random.random() < 0.1:
        return [data[i : i + 1] for i in range(len(data))]
    pieces = []
    while data:
        size = random.choice((1, 2, 3, 7, 40, len(data)))
        pieces.append(data[:size])
        data = data[size:]
    return pieces
