"""One Chromium and one localserve for all tests here; an account for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.localserve import Localserve, Person
from tests.browser.looking import ARGUMENTS, CHROMIUM, Look, looking

PEOPLE = 60
"""As many as there may be tests here."""


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Debian's, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Localserve]:
    """A localserve with an account for everybody."""
    server = Localserve(tmp_path_factory.mktemp("localserve"))
    server.prepare([f"person{number}" for number in range(PEOPLE)])
    server.start()
    yield server
    server.stop()


@pytest.fixture
def person(server: Localserve) -> Person:
    """Somebody who has no mail yet."""
    return next(server.people)


@pytest.fixture
def look(chromium: Browser, server: Localserve) -> Iterator[Callable[..., Look]]:
    """Opens contexts, which are closed when the test ends: nothing was wrong in them."""
    with ExitStack() as stack:

        def opened(person: Person | None = None, **options: Any) -> Look:
            one = stack.enter_context(looking(chromium, server, **options))
            if person is not None:
                one.log_in(person)
            return one

        yield opened
