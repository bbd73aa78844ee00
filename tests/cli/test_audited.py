"""Every command that changes something is in the audit log, by whoever ran it, without secrets."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.cli.target import actor_name
from tests.cli.operated import Operated
from tests.cli.test_output import commands

PLANTED = "pl4nted-s3cret"

READING = {
    *(
        "check-config",
        "queue list",
        "queue show",
        "queue destinations",
        "retired list",
        "work list",
        "work show",
    ),
    *("message list", "message show", "message export", "domain list", "account show"),
    *("account list", "address list", "alias list", "key list", "dkim list", "dns records"),
    *("dns check", "dns listed", "template list", "template show", "template preview"),
    *("suppression list", "suppression why", "suppression export", "holdrule list"),
    *("route explain", "explain", "relay list", "relay check", "relay status", "peer list"),
    *("peer ping", "tls status", "webhook list", "webhook show", "webhook endpoint list"),
    *("webhook endpoint show", "export", "statistics", "audit list", "report list"),
    *("report show", "report summary", "report sent", "backup", "verify"),
}

ELSEWHERE = {
    "localserve": "makes a store, whose first account is audited",
    "quickstart": "makes a store, whose first account is audited",
    "restore": "the audit log is that of the backup",
    "sendmail": "sends a message: its history tells",
    "tls renew": "asks for what is done in time anyway: the log tells",
    "work stop": "tests/storage/test_works.py",
    "account logout": "tests/storage/test_accounts.py",
    "webhook endpoint enable": "needs one that is disabled: tests/storage/test_endpoints.py",
}

STEPS = """
domain add new.test | domain add new.test
domain set new.test --dmarc reject | domain set new.test
dkim add new.test --algorithm ed25519 --selector one | dkim add one._domainkey.new.test
dkim activate new.test | dkim change one._domainkey.new.test active
dkim rotate new.test | dkim add
dkim remove new.test one | dkim remove one._domainkey
account add ann --password-file {secret} | account add ann
address add ann@new.test ann | address add ann@new.test ann
account set ann --outgoing-webhook http://127.0.0.1:9/ --outgoing-authorization-file {secret} \
| account set ann
account set ann --password-file {secret} | account set ann
admin set --password-file {secret} | setting admin_password_hash
key add ann --name shop --scope send | key add 1
key remove 1 | key remove 1
alias add team@new.test ann@new.test | alias add team@new.test
alias set team@new.test --allow-from | alias set team@new.test
alias members team@new.test --add x@else.test | alias members add team@new.test x@else.test
alias members team@new.test --remove x@else.test | alias members remove team@new.test
alias remove team@new.test | alias remove team@new.test
template add hello --account ann --text {text} | template add ann hello
template set hello --account ann --text {secret} | template set ann hello
template remove hello --account ann | template remove ann hello
suppression add a@else.test --account ann | suppression add
suppression remove a@else.test --account ann | suppression remove
suppression import {csv} --account ann | suppression add ann b@else.test
holdrule add --recipient else.test | holdrule add 1
holdrule remove 1 | holdrule remove 1
relay add-domain new.test relay.test --directory | relay put
relay add-auth new.test me --password-file {secret} --directory | relay
relay add-host-auth relay.test me --password-file {secret} --directory | relay
relay exclude-domain off.test --directory | relay
relay add-route else.test relay.test | relay
relay add-chain default relay.test | relay
relay import {postfix} --directory | relay
relay remove new.test --directory | relay
peer add sister --url https://relay.else.test | peer add sister
peer set sister --timeout 30s | peer set sister
peer rotate sister --ours | peer rotate sister
peer remove sister | peer remove sister
webhook test ann outgoing | webhook test ann outgoing
webhook schedule add 1h --account ann | webhook postpone
webhook schedule set 1h --account ann | webhook schedule
webhook retry --account ann | webhook schedule
webhook cancel --account ann | webhook cancel
webhook endpoint add ann --name app --url https://app.else.test/ | webhook endpoint add
webhook endpoint set {endpoint} --name other | webhook endpoint set
webhook endpoint rotate {endpoint} | webhook endpoint rotate
webhook endpoint test {endpoint} | webhook endpoint test
webhook endpoint remove {endpoint} | webhook endpoint remove
admin set --password-file {secret} | setting admin_password_hash
queue hold --domain slow.test | queue held
queue release --domain slow.test | queue released
queue retry --domain slow.test | queue rescheduled
queue set --domain slow.test --transport default | queue set transport
queue fail --recipient a@slow.test | queue fail
queue drop --recipient b@slow.test | queue canceled
message import ann {mbox} | message import ann
apply {declared} | domain add declared.test
address remove ann@new.test | address remove ann@new.test
account remove user-two | account remove user-two
domain remove declared.test | domain remove declared.test
"""


class AuditedTests(TestCase):
    """Commands, one after the other."""

    timeout = 120

    def setUp(self) -> None:
        """The files that commands are given."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        postfix = self.folder / "postfix"
        postfix.mkdir()
        (postfix / "postfix-relaymap.cf").write_text("@imported.test [relay.test]:25\n")
        (postfix / "postfix-sasl-password.cf").write_text(f"@imported.test me:{PLANTED}\n")
        self.given = {"postfix": str(postfix), "endpoint": "2"}
        for name, text in {
            "secret": f"{PLANTED}\n",
            "text": "hello",
            "csv": "original_address,reason\nb@else.test,because\n",
            "mbox": "Subject: one\n\nhello\n",
            "declared": '[[domain]]\nname = "declared.test"\n[[account]]\nname = "user-two"\n',
        }.items():
            (self.folder / name).write_text(text)
            self.given[name] = str(self.folder / name)

    def test_every_command(self) -> None:
        """Each reads only, or is tried below, or has a reason."""
        tried = {line.partition(" {")[0] for line in STEPS.splitlines() if line}
        for name, _ in commands():
            is_tried = any(f"{line} ".startswith(f"{name} ") for line in tried)
            known = (name in READING) + (name in ELSEWHERE) + is_tried
            self.assertEqual(known, 1, name)

    async def test_audited(self) -> None:
        """What each has changed is told, with who ran it."""
        operated = await Operated.start(self, reactor)
        await operated.accept("a@slow.test", "b@slow.test")
        await operated.waiting("b@slow.test")
        await operated.stop()
        before = operated.json("audit", "list")[0]["id"]
        made = ""
        for line in STEPS.strip().replace("\\\n", "").splitlines():
            command, _, expected = line.format(**self.given).partition(" | ")
            made += operated.run(*command.split()).stdout
            rows = [one for one in operated.json("audit", "list") if one["id"] > before]
            self.assertTrue(rows, command)
            told = [f"{one['action']} {one['subject']}" for one in rows]
            self.assertTrue(any(one.startswith(expected) for one in told), (command, told))
            self.assertEqual({one["actor"] for one in rows}, {actor_name()}, command)
            before = rows[0]["id"]
        every = str(operated.json("audit", "list"))
        secrets = re.findall(r"mrk_\w+|whsec_\S+|[0-9a-f]{64}", made)
        self.assertGreaterEqual(len(secrets), 4)
        for secret in (PLANTED, *secrets):
            self.assertNotIn(secret, every)
