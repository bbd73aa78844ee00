"""A server with a populated directory, started quickly: what is slow to make is made once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mailrelay.config.settings import Settings
from mailrelay.control.bootstrap import EVERYTHING_TO
from mailrelay.control.directory import AccountDetails, DirectoryControl
from mailrelay.control.mailbox import MessageFilter
from mailrelay.service.controls import open_control
from mailrelay.testing.loopback import Loopback, make_settings, with_account

OTHER_PASSWORD = "battery staple"
_made: dict[str, bytes] = {}


async def start_world(case: TestCase, reactor: Any, **settings: Any) -> Loopback:
    """Start a server that knows the domains and accounts of ``_populate``."""
    if not _made:
        _make(case)
    folder = Path(os.path.abspath(case.mktemp()))
    folder.mkdir(mode=0o700)
    for name, content in _made.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    if settings.get("localserve"):
        _take_everything(make_settings(case, (), "sqlite:///mailrelay.db", folder, {}))
    return await Loopback.start(case, reactor, data_dir=folder, **settings)


def _make(case: TestCase) -> None:
    settings = make_settings(case, (), "sqlite:///mailrelay.db", None, {})
    with_account(settings)
    control = open_control(settings, "test", time.time, Random(2))
    settled(_populate(control.directory))
    control.close()
    for path in settings.data_dir.iterdir():
        if path.is_file():
            _made[path.name] = path.read_bytes()


async def _populate(directory: DirectoryControl) -> None:
    await directory.add_account("other", AccountDetails(password=OTHER_PASSWORD, scram=False))
    await directory.add_account("full", AccountDetails(messages_per_day=2, password="123456789"))
    await directory.add_address("other@example.org", "other")
    await directory.add_address("full@example.org", "full")
    for name, separator in (("dash.example", "-"), ("plain.example", ""), ("off.example", "+")):
        await directory.add_domain(name, separator)
        await directory.add_address(f"user@{name}", "user")
    await directory.set_domain("off.example", disabled=True)
    await directory.add_domain("case.example", case_sensitive=True)
    await directory.add_address("Case@case.example", "user")
    await directory.add_domain("catch.example")
    await directory.add_address("@catch.example", "user")
    await directory.add_address("other@catch.example", "other")
    await directory.add_domain("bücher.example")
    await directory.add_address("user@bücher.example", "user")


async def _everything_to_user(directory: DirectoryControl) -> None:
    accounts = (await directory.records.load()).accounts.values()
    [user] = [account for account in accounts if account.name == "user"]
    await directory.records.set_setting("test", EVERYTHING_TO, str(user.id))


def settled(awaitable: Any) -> Any:
    """The result of a coroutine over a store that answers at once."""
    results: list[Any] = []
    Deferred.fromCoroutine(awaitable).addBoth(results.append)
    [result] = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


def _take_everything(settings: Settings) -> None:
    """Make the server take mail for any recipient, as localserve does."""
    control = open_control(settings, "test", time.time, Random(3))
    try:
        settled(_everything_to_user(control.directory))
    finally:
        control.close()


def soon(reactor: Any, seconds: float = 0.01) -> Deferred[None]:
    """Fires a moment later: between two looks at what cannot be awaited."""
    waited: Deferred[None] = Deferred()
    reactor.callLater(seconds, waited.callback, None)
    return waited


async def until(reactor: Any, holds: Callable[[], object]) -> None:
    """Wait for what must come; what does not come in a minute has not."""
    for _ in range(6000):
        if holds():
            return
        await soon(reactor)
    raise AssertionError("it did not happen")


async def mailbox(server: Loopback, count: int) -> list[bytes]:
    """The first ``count`` messages of all mailboxes by id, whole, once they are there."""
    control = server.control()
    server.case.addCleanup(control.close)
    found: Any = []
    while len(found) < count:
        await soon(server.reactor)
        found = await control.messages.find(MessageFilter())
    return [await control.messages.content(message.id) for _, message in found]


def accepted(server: Loopback) -> int:
    """How many messages the server made its own since it started."""
    return server.server._counters.accepted
