"""QR codes, as the path of an SVG."""

from __future__ import annotations

import segno
from attrs import frozen

QUIET = 4
"""Modules around the code, which readers need (ISO/IEC 18004)."""


@frozen
class QRCode:
    """``path`` draws its dark modules in a square of ``size``, with the quiet zone."""

    size: int
    path: str


def qr_code(text: str) -> QRCode:
    """The code that says ``text``.  It takes tens of milliseconds."""
    matrix = segno.make_qr(text, error="m").matrix
    runs = []
    for y, row in enumerate(matrix):
        x = 0
        while x < len(row):
            width = 0
            while x + width < len(row) and row[x + width]:
                width += 1
            if width:
                runs.append(f"M{x + QUIET} {y + QUIET}h{width}v1h-{width}z")
            x += width + 1
    return QRCode(len(matrix) + 2 * QUIET, "".join(runs))
