"""Pages about what an application needs, and the administrator's: their main actions, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.filling import Words, send
from tests.browser.localserve import Localserve, Person
from tests.browser.looking import Look

Looks = Callable[..., Look]


@pytest.fixture(params=[True, False], ids=["script", "no script"])
def somebody(look: Looks, person: Person, request: pytest.FixtureRequest) -> Iterator[Look]:
    """Who is logged in, as the administrator too, in a browser with or without script."""
    one = look(person, java_script_enabled=request.param)
    one.log_in_admin()
    yield one


def test_suppressions(somebody: Look) -> None:
    """An address is suppressed, asked about, and taken off."""
    page = somebody.open("/suppressions")
    page.get_by_role("region", name="Suppress an").get_by_label("Address").fill("gone@example.net")
    page.get_by_label("Reason").fill("they asked for it")
    page.get_by_role("button", name="Suppress").click()
    expect(page.get_by_role("status")).to_be_visible()
    somebody.open("/suppressions/why?address=gone%40example.net")
    expect(page.get_by_text("they asked for it")).to_be_visible()
    somebody.open("/suppressions")
    page.get_by_role("button", name="Remove").first.click()
    expect(page.get_by_role("link", name="gone@example.net")).to_have_count(0)


def test_templates(somebody: Look) -> None:
    """A template is tried, saved, and removed."""
    page = somebody.open("/templates/new")
    page.get_by_label("Name", exact=True).fill("welcome")
    page.get_by_label("Subject").fill("Welcome, {{ name }}")
    page.get_by_label("Text", exact=False).first.fill("Hello {{ name }}")
    page.get_by_label("Variables to try it with").fill('{"name": "Ann"}')
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("Hello Ann")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    somebody.open("/templates")
    page.get_by_role("link", name="welcome").click()
    page.get_by_role("button", name="Remove the template").click()
    expect(page.get_by_role("link", name="welcome")).to_have_count(0)


def test_queue(somebody: Look, server: Localserve, person: Person) -> None:
    """What waits is found by its account, held, released and dropped; what was done is said."""
    send(server, person, Words("wait"), "busy-temperror@localhost")
    path = f"/admin/queue?account={person.name}"
    page = somebody.open_until(path, ".tag:text-is('waiting')")
    for action, done in (("Hold", "held"), ("Release", "released"), ("Drop", "dropped")):
        somebody.open(path)
        page.locator("input[name=id]").check()
        page.get_by_role("button", name=action, exact=True).click()
        expect(page.get_by_role("status")).to_contain_text(done)


def test_accounts(somebody: Look, person: Person) -> None:
    """An account is made, and found."""
    page = somebody.open("/admin/accounts")
    page.get_by_text("Add an account").click()
    page.get_by_label("Name", exact=True).fill(f"{person.name}-more")
    page.get_by_label("Address", exact=True).fill(f"{person.name}.more@localhost")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Add account").click()
    somebody.open(f"/admin/accounts?q={person.name}.more")
    expect(page.locator(".list tbody tr")).to_have_count(1)
