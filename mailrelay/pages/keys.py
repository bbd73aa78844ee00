"""The account's API keys: what there is, one more, one less."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.keys import MOST_KEYS, KeyControl, NewKey
from mailrelay.directory.keys import Scope
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.pages.fields import Trouble, number_of, time_of, trouble_of, words_of
from mailrelay.web.request import Response, Route

DONE: Mapping[str, str] = {"revoked": "The key is revoked: from now on it is wrong."}

FIELDS = ("name", "senders", "networks", "expires_at", "requests_per_minute")


@frozen
class KeyPages:
    """``/keys``.  ``control`` is for whoever is named in the audit.

    Who is logged in makes and revokes keys, and is not asked for the password again.
    ``load_directory`` fires when the server knows what was changed.
    """

    doors: Doors
    control: Callable[[str], KeyControl]
    load_directory: Callable[[], Awaitable[object]]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.account("/keys", self.list),
            self.doors.account_form("/keys", self.make),
            self.doors.account_form("/keys/{id}/revoke", self.revoke),
        ]

    async def list(self, asked: Asked) -> Response:
        """The keys, and a form for another."""
        return await self._list(asked, {}, [Scope.SEND])

    async def make(self, asked: Asked) -> Response:
        """Make a key.  The answer is the only page that has it; nothing goes on from it."""
        typed = {name: asked.value(name) for name in FIELDS}
        scopes = [scope for scope in Scope if scope.value in asked.form.get("scope", ())]
        try:
            wanted = _wanted(typed, scopes)
            key, text = await self.control(asked.actor).add(asked.account.name, wanted)
        except Refusal as error:
            return await self._list(asked, typed, scopes, trouble_of("make", error))
        await self.load_directory()
        return self.doors.page(asked, "key_made.html", key=key, text=text)

    async def revoke(self, asked: Asked) -> Response:
        """Have a key be wrong from now on."""
        try:
            await self.control(asked.actor).remove(asked.id, asked.account_id)
        except NoSuch:
            raise NoSuch("there is no such key; it may be revoked already") from None
        await self.load_directory()
        return see_other("/keys?done=revoked")

    async def _list(
        self,
        asked: Asked,
        typed: Mapping[str, str],
        scopes: Sequence[Scope],
        trouble: Trouble | None = None,
    ) -> Response:
        control = self.control(asked.actor)
        return self.doors.page(
            asked,
            "keys.html",
            200 if trouble is None else 422,
            keys=[one.key for one in await control.listed(asked.account.name)],
            now=control.now(),
            most=MOST_KEYS,
            typed={name: typed.get(name, "") for name in FIELDS},
            scopes=scopes,
            trouble=trouble,
            done=asked.done(DONE),
        )


def _wanted(typed: Mapping[str, str], scopes: Sequence[Scope]) -> NewKey:
    """Raises: Refusal."""
    return NewKey(
        name=typed["name"],
        scopes=frozenset(scopes),
        senders=words_of(typed["senders"]),
        networks=words_of(typed["networks"]),
        expires_at=time_of("expires_at", typed["expires_at"]),
        requests_per_minute=number_of("requests_per_minute", typed["requests_per_minute"]),
    )
