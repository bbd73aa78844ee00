"""What every test has: a working directory of its own run, where ``mktemp`` leaves its files."""

from __future__ import annotations

import os

import pytest

from mailrelay.service.collecting import look_seldom

SLOWEST = (
    "test_simulation.py",
    "test_simulation_again.py",
    "test_readme.py",
    "test_examples.py",
    "test_installed.py",
    "test_crash.py",
    "test_call_crash.py",
    "test_two_servers.py",
)
"""The longest files go first, whatever order the others are in: none is left to one process."""

BROWSER = "browser"
"""The folder whose tests share a browser and a server: they follow each other."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Behind pytest-randomly, which shuffles."""
    places = {name: place for place, name in enumerate(SLOWEST)}
    rest = len(SLOWEST)

    def place(item: pytest.Item) -> int:
        return rest if item.path.parent.name == BROWSER else places.get(item.path.name, rest + 1)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """The interpreter looks for garbage as seldom as in a server: tests make many of those."""
    look_seldom()


@pytest.fixture(autouse=True, scope="session")
def _away_from_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trial's ``mktemp`` makes its folders below the current one."""
    os.chdir(tmp_path_factory.mktemp("trial"))
