"""Checks of domains' DNS that go on while nobody waits for them, and the last one of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.control.dns_finding import CheckReport
from mailrelay.control.errors import Refusal
from mailrelay.queue.store import StoreUnavailable

MOST_AT_ONCE = 4
MOST_KEPT = 1000

_log = Logger()


@frozen
class Checked:
    """A check.  Times are seconds since the epoch; ``problem`` is why there is no ``report``."""

    began_at: float
    ended_at: float | None = None
    report: CheckReport | None = None
    problem: str = ""

    @property
    def is_under_way(self) -> bool:
        """Whether it goes on."""
        return self.ended_at is None


@define
class DomainChecks:
    """Those of this process, in memory.  ``check`` is None where nothing is looked up."""

    check: Callable[[str], Awaitable[CheckReport]] | None
    now: Callable[[], float]
    _checked: dict[str, Checked] = field(factory=dict, init=False)

    def of(self, domain: str) -> Checked | None:
        """The last check of a domain, the one under way if there is one."""
        return self._checked.get(domain)

    def begin(self, domain: str) -> None:
        """Check a domain, unless that is under way.  Raises: Refusal."""
        if self.check is None:
            raise Refusal("a localserve looks nothing up")
        before = self._checked.get(domain)
        if before is not None and before.is_under_way:
            return
        if sum(one.is_under_way for one in self._checked.values()) >= MOST_AT_ONCE:
            raise Refusal(f"{MOST_AT_ONCE} domains are being checked: wait until one of them is")
        self._checked.pop(domain, None)
        if len(self._checked) >= MOST_KEPT:
            done = (name for name, one in self._checked.items() if not one.is_under_way)
            del self._checked[next(done)]
        began_at = self.now()
        self._checked[domain] = Checked(began_at)
        Deferred.fromCoroutine(self._run(self.check, domain, began_at))

    async def _run(
        self, check: Callable[[str], Awaitable[CheckReport]], domain: str, began_at: float
    ) -> None:
        report, problem = None, ""
        try:
            report = await check(domain)
        except (Refusal, StoreUnavailable) as error:
            problem = str(error)
        except Exception:
            _log.failure("the DNS of {domain} cannot be checked", domain=domain)
            problem = "it went wrong in a way that nobody thought of: see the log"
        self._checked[domain] = Checked(began_at, self.now(), report, problem)
