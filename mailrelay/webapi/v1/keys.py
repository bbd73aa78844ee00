"""``/keys``: an account's API keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias

from attrs import evolve, frozen
from msgspec import Meta, field

from mailrelay.control.answers import Inside
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.keys import MOST_KEYS, MOST_RESTRICTIONS, BadKey, KeyControl, NewKey
from mailrelay.directory.keys import APIKey, Scope
from mailrelay.webapi.v1.fields import Id
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import CONFLICT, INVALID_FIELD, NO_SUCH, NOT_ALLOWED, Problem
from mailrelay.webapi.v1.times import Time, seconds_of, time_at

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
Scopes: TypeAlias = Annotated[list[Scope], Meta(min_length=1, max_length=3)]
Sender: TypeAlias = Annotated[str, Meta(min_length=1, max_length=320)]
Senders: TypeAlias = Annotated[list[Sender], Meta(max_length=MOST_RESTRICTIONS)]
Network: TypeAlias = Annotated[str, Meta(min_length=2, max_length=50)]
Networks: TypeAlias = Annotated[list[Network], Meta(max_length=MOST_RESTRICTIONS)]
PerMinute: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]


class KeyRequest(Strict, frozen=True):
    """A key that is to be made.

    ``senders``: addresses and domains that it may send from; ``networks``: whence it is taken, as
    192.0.2.0/24; both empty for all.
    """

    name: Name
    scopes: Scopes
    senders: Senders = field(default_factory=list)
    networks: Networks = field(default_factory=list)
    expires_at: Time | None = None
    requests_per_minute: PerMinute | None = None


class KeyView(Strict, frozen=True):
    """A key, without what it is.  ``last_used_at`` may be a minute behind."""

    id: Id
    name: Name
    scopes: Scopes
    senders: Senders
    networks: Networks
    created_at: Time
    expires_at: Time | None
    requests_per_minute: PerMinute | None
    last_used_at: Time | None


class KeyMade(KeyView, frozen=True):
    """A key that was made; ``key`` is told this once, and is empty when the request is repeated."""

    key: Annotated[str, Meta(max_length=100)]


class KeyList(Strict, frozen=True):
    """All keys of the account."""

    keys: Annotated[list[KeyView], Meta(max_length=MOST_KEYS)]


@frozen
class KeyOperations:
    """``/keys``.  ``load_directory`` fires when the server knows what was changed."""

    keys: KeyControl
    load_directory: Callable[[], Awaitable[object]]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="key_create",
                method="POST",
                path="/keys",
                about="Make a key. The answer is the only one that has it.",
                work=self.create,
                scope=Scope.MANAGE,
                body=KeyRequest,
                answers={201: KeyMade},
                problems=(CONFLICT,),
            ),
            Operation(
                name="key_list",
                method="GET",
                path="/keys",
                about="The account's keys.",
                work=self.list,
                scope=Scope.MANAGE,
                answers={200: KeyList},
            ),
            Operation(
                name="key_delete",
                method="DELETE",
                path="/keys/{id}",
                about="Revoke a key: from now on it is wrong.",
                work=self.delete,
                scope=Scope.MANAGE,
                answers={204: None},
            ),
        ]

    def _control(
        self, call: Call, told: Callable[[Any, Inside], Answer | None] = lambda done, inside: None
    ) -> KeyControl:
        records = call.with_answer(self.keys.records, told)
        return evolve(self.keys, records=records, actor=call.caller.actor("api"))

    async def create(self, call: Call) -> Answer:
        """Make a key.  Raises: Problem."""
        wanted: KeyRequest = call.body
        _check_makers_key(call.caller.account.key, wanted)
        new = NewKey(
            name=wanted.name,
            scopes=frozenset(wanted.scopes),
            senders=wanted.senders,
            networks=wanted.networks,
            expires_at=seconds_of(wanted.expires_at),
            requests_per_minute=wanted.requests_per_minute,
        )
        try:
            key, text = await self._control(call, _kept).add(call.caller.account.name, new)
        except BadKey as error:
            raise Problem(INVALID_FIELD, str(error), error.field) from None
        except Refusal as error:
            raise Problem(CONFLICT, str(error)) from None
        await self.load_directory()
        return Answer(201, KeyMade(key=text, **_fields(key)))

    async def list(self, call: Call) -> Answer:
        """The keys."""
        found = await self._control(call).listed(call.caller.account.name)
        return Answer(200, KeyList(keys=[KeyView(**_fields(one.key)) for one in found]))

    async def delete(self, call: Call) -> Answer:
        """Revoke a key.  Raises: Problem."""
        try:
            await self._control(call, _gone).remove(call.id, call.caller.account.id)
        except NoSuch:
            raise Problem(NO_SUCH, "there is nothing of that id") from None
        await self.load_directory()
        return Answer(204)


def _kept(key: APIKey, inside: Inside) -> Answer:
    """A key is not stored: who repeats the request is told which it was."""
    return Answer(201, KeyMade(key="", **_fields(key)))


def _gone(was_there: bool, inside: Inside) -> Answer | None:
    return Answer(204) if was_there else None


def _check_makers_key(own: APIKey | None, wanted: KeyRequest) -> None:
    """A key makes none that may do more than itself.  Raises: Problem."""
    if own is None:
        return
    if own.is_restricted:
        raise Problem(NOT_ALLOWED, "a key that is restricted makes no keys")
    more = set(wanted.scopes) - own.scopes
    if more:
        raise Problem(NOT_ALLOWED, f"the key itself lacks the scope {min(more)}", "scopes")


def _fields(key: APIKey) -> dict[str, Any]:
    def told(seconds: float | None) -> datetime | None:
        return None if seconds is None else time_at(seconds)

    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "senders": sorted(key.senders),
        "networks": list(key.networks),
        "created_at": time_at(key.created_at),
        "expires_at": told(key.expires_at),
        "requests_per_minute": key.requests_per_minute,
        "last_used_at": told(key.last_used_at),
    }
