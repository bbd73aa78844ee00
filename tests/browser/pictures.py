"""Pictures of every page: ``python -m tests.browser.pictures FOLDER``, or script/screenshots.

With ``--docs`` only those that docs/tour.md shows, small enough to be kept.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.believable import SHOP, fill
from tests.browser.localserve import Localserve, Person
from tests.browser.looking import ARGUMENTS, CHROMIUM, Look, looking
from tests.browser.walk import pages

LOOKS: Mapping[str, Mapping[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 850}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 850}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 850}},
}
TALLEST = 3000
"""Pixels of a page; the rest of a longer one looks the same."""
QUALITY = 55
HEIGHT = 700
"""Of pictures in the docs: what is seen at first."""
STARTS = ("/?q=bulbs", "/sent?tag=parcel", "/")
EMPTY = ("/", "/sent", "/suppressions", "/webhooks", "/keys", "/templates", "/holds", "/aliases")

DOCS: Mapping[str, str] = {
    "mail": "/",
    "message": "/mail/{}",
    "sent": "/sent?tag",
    "timeline": "/sent/{}",
    "overview": "/overview",
    "suppressions": "/suppressions",
    "queue": "/admin/queue",
    "health": "/admin/health",
}
"""Pages of the tour, by the names of their pictures."""


def name_of(kind: str) -> str:
    """A file's name for a kind of page."""
    return re.sub(r"[^a-z0-9=]+", "-", kind.replace("{}", "one").lower()).strip("-") or "mail"


def picture(page: Page, path: Path) -> None:
    """The whole page, or as much as can be told apart; WebP by the name of ``path``."""
    height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
    width = page.evaluate("innerWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": max(height, 850)}
    if path.suffix == ".png":
        page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]
        return
    session = page.context.new_cdp_session(page)
    clip = {**clip, "height": HEIGHT, "scale": 1}
    asked = {"format": "webp", "quality": QUALITY, "clip": clip}
    path.write_bytes(base64.b64decode(session.send("Page.captureScreenshot", asked)["data"]))


def kinds(look: Look) -> Mapping[str, str]:
    """A path for each kind of page; what is loaded from elsewhere is not there to be shown."""
    found = {**pages(look, *STARTS), **pages(look, "/admin")}
    return {kind: path for kind, path in found.items() if "remote" not in kind}


def looks(browser: Browser, server: Localserve) -> Iterator[tuple[str, Look]]:
    """The shop and the administrator at once, in the light, in the dark, on a telephone."""
    for name, options in LOOKS.items():
        with looking(browser, server, **options) as look:
            look.log_in(SHOP)
            look.log_in_admin()
            yield name, look


def take_all(browser: Browser, server: Localserve, nobody: Person, folder: Path) -> None:
    """Every page, in every look; and those of an account that has nothing."""
    found: Mapping[str, str] = {}
    for name, look in looks(browser, server):
        found = found or kinds(look)
        for kind, path in found.items():
            picture(look.open(path), folder / f"{name_of(kind)}.{name}.png")
    with looking(browser, server) as look:
        for path in ("/login", "/admin/login"):
            picture(look.open(path), folder / f"{name_of(path)}.png")
        look.log_in(nobody)
        for path in EMPTY:
            if path in found:
                picture(look.open(path), folder / f"{name_of(path)}.empty.png")


def take_those_of_docs(browser: Browser, server: Localserve, folder: Path) -> None:
    """Those of the tour."""
    found: Mapping[str, str] = {}
    for name, look in looks(browser, server):
        found = found or kinds(look)
        for file, kind in DOCS.items():
            if name != "narrow" or file in ("mail", "timeline"):
                picture(look.open(found[kind]), folder / f"{file}.{name}.webp")


def main(given: Sequence[str]) -> int:
    """Take them."""
    parser = argparse.ArgumentParser(prog="script/screenshots", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("screenshots"))
    parser.add_argument("--docs", action="store_true", help="those of the tour, into docs/pictures")
    options = parser.parse_args(given)
    folder = Path("docs/pictures") if options.docs else options.folder
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        server = Localserve(Path(place))
        server.prepare([SHOP.name, "nobody"])
        server.start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            fill(server)
            if options.docs:
                take_those_of_docs(browser, server, folder)
            else:
                take_all(browser, server, Person("nobody"), folder)
        finally:
            browser.close()
            server.stop()
    print(f"{len(list(folder.iterdir()))} pictures in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
