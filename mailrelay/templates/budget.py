"""How much a template may do: what it evaluates and what it reads and makes is counted."""

from __future__ import annotations

from typing import Any

from attrs import define

from mailrelay.templates.variables import size_of

MOST_STEPS = 200_000
"""Of one message: some tenths of a second; a table of 1,000 lines needs 30,000."""

CHARACTERS_A_STEP = 16


class TooMuch(Exception):
    """The template does more than it may."""


@define
class Budget:
    """What is left.  A step is a node of the template that is evaluated, or 16 characters.

    What makes more than it reads asks before it does.
    """

    steps: int = MOST_STEPS

    def spend(self, steps: int) -> None:
        """Raises: TooMuch."""
        self.steps -= steps
        if self.steps < 0:
            raise TooMuch("the template does too much: its loops are too long, or too deep")

    def spend_on(self, value: Any) -> None:
        """As ``value`` is large.  Raises: TooMuch."""
        self.spend(1 + size_of(value) // CHARACTERS_A_STEP)
