"""Settings, passwords, sessions and second factors: each action once."""

from __future__ import annotations

import time
from collections.abc import Callable

from playwright.sync_api import Page, expect

from mailrelay.control.second_factor import STEP
from mailrelay.testing.factors import code_at
from tests.browser.localserve import Person
from tests.browser.looking import Look, press, said

NEW = "another long password"

Looks = Callable[..., Look]


def password_given(one: Look, person: Person) -> Page:
    """At the page for logins, up to the question for a code."""
    page = one.open("/login")
    page.get_by_label("Address").fill(person.address)
    page.get_by_label("Password").fill(person.password)
    press(page, "Log in")
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    return page


def test_settings(look: Looks, person: Person) -> None:
    """A name and how long things are kept; what is no number is said to be none."""
    page = look(person).open("/settings")
    page.get_by_label("Full name").fill("Ann of the shop")
    page.get_by_label("Days that sent messages").fill("2.5")
    page.get_by_label("Days that webhook calls").fill("soon")
    press(page, "Change")
    expect(page.get_by_role("alert")).to_contain_text("number of days")
    page.get_by_label("Days that webhook calls").fill("0")
    press(page, "Change")
    said(page, "are changed")
    expect(page.get_by_label("Full name")).to_have_value("Ann of the shop")
    expect(page.get_by_label("Days that sent messages")).to_have_value("2.5")


def test_password_and_sessions(look: Looks, person: Person) -> None:
    """Whoever is logged in elsewhere is logged out, by either."""
    one, elsewhere = look(person), look(person)
    page = one.open("/settings")
    press(page, "End all other sessions")
    said(page, "other sessions are ended")
    elsewhere.open("/")
    assert elsewhere.path == "/login"
    elsewhere.log_in(person)
    page.get_by_label("Password now").fill(person.password)
    for label in ("New password", "New password, again"):
        page.get_by_label(label, exact=True).fill(NEW)
    press(page, "Change the password")
    said(page, "is changed")
    elsewhere.open("/")
    assert elsewhere.path == "/login"
    elsewhere.log_in(Person(person.name, NEW))


def test_second_factor(look: Looks, person: Person) -> None:
    """Codes are asked for, and so are recovery codes; then no more."""
    one, elsewhere = look(person), look()
    page = one.open("/settings")
    page.get_by_role("link", name="Ask for a code as well").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    secret = page.locator("code.secret").inner_text().replace(" ", "")
    page.get_by_label("2. The code").fill(code_at(secret, time.time()))
    page.get_by_label("3. Your password").fill(person.password)
    press(page, "Ask for codes from now on")
    said(page, "logging in asks for a code")
    first, second, *_ = page.locator("pre").inner_text().split()
    page.get_by_role("link", name="I have kept them").click()
    for code in (code_at(secret, time.time() + STEP), first):
        there = password_given(elsewhere, person)
        there.get_by_label("Code").fill("000000")
        press(there, "Log in")
        expect(there.get_by_role("alert")).to_contain_text("wrong")
        there.get_by_label("Code").fill(code)
        press(there, "Log in")
        expect(there.get_by_text("No message yet")).to_be_visible()
        press(there, "Log out")
    one.open("/settings")
    page.get_by_role("link", name="Turn it off").click()
    page.get_by_label("Your password").fill(person.password)
    page.get_by_label("A code, or").fill(second)
    press(page, "Turn it off")
    said(page, "the password alone")
    elsewhere.log_in(person)
