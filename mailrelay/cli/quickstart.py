"""``mailrelay quickstart``: a server for one domain, from nothing, ready to be started."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import click
from attrs import evolve, frozen

from mailrelay.cli.next_steps import Told, next_steps
from mailrelay.cli.output import fail, print_json
from mailrelay.cli.passwords import read_password
from mailrelay.cli.quickstart_file import TEMPLATE
from mailrelay.cli.target import EX_CONFIG, opened, settled
from mailrelay.config.load import BadConfiguration, load_settings
from mailrelay.control.bootstrap import FirstAccount, bootstrap
from mailrelay.control.directory import check_password_length
from mailrelay.control.dns_records import Record
from mailrelay.control.dns_zone import zone_text
from mailrelay.control.errors import Refusal
from mailrelay.directory.model import MTASTSMode
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.net.certificates import make_self_signed
from mailrelay.net.privileges import CannotDropPrivileges, acting_as, check_code_is_readable
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

CONFIG_NAME, DATA_NAME = "mailrelay.toml", "data"
CERTIFICATE, PRIVATE_KEY = "tls.pem", "tls-key.pem"

MESSAGES_PER_DAY, NEW_RECIPIENTS_PER_DAY = 1000, 200
"""Of the account: what a thief of its password can do at the most."""


@frozen
class Plan:
    """What quickstart is going to make."""

    address: Address
    hostname: str
    directory: Path
    owner: pwd.struct_passwd | None  # run_as; None for the user who runs the command
    ips: Sequence[str] = ()  # from which mail leaves, when they were told
    is_acme: bool = False  # the terms of Let's Encrypt are agreed to

    @property
    def file(self) -> Path:
        """The configuration."""
        return self.directory / CONFIG_NAME

    @property
    def data_dir(self) -> Path:
        """What the server writes."""
        return self.directory / DATA_NAME


@click.command()
@click.argument("domain")
@click.argument("localpart")
@click.option("--run-as", help="User to become once the ports are bound; needed as root.")
@click.option(
    "--dir", "directory", default="mailrelay", show_default=True, type=click.Path(path_type=Path)
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="First line: the account's password; - is standard input.",
)
@click.option("--hostname", help="The server's own name; mail.DOMAIN when not given.")
@click.option("--ip", "ips", multiple=True, help="A public address of this machine (repeatable).")
@click.option(
    "--acme", is_flag=True, help="Have Let's Encrypt, whose terms you agree to, make certificates."
)
@click.option("--yes", is_flag=True, help="Ask nothing; a password that is not given is made.")
@click.option("--json", "as_json", is_flag=True)
def quickstart(
    domain: str,
    localpart: str,
    run_as: str | None,
    directory: Path,
    password_file: Path | None,
    hostname: str | None,
    ips: tuple[str, ...],
    acme: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Prepare a server for DOMAIN.

    Makes configuration, certificate, directory, first account and keys, and prints what is left to
    do: the records to publish, among others.
    """
    plan = _plan(domain, localpart, hostname, directory.absolute(), run_as)
    plan = evolve(plan, ips=[_ip(text) for text in ips], is_acme=acme)
    given = _password(password_file, plan, yes)
    if not yes and sys.stdin.isatty():
        click.confirm(f"Make {plan.file} and {plan.data_dir}?", abort=True)
    password = given or secrets.token_urlsafe(12)
    admin = secrets.token_urlsafe(12)
    with _owner_only():
        try:
            _make_directories(plan)
            _write_config(plan)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")
        records = _make_account(plan, password, admin)
    made = None if given else password
    if as_json:
        print_json(_made(plan, made, admin, records))
    else:
        told = Told(
            *(str(plan.address), plan.hostname, plan.file, plan.data_dir),
            *(made, admin, plan.is_acme),
        )
        owner = plan.owner.pw_name if plan.owner is not None else None
        click.echo(next_steps(told, owner, records), nl=False)


def _made(
    plan: Plan, made_password: str | None, admin: str, records: Sequence[Record]
) -> dict[str, object]:
    """For programs; a password that was given is not told again."""
    return {
        "config": str(plan.file),
        "data_dir": str(plan.data_dir),
        "hostname": plan.hostname,
        "account": plan.address.localpart,
        "address": str(plan.address),
        "password": made_password,
        "admin_password": admin,
        "zone": zone_text(plan.address.domain, records),
    }


