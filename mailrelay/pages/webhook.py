"""One endpoint: what it is, its secrets, a test, and having events told again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen

from mailrelay.control.endpoints import (
    LONGEST_SECRET_KEPT,
    SECRET_KEPT_FOR,
    BadEndpoint,
    EndpointControl,
)
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.replay import CallQuery, ReplayControl, ReplayRange, call_state
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.fields import BadField, Trouble, local_text, number_of, time_of, trouble_of
from mailrelay.pages.webhooks import FIELDS, secret_page, typed_of, wanted_fields
from mailrelay.web.request import Response, Route
from mailrelay.webhooks.endpoint import ENTRY_EVENTS, EVENTS, StandardEndpoint

NEWEST_CALLS = 10
MOST_ONCE = 40

DONE: Mapping[str, str] = {
    "changed": "The endpoint is changed; calls that wait go to it as it is now.",
    "enabled": "The endpoint is called again, from the next event on.",
    "replayed": "The events are told again, as calls that wait.",
}

KEPT: Sequence[tuple[int, str]] = (
    (0, "ends at once"),
    (3600, "signs, too, for an hour"),
    (int(SECRET_KEPT_FOR), "signs, too, for a day"),
    (7 * 86400, "signs, too, for a week"),
    (int(LONGEST_SECRET_KEPT), "signs, too, for 30 days"),
)


@frozen
class WebhookPage:
    """``/webhooks/{id}``.  See WebhookPages."""

    doors: Doors
    endpoints: Callable[[str], EndpointControl]
    replays: Callable[[str], ReplayControl]
    load_directory: Callable[[], Awaitable[object]]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        path, doors = "/webhooks/{id}", self.doors
        return [
            doors.account(path, self.show),
            doors.account_form(path, self.change),
            doors.account_form(f"{path}/rotate", self.rotate),
            doors.account_form(f"{path}/enable", self.enable),
            doors.account_form(f"{path}/remove", self.remove),
            doors.account_form(f"{path}/test", self.test),
            doors.account(f"{path}/replay", self.replaying),
            doors.account_form(f"{path}/replay", self.replay),
        ]

    async def show(self, asked: Asked) -> Response:
        """The endpoint, how its calls go, and everything that can be done with it."""
        return await self._show(asked)

    async def change(self, asked: Asked) -> Response:
        """Have it be as the form says."""
        typed = {name: asked.value(name) for name in FIELDS}
        events = asked.form.get("event", ())
        try:
            wanted = wanted_fields(typed, events)
            await self.endpoints(asked.actor).change(asked.id, wanted, asked.account_id)
        except NoSuch:
            raise _no_such() from None
        except Refusal as error:
            return await self._show(asked, trouble_of("change", error), typed, events)
        await self.load_directory()
        return see_other(f"/webhooks/{asked.id}?done=changed")

    async def rotate(self, asked: Asked) -> Response:
        """Give it a new secret.  The answer has it; nothing goes on from it."""
        try:
            kept_for = number_of("kept_for", asked.value("kept_for"))
            made = await self.endpoints(asked.actor).rotate(
                asked.id, SECRET_KEPT_FOR if kept_for is None else kept_for, asked.account_id
            )
        except (BadEndpoint, BadField) as error:
            return await self._show(asked, trouble_of("rotate", error))
        except NoSuch:
            raise _no_such() from None
        await self.load_directory()
        return secret_page(self.doors, asked, made, is_new=False)

    async def enable(self, asked: Asked) -> Response:
        """Call it again."""
        await self._done(self.endpoints(asked.actor).enable(asked.id, asked.account_id))
        return see_other(f"/webhooks/{asked.id}?done=enabled")

    async def remove(self, asked: Asked) -> Response:
        """Remove it."""
        await self._done(self.endpoints(asked.actor).remove(asked.id, asked.account_id))
        return see_other("/webhooks?done=removed")

    async def _done(self, work: Awaitable[object]) -> None:
        """Have ``work`` done, and seen.  Raises: NoSuch."""
        try:
            await work
        except NoSuch:
            raise _no_such() from None
        await self.load_directory()

    async def test(self, asked: Asked) -> Response:
        """Call it with an example; on to the call."""
        event = asked.value("event")
        try:
            made = await self.replays(asked.actor).test(asked.account_id, asked.id, event)
        except NoSuch:
            raise _no_such() from None
        except Refusal as error:
            return await self._show(asked, trouble_of("test", error))
        return see_other(f"/calls/{made.call.id}")

    async def replay(self, asked: Asked) -> Response:
        """Have events told again, as many as one request may; on to what is left.

        What ``once`` names in the form makes a form that is sent twice, or again after an
        interruption, go on where it was.
        """
        control = self.replays(asked.actor)
        typed = {name: asked.value(name) for name in ("since", "until", "once")}
        kinds = [kind for kind in ENTRY_EVENTS if kind in asked.form.get("kind", ())]
        try:
            wanted = _range(asked.id, typed, kinds, control.now())
            key = f"page {asked.id} {typed['once'][:MOST_ONCE]} {wanted}"
            done = await control.replay(asked.account_id, wanted, key)
        except NoSuch:
            raise _no_such() from None
        except Refusal as error:
            return await self._replay(asked, typed, kinds, None, trouble_of("replay", error))
        if done.next_after is None:
            return see_other(f"/webhooks/{asked.id}?done=replayed&count={done.calls}")
        until = typed["until"] or local_text(wanted.until)
        rest = {**typed, "until": until, "kinds": ",".join(kinds)}
        return see_other(link(f"/webhooks/{asked.id}/replay", count=done.calls, **rest))

    async def replaying(self, asked: Asked) -> Response:
        """A form for it; how far one came, and a form to go on."""
        now = self.replays(asked.actor).now()
        fresh = {"since": local_text(now - 86400), "until": "", "once": f"{now:.6f}"}
        once = asked.value("once")[:MOST_ONCE]
        times = {name: local_text(time_of(name, asked.value(name))) for name in ("since", "until")}
        typed = {name: given or fresh[name] for name, given in {**times, "once": once}.items()}
        kinds = asked.value("kinds").split(",")
        return await self._replay(asked, typed, kinds, asked.number("count"))

    async def _replay(
        self,
        asked: Asked,
        typed: Mapping[str, str],
        kinds: Sequence[str],
        count: int | None,
        trouble: Trouble | None = None,
    ) -> Response:
        return self.doors.page(
            asked,
            "webhook_replay.html",
            200 if trouble is None else 422,
            endpoint=await self._endpoint(asked),
            count=count,
            **typed,
            kinds=[kind for kind in ENTRY_EVENTS if kind in kinds],
            entry_events=ENTRY_EVENTS,
            trouble=trouble,
        )

    async def _endpoint(self, asked: Asked) -> StandardEndpoint:
        try:
            found = await self.endpoints(asked.actor).find(asked.id, asked.account_id)
        except NoSuch:
            raise _no_such() from None
        return found.endpoint

    async def _show(
        self,
        asked: Asked,
        trouble: Trouble | None = None,
        typed: Mapping[str, str] | None = None,
        events: Sequence[str] | None = None,
    ) -> Response:
        endpoint = await self._endpoint(asked)
        control = self.replays(asked.actor)
        calls = await control.find(
            asked.account_id, CallQuery(endpoint_id=endpoint.id, limit=NEWEST_CALLS)
        )
        standings = await control.standings(asked.account_id, [endpoint.id])
        now = control.now()
        signing = [
            one for one in endpoint.secrets if one.signs_until is None or one.signs_until > now
        ]
        return self.doors.page(
            asked,
            "webhook.html",
            200 if trouble is None else 422,
            endpoint=endpoint,
            standing=standings.of_endpoint(endpoint.id),
            signing=signing,
            calls=[(call, call_state(call)) for call in calls],
            typed=typed if typed is not None else typed_of(endpoint),
            chosen=events if events is not None else endpoint.events,
            events=EVENTS,
            entry_events=ENTRY_EVENTS,
            kept=KEPT,
            kept_default=int(SECRET_KEPT_FOR),
            trouble=trouble,
            done="" if trouble is not None else asked.done(DONE),
            count=None if trouble is not None else asked.number("count"),
        )


def _range(id_: int, typed: Mapping[str, str], kinds: Sequence[str], now: float) -> ReplayRange:
    """Raises: BadField."""
    since, until = (time_of(name, typed[name]) for name in ("since", "until"))
    if since is None:
        raise BadField("since", "say from when on events are told again")
    if until is not None and until < since:
        raise BadField("until", "the end is before the beginning")
    # Up to now is up to this minute's end: so that the same form is the same replay.
    until = now // 60 * 60 + 60 if until is None else until
    return ReplayRange(id_, kinds or ENTRY_EVENTS, since, until)


def _no_such() -> NoSuch:
    return NoSuch("there is no such endpoint; it may be removed already")
