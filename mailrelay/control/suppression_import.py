"""A list that comes from elsewhere, line by line, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from attrs import define, field, frozen

from mailrelay.control.errors import Refusal
from mailrelay.control.suppression import NewSuppression, SuppressionControl, check_end
from mailrelay.control.suppression_lists import Read
from mailrelay.net.threads import Executor

MOST_LINES = 50_000
"""Of one import."""
MOST_TOLD = 500
"""Lines of each result that are told one by one; all are counted."""
READ_AT_ONCE = 500

ADDED, PRESENT, WRONG = "added", "present", "wrong"


@frozen
class Line:
    """What became of a line: ``result`` is added, present or wrong."""

    number: int
    result: str
    detail: str  # the address, or what is wrong


@define
class Imported:
    """What became of a list.  ``is_cut``: it had more than is taken at once."""

    counts: dict[str, int] = field(factory=lambda: {ADDED: 0, PRESENT: 0, WRONG: 0})
    is_cut: bool = False
    _lines: list[Line] = field(factory=list)

    @property
    def lines(self) -> Sequence[Line]:
        """Those that are told, in their order."""
        return sorted(self._lines, key=lambda line: line.number)

    @property
    def is_all_told(self) -> bool:
        """Whether every line is."""
        return len(self._lines) == sum(self.counts.values())

    def add(self, number: int, result: str, detail: str) -> None:
        """One more."""
        if self.counts[result] < MOST_TOLD:
            self._lines.append(Line(number, result, detail))
        self.counts[result] += 1


@frozen
class ListImport:
    """Puts what is read on a list, some lines at a time; no more of them is in memory.

    ``run`` has threads to read in; ``added`` is told of each address that was not there.
    """

    control: SuppressionControl
    run: Executor
    added: Callable[[NewSuppression], None]

    async def take(self, account: str | None, lines: Iterator[Read]) -> Imported:
        """All of them, or MOST_LINES.  Raises: NotAList, NoSuch."""
        done = Imported()
        left = MOST_LINES
        while left:
            some = await self.run.run(list, islice(lines, min(READ_AT_ONCE, left)))
            if not some:
                return done
            left -= len(some)
            await self._take(account, some, done)
        done.is_cut = bool(await self.run.run(list, islice(lines, 1)))
        return done

    async def _take(self, account: str | None, some: Sequence[Read], done: Imported) -> None:
        good: list[tuple[int, NewSuppression]] = []
        for one in some:
            problem = _problem(one, self.control.now())
            if problem or one.new is None:
                done.add(one.number, WRONG, problem)
            else:
                good.append((one.number, one.new))
        results = await self.control.import_all(account, [new for _, new in good])
        for (number, new), is_new in zip(good, results, strict=True):
            done.add(number, ADDED if is_new else PRESENT, new.base_address)
            if is_new:
                self.added(new)


def _problem(one: Read, now: float) -> str:
    if one.new is None:
        return one.problem
    try:
        check_end(one.new.expires_at, now)
    except Refusal as refusal:
        return str(refusal)
    return ""
