"""Webhooks, what is sent again or at another time, hold rules and aliases: each action once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from mailrelay.cli.target import settled
from mailrelay.control.aliases import AliasDetails
from tests.browser.filling import Words, send
from tests.browser.hostile import Listener, listener
from tests.browser.localserve import Localserve, Person, until
from tests.browser.looking import Look, press, said

NOBODY = "http://127.0.0.1:9/hook"
"""Where no application listens."""

Looks = Callable[..., Look]


@pytest.fixture
def application() -> Iterator[Listener]:
    """Somebody's, which takes every call."""
    with listener() as found:
        yield found


def made(one: Look, url: str) -> str:
    """An endpoint of the form: its page."""
    page = one.open("/webhooks")
    form = page.get_by_role("form", name="Make an endpoint")
    form.get_by_label("Name").fill("shop")
    form.get_by_label("URL").fill(url)
    press(page, "Make endpoint")
    assert page.get_by_label("Secret").input_value().startswith("whsec_")
    page.get_by_role("link", name="I have copied it").click()
    return one.path


def test_endpoint(look: Looks, person: Person, application: Listener) -> None:
    """It is made, called, changed, given a secret, told again what happened, and removed."""
    one = look(person)
    send(one.server, person, Words("first"), f"x@{person.name}.localhost")
    one.open_until("/sent", ".tag:has-text('delivered')")
    path = made(one, application.url)
    page = one.page
    press(page, "Call it with an example")
    one.open_until(one.path, ".tag.good:text-is('taken')")
    press(page, "Call again")
    said(page, "the new call")
    one.open_until(path, "dt:text-is('State') + dd .tag.good:text-is('taken')")
    page.get_by_label("Calls at once").fill("7")
    press(page, "Save")
    said(page, "is changed")
    expect(page.get_by_label("Calls at once")).to_have_value("7")
    press(page, "Make a new secret")
    assert page.get_by_label("Secret").input_value().startswith("whsec_")
    one.open(path)
    page.get_by_role("link", name="Tell events again").click()
    page.get_by_role("button", name="Tell again").click()
    said(page, "told again")
    until(lambda: len(application.heard) > 2, "events that are told again")
    one.open(path)
    press(page, "Remove the endpoint")
    said(page, "is removed")
    expect(page.get_by_text("There are no endpoints")).to_be_visible()


def test_calls_that_fail(look: Looks, person: Person) -> None:
    """They are called now, canceled, called again; the administrator may do so too."""
    one = look(person)
    path = made(one, NOBODY)
    page = one.page
    press(page, "Call it with an example")
    one.open_until(one.path, "text=no answer")
    press(page, "Call now")
    said(page, "made now")
    press(page, "Cancel")
    said(page, "is canceled")
    press(page, "Call again")
    one.open(f"{path.replace('/webhooks/', '/calls?state=waiting&endpoint=')}")
    expect(page.locator(".list tbody tr")).to_have_count(1)
    one.log_in_admin()
    calls = f"/admin/calls?account={person.name}"
    for name, done in (("Call now", "made now"), ("Cancel", "canceled")):
        one.open(calls)
        page.get_by_role("checkbox").first.check()
        press(page, name)
        said(page, done)
    one.open(f"{calls}&state=retired")
    page.locator(".list a").first.click()
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()


def test_webhooks_of_mox(look: Looks, person: Person, application: Listener) -> None:
    """One URL is set, called and removed."""
    page = look(person).open("/webhooks")
    section = page.get_by_role("region", name="Incoming mail")
    section.get_by_label("URL", exact=True).fill(application.url)
    section.get_by_role("button", name="Save").click()
    said(page, "as you want it")
    section.get_by_role("button", name="Call it with an example").click()
    until(lambda: application.heard, "a call")
    page.get_by_role("link", name="Webhooks", exact=True).click()
    section.get_by_role("button", name="Remove").click()
    expect(section.get_by_role("button", name="Remove")).to_have_count(0)


def test_another_time_and_again(look: Looks, server: Localserve, person: Person) -> None:
    """What waits is attempted at another time; what was sent is sent once more."""
    one = look(person)
    send(server, person, Words("wait"), "busy-temperror@localhost")
    page = one.open_until("/sent", ".tag:has-text('waiting')")
    page.get_by_role("link", name="wait").click()
    first = one.path
    page.get_by_label("Next attempt").fill("in 2 hours")
    press(page, "Reschedule")
    said(page, "at another time")
    expect(page.get_by_role("cell", name=re.compile("next in [12] h"))).to_be_visible()
    page.get_by_label("To", exact=True).fill(f"other@{person.name}.localhost")
    press(page, "Send again")
    said(page, "once more")
    assert one.path.partition("?")[0] != first
    expect(page.get_by_role("cell", name=f"other@{person.name}.localhost")).to_be_visible()


def test_hold_and_release(look: Looks, server: Localserve, person: Person) -> None:
    """A rule holds what waits, and lets go of it when it is removed so."""
    one, to = look(person), "busy-temperror@localhost"
    send(server, person, Words("wait"), to)
    page = one.open_until("/sent", ".tag:has-text('waiting')")
    one.open("/holds")
    page.get_by_label("To", exact=True).fill(to)
    press(page, "Hold")
    said(page, "is added")
    page.get_by_role("row").get_by_role("link", name="1", exact=True).click()
    page.get_by_role("link", name="wait", exact=True).click()
    expect(page.get_by_role("cell", name="held", exact=True)).to_be_visible()
    one.open("/holds")
    page.get_by_role("button", name="release what it held").click()
    said(page, "attempted again")
    expect(one.open("/sent?state=held").get_by_role("link", name="wait")).to_have_count(0)


def test_aliases(look: Looks, server: Localserve, person: Person) -> None:
    """An account sees what it belongs to, and who else does."""
    one = look(person)
    expect(one.open("/aliases").get_by_text("belongs to no alias")).to_be_visible()
    with server.control() as control:
        details = AliasDetails(list_members=True, allow_from=True)
        alias = f"all-{person.name}@localhost"
        settled(control.aliases.add(alias, [person.address], details))
    page = one.open_until("/aliases", f"text={alias}")
    page.get_by_text("1 member").click()
    expect(page.get_by_role("listitem").filter(has_text=person.address)).to_be_visible()
