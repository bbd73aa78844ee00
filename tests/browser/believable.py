"""A shop's mail, to look at: long and short, in several languages, and some of it in trouble."""

from __future__ import annotations

import time
from email.message import EmailMessage

from mailrelay.cli.target import settled
from mailrelay.control.suppression import NewSuppression
from mailrelay.policy.suppression import Cause
from mailrelay.service.controls import Control
from mailrelay.smtp.address import Address
from mailrelay.templates.model import Source
from mailrelay.webapi.v1.batch_fields import MOST_MESSAGES
from tests.browser.filling import Words, kept, send, send_many
from tests.browser.localserve import Localserve, Person

SHOP = Person("shop", domain="tulip.example")
MANY = 10_000
"""Suppressions, and messages that are held."""

OFFER = """<style>h2{color:#8a2c5c} .p{background:#f7eef3;padding:16px}</style>
<div style="max-width:560px;margin:0 auto;font-family:Georgia,serif">
<h2>Bulbs for the winter</h2>
<p>Dear Ann,</p><p class="p">Plant them before the first frost: <b>tulips, crocus, snowdrops</b>,
ten of a kind for 4.90 until Sunday.</p>
<table width="100%" cellpadding="8" style="border-collapse:collapse">
<tr style="background:#8a2c5c;color:#fff"><th align="left">Bulbs</th>
<th align="right">Price</th></tr>
<tr><td>Tulipa 'Queen of Night'</td><td align="right">4.90</td></tr>
<tr style="background:#f7eef3"><td>Crocus tommasinianus</td><td align="right">3.20</td></tr>
<tr><td>Galanthus nivalis</td><td align="right">5.40</td></tr></table>
<p><a href="https://tulip.example/winter">See them all</a></p>
<img src="https://pictures.tulip.example/pixel.gif" width="1" height="1" alt="">
<p style="color:#888;font-size:12px">Tulip Books and Bulbs, Keizersgracht 1, Amsterdam</p></div>"""

IN = (
    ("Ann Lee <ann@example.net>", "Is my order on its way?", "Dear shop,\n\nit was for Friday.\n"),
    (
        "Jörg Müller <jörg@bücher.example>",
        "Rückfrage zur Rechnung 2026-0815 über 129,90 €",
        "Hallo!",
    ),
    ("Ελένη <eleni@παράδειγμα.example>", "Πού είναι η παραγγελία μου;", "Γεια σας.\n"),
    (
        "A rather long name of a person who works for the department of very long names"
        " <a.rather.long.localpart.that.goes.on.and.on@department.of.long.names.example.org>",
        "Fwd: Re: AW: Fwd: a subject that goes on and on, as subjects do that were answered and"
        " forwarded many times, until nobody knows what the first of them was about at all",
        "See below.\n",
    ),
    ("noreply@averyveryverylongwordwithoutanyspaces.example", "A" * 160, "x\n"),
)
OUT = (
    ("ann@example.net", "Your bill of November", "bill"),
    ("jörg@bücher.example", "Ihre Rechnung 2026-0815", "bill"),
    ("busy-temperror@example.org", "Your parcel is on its way", "parcel"),
    ("gone-permerror@example.com", "Your parcel is on its way", "parcel"),
    ("full552@example.com", "Bulbs for the winter", "newsletter"),
    (
        "a.rather.long.localpart.that.goes.on.and.on@department.of.long.names.example.org",
        "Bulbs for the winter, and everything else that you ever wanted to know about bulbs but"
        " never dared to ask the people who sell them",
        "newsletter",
    ),
)


def fill(server: Localserve) -> None:
    """Give the shop its mail, and the administrator something to look at."""
    with server.control() as control:
        settled(_kept(control))
    for letter in _letters():
        sender = letter["From"].addresses[0].addr_spec
        server.deliver(letter, to=SHOP.address, sender=sender)
    for to, subject, tag in OUT:
        send(server, SHOP, Words(subject, OFFER), to, tags=[tag])
    readers = [f"reader{number}@later.example" for number in range(MANY)]
    for at in range(0, MANY, MOST_MESSAGES):
        some, words = readers[at : at + MOST_MESSAGES], Words("Bulbs for the winter")
        send_many(server, SHOP, words, some, tags=["newsletter"])


def _letters() -> list[EmailMessage]:
    letters = []
    for from_, subject, text in IN:
        letter = EmailMessage()
        letter["From"], letter["To"], letter["Subject"] = from_, SHOP.address, subject
        letter.set_content(text)
        letters.append(letter)
    offer = EmailMessage()
    offer["From"], offer["To"] = "Tulip Bulbs <news@tulip.example>", SHOP.address
    offer["Subject"] = "Bulbs for the winter"
    offer["List-Unsubscribe"] = "<https://tulip.example/unsubscribe?who=4711>"
    offer.set_content("Plant them before the first frost.\n")
    offer.add_alternative(OFFER, subtype="html")
    offer.add_attachment(
        b"%PDF-1.4\n" * 900, maintype="application", subtype="pdf", filename="Winter 2026.pdf"
    )
    return [*letters, offer]


async def _kept(control: Control) -> None:
    await control.directory.add_domain(SHOP.domain)
    await control.directory.add_address(SHOP.address, SHOP.name)
    await kept(control, SHOP, Words("The web shop", OFFER, template="winter"))
    source = Source("Your bill {{ number }}", "Dear {{ name }},\n", "<p>Dear {{ name }},</p>")
    await control.templates.add(SHOP.name, "bill", source)
    now = time.time()
    listed = [
        NewSuppression(
            Address.parse(f"reader{number}@gone.example"),
            now - number * 300,
            reason="550 5.1.1 no such user here",
            cause=Cause.BOUNCE,
        )
        for number in range(MANY)
    ]
    await control.suppression.import_all(SHOP.name, listed)
