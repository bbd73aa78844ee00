"""What an account changes of itself by the API, composed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from mailrelay.control.accounts import AccountsControl
from mailrelay.control.directory import DirectoryControl
from mailrelay.directory.model import Account, Directory
from mailrelay.net.surroundings import Surroundings
from mailrelay.storage.accounts import DatabaseAccounts
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.stores import Stores
from mailrelay.webapi.v1.operations import Operation
from mailrelay.webapi.v1.own_account import OwnAccountOperations


def own_account_operations(
    s: Surroundings,
    stores: Stores,
    directory: Callable[[], Directory],
    used_today: Callable[[int], int],
    random: Callable[[], bytes],
    load_directory: Callable[[], Awaitable[object]],
) -> Sequence[Operation]:
    """``/account/settings``."""
    records = DatabaseDirectory(stores.database, s.now)
    accounts = AccountsControl(DatabaseAccounts(stores.database, s.now), used_today, "api")

    def account(id_: int) -> Account:
        return directory().accounts[id_]

    return OwnAccountOperations(
        account,
        partial(DirectoryControl, records, s.workers, random),
        accounts.use,
        load_directory,
    ).operations()
