"""The directory as ``control/`` asks for it: each change tells others, and is audited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.account import EndpointChange
from mailrelay.directory.model import Domain
from mailrelay.storage import directory as rows
from mailrelay.storage.audited import AuditedRecords
from mailrelay.webhooks.call import Endpoint

T = TypeVar("T")


@frozen
class DatabaseDirectory(AuditedRecords):
    """DirectoryRecords over one database."""

    def add_domain(self, actor: str, domain: Domain) -> Deferred[None]:
        """See DirectoryRecords."""
        return self._change(actor, "domain add", domain.name, lambda c: rows.add_domain(c, domain))

    def set_domain(self, actor: str, name: str, values: dict[str, object]) -> Deferred[None]:
        """See DirectoryRecords."""
        return self._change(
            actor, "domain set", name, lambda c: rows.set_domain(c, name, values, self.now())
        )

    def remove_domain(self, actor: str, name: str) -> Deferred[None]:
        """See DirectoryRecords."""
        return self._change(actor, "domain remove", name, lambda c: rows.remove_domain(c, name))

    def add_account(self, actor: str, name: str, values: dict[str, object]) -> Deferred[int]:
        """See DirectoryRecords."""
        return self._change(actor, "account add", name, lambda c: rows.add_account(c, name, values))

    def set_account(
        self,
        actor: str,
        name: str,
        values: dict[str, object],
        endpoints: Sequence[EndpointChange] = (),
    ) -> Deferred[None]:
        """See DirectoryRecords."""
        return self._change(
            actor, "account set", name, lambda c: rows.set_account(c, name, values, endpoints)
        )

    def endpoints(self, name: str) -> Deferred[Sequence[Endpoint]]:
        """See DirectoryRecords."""
        return self.database.read(lambda c: rows.endpoints_of(c, name))

    def remove_account(self, actor: str, name: str) -> Deferred[None]:
        """See DirectoryRecords."""
        return self._change(
            actor,
            "account remove",
            name,
            lambda c: rows.remove_account(c, name),
            ("directory", "suppression", "holds"),
        )

    def add_address(self, actor: str, localpart: str, domain: str, account: str) -> Deferred[None]:
        """See DirectoryRecords."""
        subject = f"{localpart}@{domain} {account}"
        return self._change(
            actor, "address add", subject, lambda c: rows.add_address(c, localpart, domain, account)
        )

    def remove_address(self, actor: str, localpart: str, domain: str) -> Deferred[None]:
        """See DirectoryRecords."""
        return self._change(
            actor,
            "address remove",
            f"{localpart}@{domain}",
            lambda c: rows.remove_address(c, localpart, domain),
        )

    def setting(self, name: str) -> Deferred[str | None]:
        """See DirectoryRecords."""
        return self.database.read(lambda c: rows.read_setting(c, name))

    def set_setting(self, actor: str, name: str, value: str) -> Deferred[None]:
        """See DirectoryRecords.  The value is not audited: it may be a secret."""
        return self._change(actor, "setting", name, lambda c: rows.write_setting(c, name, value))