@contextmanager
def _owner_only() -> Iterator[None]:
    """Files that are made meanwhile are nobody else's to read; a caller in Python is left as is."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _plan(
    domain: str, localpart: str, hostname: str | None, directory: Path, run_as: str | None
) -> Plan:
    """Everything that can be refused is refused here, before anything is made."""
    try:
        name = normal_domain(domain)
        host = normal_domain(hostname or f"mail.{domain}")
        address = Address.parse(f"{localpart}@{name}")
    except MalformedAddress as error:
        fail(f"{domain} and {localpart} make no address, or a bad host name: {error}", 64)
    if host == name:
        fail(f"the host name must differ from the domain: such as mail.{name}", 64)
    plan = Plan(address, host, directory, _owner(run_as))
    for made in (plan.file, plan.data_dir):
        if made.exists():
            fail(f"{made} exists: nothing is overwritten; give another --dir, or remove it")
    if plan.owner is not None:
        _check_reachable(plan.owner, directory)
    if any(c in str(directory) for c in '"\\\n'):
        fail(f"{directory!s} cannot be written to a configuration file: give another --dir", 64)
    return plan


def _check_reachable(owner: pwd.struct_passwd, directory: Path) -> None:
    """The server's user can read its program and get to its directory."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    with acting_as(owner.pw_uid, owner.pw_gid):
        try:
            check_code_is_readable(owner.pw_name)
        except CannotDropPrivileges as error:
            fail(str(error), EX_CONFIG)
        if not os.access(there, os.X_OK, effective_ids=True):
            fail(f"{owner.pw_name} cannot get to {there}: give another --dir")


def _owner(run_as: str | None) -> pwd.struct_passwd | None:
    is_root = os.geteuid() == 0
    if run_as is None:
        if is_root:
            fail("as root, say who the server becomes: --run-as USER (useradd --system USER)", 64)
        return None
    try:
        entry = pwd.getpwnam(run_as)
    except KeyError:
        fail(f"no user {run_as}: make it with useradd --system {run_as}", 67)
    if entry.pw_uid == 0:
        fail("--run-as root would keep all rights: name a user of the server's own", 64)
    if not is_root and entry.pw_uid != os.geteuid():
        fail(f"--run-as {run_as} needs root, to give that user its directory", 77)
    return entry


def _password(file: Path | None, plan: Plan, yes: bool) -> str | None:
    """What is given; None when it is to be made."""
    if file is None and (yes or not sys.stdin.isatty()):
        return None
    password = read_password(file, f"Password for {plan.address}")
    try:
        check_password_length(password)
    except Refusal as error:
        fail(str(error))
    return password


def _make_directories(plan: Plan) -> None:
    """The configuration stays root's: who can write it says what root does at the next start."""
    plan.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    plan.data_dir.mkdir(mode=0o700)
    domain = plan.address.domain
    names = [plan.hostname, domain, f"mta-sts.{domain}", f"autoconfig.{domain}"]
    certificate, key = plan.data_dir / CERTIFICATE, plan.data_dir / PRIVATE_KEY
    make_self_signed(certificate, key, names, time.time())
    if os.geteuid() == 0 and plan.owner is not None:
        for path in (plan.data_dir, certificate, key):
            os.chown(path, plan.owner.pw_uid, plan.owner.pw_gid)
        os.chown(plan.directory, 0, plan.owner.pw_gid)
        plan.directory.chmod(0o750)


def _ip(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        fail(f"--ip {text!r} is no IP address", 64)


def _write_config(plan: Plan) -> None:
    run_as = f'run_as = "{plan.owner.pw_name}"' if plan.owner else '# run_as = ""'
    text = TEMPLATE.format(
        domain=plan.address.domain,
        hostname=plan.hostname,
        file=plan.file,
        data=DATA_NAME,
        run_as=f"{run_as:<35}# user to become once the ports are bound",
        certificate=CERTIFICATE,
        private_key=PRIVATE_KEY,
        address=plan.address,
        addresses=_addresses(plan.ips),
        acme="" if plan.is_acme else "# ",
    )
    descriptor = os.open(plan.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        if os.geteuid() == 0 and plan.owner is not None:  # it is read again at SIGHUP
            os.fchown(file.fileno(), 0, plan.owner.pw_gid)
            os.fchmod(file.fileno(), 0o640)


def _addresses(ips: Sequence[str]) -> str:
    if ips:
        return f"addresses = {json.dumps(list(ips))}  # public ones of this machine"
    return "# addresses = []                   # public ones of this machine; found out when empty"


def _make_account(plan: Plan, password: str, admin: str) -> Sequence[Record]:
    """The records to publish for what was made."""
    domain = plan.address.domain
    name = plan.address.localpart
    first = FirstAccount(
        name,
        plan.address.domain,
        name,
        password,
        admin,
        messages_per_day=MESSAGES_PER_DAY,
        new_recipients_per_day=NEW_RECIPIENTS_PER_DAY,
    )
    try:
        # Without the environment, which may be that of another server.
        settings = load_settings(plan.file, {})
    except BadConfiguration as error:
        fail(str(error), EX_CONFIG)
    with opened(settings) as control:
        settled(bootstrap(control.directory, first))
        settled(control.dkim.add(domain, list(Algorithm)))
        settled(control.directory.set_domain(domain, mta_sts=MTASTSMode.TESTING))
        records: Sequence[Record] = settled(control.dns.records(domain))
    return records
