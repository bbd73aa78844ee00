"""The administrator's pages: directory, ways out, works and what is watched, each action once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.filling import Words, send_many
from tests.browser.localserve import Localserve, Person
from tests.browser.looking import Look, press, said


@pytest.fixture
def admin(look: Callable[..., Look]) -> Look:
    """The administrator."""
    one = look()
    one.log_in_admin()
    return one


def test_domain(admin: Look, person: Person) -> None:
    """It is added, changed, given keys, and removed; its records are shown."""
    name = f"{person.name}.example"
    page = admin.open("/admin/domains")
    page.get_by_text("Add a domain").click()
    page.get_by_label("Domain", exact=True).last.fill(name)
    press(page, "Add domain")
    said(page, "is added")
    expect(page.get_by_role("table", name="Records to publish")).to_contain_text(name)
    expect(page.get_by_text("A localserve looks nothing up")).to_be_visible()
    page.get_by_label("DMARC policy").select_option("reject")
    press(page, "Save settings")
    said(page, "is changed")
    expect(page.get_by_role("table", name="Records to publish")).to_contain_text("p=reject")
    page.get_by_label("Kind").select_option("ed25519")
    press(page, "Make keys")
    said(page, "are made")
    page.get_by_role("button", name="Sign with the next keys now").click()
    said(page, "from now on")
    page.get_by_role("table", name="Keys that mail").get_by_role("button").click()
    said(page, "is forgotten")
    press(page, "Remove domain")
    said(page, "is removed")
    expect(page.get_by_role("link", name=name)).to_have_count(0)


def test_alias(admin: Look, person: Person) -> None:
    """It is added, with members who come and go, changed, and removed."""
    name, other = f"team-{person.name}@localhost", f"{person.name}@elsewhere.example"
    page = admin.open("/admin/aliases")
    if not page.get_by_label("Address", exact=True).is_visible():
        page.get_by_text("Add an alias").click()
    page.get_by_label("Address", exact=True).fill(name)
    page.get_by_label("Members, one a line").fill(person.address)
    press(page, "Add alias")
    said(page, "is added")
    page.get_by_label("More members").fill(other)
    press(page, "Add members")
    said(page, "are added")
    page.get_by_role("button", name=f"Take off {other}").click()
    said(page, "taken off")
    page.get_by_label("Owner").fill(person.address)
    press(page, "Save settings")
    said(page, "is changed")
    expect(page.get_by_label("Owner")).to_have_value(person.address)
    press(page, "Remove alias")
    said(page, "is removed")


def test_hold_rule(admin: Look, person: Person) -> None:
    """It is added for an account, and removed."""
    page = admin.open("/admin/holds")
    page.get_by_label("Account").fill(person.name)
    press(page, "Hold")
    said(page, "is added")
    page.get_by_role("row").filter(has_text=person.name).get_by_role("button").click()
    said(page, "is removed")


def test_relays(admin: Look, person: Person) -> None:
    """A host, an exception, a login, a way and a chain are added, and removed."""
    domain = f"{person.name}.example"
    page = admin.open("/admin/relays")
    login = {"Who logs in": domain, "User name": "shop", "Password": "secret"}
    chain = {"Whose mail": f"a@{domain}", "Hosts": "[a.example]:587"}
    forms = (
        ("A relay host for senders", {"Senders": domain, "Host": "r.example"}, "Go by this host"),
        ("A login", login, "Store the login"),
        ("A way for recipients", {"Recipients": f"to.{domain}", "Next hop": "[r.example]"}, "Add"),
        ("A chain of relay hosts", chain, "Add"),
    )
    for summary, fields, button in forms:
        part = page.locator("details").filter(has=page.locator(f"summary:text-is('{summary}')"))
        part.locator("summary").click()
        for label, value in fields.items():
            part.get_by_label(label).fill(value)
        part.get_by_role("button", name=button).click()
        expect(page.get_by_role("status")).to_be_visible()
    expect(page.get_by_role("cell", name="shop", exact=True)).to_be_visible()
    of_it = page.get_by_role("row").filter(has_text=domain).get_by_role("button")
    while of_it.count():
        of_it.first.click()
        said(page, "is removed")


def test_peer(admin: Look, person: Person) -> None:
    """Its keys are shown once; it is asked, given another key, changed and removed."""
    page = admin.open("/admin/peers")
    page.get_by_label("Name").fill(person.name)
    page.get_by_label("It takes mail at").fill("https://127.0.0.1:9")
    page.get_by_label("Account that").fill(person.name)
    press(page, "Add")
    assert len({one.input_value() for one in page.get_by_label("Key").all()}) == 2
    path = f"/admin/peers/{person.name}"
    admin.open(path)
    press(page, "Ask whether it knows us")
    expect(page.get_by_role("alert")).to_be_visible()
    press(page, "Give it the key")
    assert page.get_by_label("Key").input_value()
    admin.open(path)
    expect(page.get_by_role("table", name="Keys").get_by_role("row")).to_have_count(4)
    page.get_by_label("Requests to it at once").fill("3")
    press(page, "Change")
    said(page, "is changed")
    expect(page.get_by_label("Requests to it at once")).to_have_value("3")
    press(page, "Remove")
    said(page, "is removed")


def test_work(admin: Look, server: Localserve, person: Person) -> None:
    """All that fit a filter are held; the work says what became of each."""
    to = [f"busy{n}-temperror@{person.name}.localhost" for n in range(3)]
    send_many(server, person, Words("wait"), to)
    path = f"/admin/queue?account={person.name}"
    page = admin.open_until(path, ":nth-match(.tag:text-is('waiting'), 3)")
    page.get_by_label("all that fit the filter").check()
    press(page, "Hold")
    assert admin.path.startswith("/admin/works/")
    page.locator(".tag.good:text-is('done')").wait_for()
    expect(page.get_by_role("cell", name="changed", exact=True)).to_have_count(3)
    page.get_by_label("Outcome").select_option("gone")
    press(page, "Filter")
    expect(page.get_by_text("None came to that")).to_be_visible()
    page.get_by_role("link", name="Works", exact=True).first.click()
    expect(page.get_by_role("table", name="Works")).to_contain_text("done")


def test_destination(admin: Look, server: Localserve, person: Person) -> None:
    """What waits by domain leads to a destination, of which all is tried now."""
    domain = f"{person.name}.localhost"
    send_many(server, person, Words("wait"), [f"busy-temperror@{domain}"])
    page = admin.open_until("/admin/destinations", f"td a:text-is('{domain}')")
    page.get_by_role("link", name=domain).click()
    press(page, "Clear back-off")
    said(page, "are forgotten")
    press(page, "Try all that waits now")
    page.locator(".tag.good:text-is('done')").wait_for()


def test_explain(admin: Look, person: Person) -> None:
    """From, to and what becomes of it; one that is refused says why."""
    page = admin.open("/admin/explain")
    page.get_by_label("From").fill("ann@example.net")
    page.get_by_label("To", exact=True).fill(person.address)
    press(page, "Explain")
    expect(page.get_by_text("It is accepted")).to_be_visible()
    page.get_by_label("Account that").fill("nobody-of-that-name")
    press(page, "Explain")
    expect(page.get_by_role("alert").or_(page.locator(".problem"))).to_be_visible()


def test_what_is_watched(admin: Look, person: Person) -> None:
    """Each page that only shows something is opened by the menu, and its filters are used."""
    page = admin.open("/admin/health")
    expect(page.get_by_text("Mail is accepted")).to_be_visible()
    for name in ("Certificates", "Blocklists", "Reports", "Routes", "Configuration", "Login"):
        page.get_by_role("navigation").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator(f".menu a[aria-current]:text-is('{name}')")).to_be_visible()
    admin.open("/admin/reports")
    page.get_by_label("Kind").select_option("dmarc")
    press(page, "Show")
    for name in ("By source", "Made by us"):
        page.get_by_role("link", name=name).click()
        press(page, "Show")
    admin.open("/admin/config")
    page.get_by_role("link", name="Not as by default").click()
    expect(page.locator(".tag.good:text-is('set')").first).to_be_visible()
    admin.open("/admin/audit")
    page.get_by_label("Subject").fill(person.name)
    press(page, "Filter")
    expect(page.get_by_role("row").filter(has_text=person.name).first).to_be_visible()
