"""What is left to do by hand after ``mailrelay quickstart``, in order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

from mailrelay.control.dns_records import Record, Topic
from mailrelay.control.dns_zone import zone_text

STEPS = """\
{domain} is prepared in {directory}.

  account         {account}, address {address}{password}
  admin password  {admin}
                  (shown this once; only its hash is kept)

Next, in this order:

1. Ports: 25, 465, 587 and 443 are let through from outside, and port 25 to the outside; many
   providers open that one only when they are asked.
2. Reverse names (PTR), where your addresses come from, which is mostly your provider's pages:
{pointers}
3. DNS, where {domain} is served: publish these records. They are shown again by
     mailrelay dns records {domain} --zone --config {file}

{zone}
4. A certificate that others believe: {certificate}
5. Check:
     mailrelay check-config {file}
6. Start{start}:
     twistd --pidfile= -n mailrelay --config {file}
7. See that DNS is right; what is wrong is told with what to publish instead:
     mailrelay dns check {domain} --config {file}
   Until the certificate is one that others believe, it says so of the MTA-STS policy.
   Mail is signed from when the server has seen its keys there, within five minutes.
8. Log in to {hostname}, port 465 (TLS) or 587 (STARTTLS), as {address}; then
     mailrelay queue list --config {file}
   Applications send by HTTP: https://{hostname}/webapi/
   Pages: https://{hostname}/ for you, https://{hostname}/admin for the administrator
   When reports show for some weeks that only you send mail of {domain}:
     mailrelay domain set {domain} --dmarc quarantine --config {file}
   and that mail comes to you by TLS:
     mailrelay domain set {domain} --mta-sts enforce --config {file}
"""

ORDERED = "the server orders one when it starts."

NOT_ORDERED = """\
agree to an authority's terms in [acme] of the
   configuration, and the server orders one when it starts; or put one of yours in place of
     {certificate} and its key\
"""

NO_ADDRESS = """\
     each address of this machine: {hostname}
   (they were not found out: set [dns] addresses, then see mailrelay dns records)\
"""


@frozen
class Told:
    """What was made.  ``password`` is None when it was given."""

    address: str
    hostname: str
    file: Path
    data_dir: Path
    password: str | None = field(repr=False)
    admin: str = field(repr=False)
    is_acme: bool = False


def next_steps(told: Told, owner: str | None, records: Sequence[Record]) -> str:
    """All of them; ``owner`` is whom the server becomes, None when it stays who it is."""
    account, _, domain = told.address.rpartition("@")
    start = "" if owner is None else f" as root; it becomes {owner}"
    if owner is None and not _may_bind_low():
        start = ", with the right to bind ports below 1024 (systemd: CAP_NET_BIND_SERVICE)"
    pointers = [one for one in records if one.topic is Topic.PTR]
    own = [one for one in records if one.topic is not Topic.PTR]
    certificate = told.data_dir / "tls.pem"
    lines = [f"     {one.name}.  PTR  {one.value}" for one in pointers]
    return STEPS.format(
        domain=domain,
        hostname=told.hostname,
        directory=told.file.parent,
        account=account,
        address=told.address,
        password=f", password {told.password}" if told.password else "",
        admin=told.admin,
        pointers="\n".join(lines) or NO_ADDRESS.format(hostname=told.hostname),
        zone=zone_text(domain, own),
        certificate=ORDERED if told.is_acme else NOT_ORDERED.format(certificate=certificate),
        file=told.file,
        start=start,
    )


def _may_bind_low() -> bool:
    from mailrelay.cli.checks import first_free_port

    return os.geteuid() == 0 or first_free_port() <= 25
