"""What every test has: a working directory of its own run, where ``mktemp`` leaves its files."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def _away_from_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trial's ``mktemp`` makes its folders below the current one."""
    os.chdir(tmp_path_factory.mktemp("trial"))
