"""MTA-STS policies of other domains, until they expire."""

from __future__ import annotations

from attrs import frozen
from msgspec import json
from sqlalchemy import Connection, delete, insert, select, update
from twisted.internet.defer import Deferred

from mailrelay.mailauth.mta_sts import Mode, Policy
from mailrelay.outbound.mta_sts import StoredPolicy
from mailrelay.storage import tables
from mailrelay.storage.database import Database

_policy = tables.mta_sts_policy


@frozen
class DatabaseMTASTS:
    """MTASTSRecords over one database."""

    database: Database

    def get(self, domain: str) -> Deferred[StoredPolicy | None]:
        """See MTASTSRecords."""

        def read(connection: Connection) -> StoredPolicy | None:
            row = connection.execute(select(_policy).where(_policy.c.domain == domain)).first()
            if row is None:
                return None
            hosts = tuple(json.decode(row.hosts, type=list[str]))
            max_age = round(row.expires_at - row.fetched_at)
            policy = Policy(Mode(row.mode), hosts, max_age)
            return StoredPolicy(domain, row.policy_id, policy, row.fetched_at)

        return self.database.read(read)

    def put(self, policy: StoredPolicy) -> Deferred[None]:
        """See MTASTSRecords."""
        values = {
            "policy_id": policy.policy_id,
            "mode": policy.policy.mode.value,
            "hosts": json.encode(policy.policy.hosts).decode(),
            "fetched_at": policy.fetched_at,
            "expires_at": policy.expires_at,
        }

        def write(connection: Connection) -> None:
            own = _policy.c.domain == policy.domain
            if connection.execute(update(_policy).where(own).values(values)).rowcount == 0:
                connection.execute(insert(_policy).values(domain=policy.domain, **values))

        return self.database.write(write)

    def forget_expired(self, now: float) -> Deferred[int]:
        """See MTASTSRecords."""

        def write(connection: Connection) -> int:
            gone = connection.execute(delete(_policy).where(_policy.c.expires_at <= now))
            return int(gone.rowcount)

        return self.database.write(write)
