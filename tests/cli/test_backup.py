"""``mailrelay backup``, ``restore`` and ``verify``."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.certificates.store import ACMEStore
from mailrelay.cli.backup import Progress, files_beside
from mailrelay.config.load import parse_settings
from mailrelay.control.backup import BackupControl, CannotBackUp
from mailrelay.storage.snapshot import SQLiteSnapshots
from tests.cli.operated import CONFIG, Operated, run
from tests.storage.databases import empty_postgres

LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 10_000


APPLICATION = (
    ("account", "show", "user"),
    ("suppression", "list"),
    ("holdrule", "list"),
    ("webhook", "list", "--retired"),
)
"""What shows what an application has stored."""


def make_application(operated: Operated) -> None:
    """Store something in each of the application's tables."""
    operated.run("account", "set", "user", "--outgoing-webhook", "https://app.test/out")
    operated.run("suppression", "add", "b@x.test", "--account", "user")
    operated.run("holdrule", "add", "--recipient", "x.test", "--account", "user")
    operated.run("webhook", "test", "user", "outgoing")
    operated.run("webhook", "cancel", "--all")


class BackupTests(TestCase):
    """With a message in a row, one in the spool, and an entry that waits."""

    timeout = 60

    async def running(self) -> Operated:
        """A running server with all that."""
        operated = await Operated.start(self, reactor)
        await operated.accept("user@example.org")
        await operated.accept("user@example.org", "a@slow.test", body=LARGE)
        await operated.waiting("a@slow.test")
        await operated.until(lambda: len(operated.json("message", "list")) == 2)
        return operated

    def new(self) -> Path:
        """A path where nothing is yet."""
        return Path(os.path.abspath(self.mktemp()))

    async def test_round_trip_beside_a_running_server(self) -> None:
        """What is backed up online and restored holds every message and entry, and its keys."""
        operated = await self.running()
        make_application(operated)
        target, restored = self.new(), self.new()
        operated.run("backup", str(target))
        run(self, "verify", "--backup", str(target))
        run(self, "restore", str(target), str(restored))
        config = restored / "mailrelay.toml"
        config.write_bytes((restored / "config" / "1-mailrelay.toml").read_bytes())
        there = Operated(operated.server, config)
        self.assertEqual(there.json("message", "list"), operated.json("message", "list"))
        [entry] = there.json("queue", "list")
        self.assertEqual(entry["recipient"], "a@slow.test")
        large = there.json("message", "list")[1]["id"]
        content = there.run("message", "show", "--raw", str(large)).stdout_bytes
        self.assertTrue(content.endswith(LARGE + b"\r\n"))
        for command in APPLICATION:
            self.assertEqual(there.json(*command), operated.json(*command), command)
            self.assertTrue(there.json(*command), command)
        there.run("verify")

    async def test_only_the_owner_can_read_it(self) -> None:
        """Every file of a backup is 0600 and every folder 0700: it holds keys and mail."""
        operated = await self.running()
        target = self.new()
        operated.run("backup", str(target))
        for path in (target, *target.rglob("*")):
            wanted = 0o700 if path.is_dir() else 0o600
            self.assertEqual(path.stat().st_mode & 0o777, wanted, path)

    async def test_accepting_goes_on(self) -> None:
        """The server that was backed up takes and delivers mail afterwards."""
        operated = await self.running()
        operated.run("backup", str(self.new()))
        await operated.accept("user@example.org")
        await operated.until(lambda: len(operated.json("message", "list")) == 3)

    async def test_target_that_is_not_empty(self) -> None:
        """Neither backup nor restore writes where something is."""
        operated = await self.running()
        target, full = self.new(), self.new()
        operated.run("backup", str(target))
        full.mkdir()
        (full / "precious").write_text("mine")
        operated.run("backup", str(full), code=1)
        run(self, "restore", str(target), str(full), code=1)
        self.assertEqual([path.name for path in full.iterdir()], ["precious"])

    async def test_restore_over_a_running_server(self) -> None:
        """A directory whose server runs is said to be in use; stopped, it is merely not empty."""
        operated = await self.running()
        target, data = self.new(), str(operated.server.settings.data_dir)
        operated.run("backup", str(target))
        running = run(self, "restore", str(target), data, code=1)
        self.assertIn("a server is running", running.stderr)
        await operated.stop()
        stopped = run(self, "restore", str(target), data, code=1)
        self.assertIn("is not empty", stopped.stderr)

    async def test_damaged_backup(self) -> None:
        """A backup with a changed or lost file is found out, and not restored."""
        operated = await self.running()
        for damage in (lambda path: path.write_bytes(b"x"), lambda path: path.unlink()):
            target, restored = self.new(), self.new()
            operated.run("backup", str(target))
            [spooled] = (target / "data" / "spool").iterdir()
            damage(spooled)
            result = run(self, "verify", "--backup", str(target), code=1)
            self.assertIn(spooled.name, result.stdout)
            run(self, "restore", str(target), str(restored), code=1)
            self.assertFalse(restored.exists())

    async def test_unfinished_backup(self) -> None:
        """A backup that was broken off has no manifest and is refused."""
        operated = await self.running()
        target = self.new()
        operated.run("backup", str(target))
        (target / "backup.json").unlink()
        run(self, "verify", "--backup", str(target), code=1)
        run(self, "restore", str(target), str(self.new()), code=1)

    async def test_manifest_that_leads_out(self) -> None:
        """A manifest cannot make restore write outside of its directory."""
        operated = await self.running()
        target = self.new()
        operated.run("backup", str(target))
        manifest = json.loads((target / "backup.json").read_bytes())
        manifest["files"]["data/../../escaped"] = {"size_bytes": 0, "sha256": ""}
        (target / "backup.json").write_text(json.dumps(manifest))
        result = run(self, "restore", str(target), str(self.new()), code=1)
        self.assertIn("not in the backup", result.stderr)


class VerifyTests(TestCase):
    """Each kind of damage is named."""

    timeout = 60

    async def test_damage(self) -> None:
        """Lost rows, wrong sums and wrong spool files are found, each by its own check."""
        operated = await BackupTests.running(self)  # type: ignore[arg-type]
        await operated.stop()
        make_application(operated)
        self.assertTrue(operated.json("verify")["whole"])
        data = operated.server.settings.data_dir
        for statement, part in (
            ("UPDATE account SET used_bytes = used_bytes + 1", "quota"),
            ("UPDATE content SET body_size_bytes = 7 WHERE spool_name IS NULL", "content"),
            ("UPDATE content SET body_size_bytes = 7 WHERE spool_name IS NOT NULL", "spool"),
            ("UPDATE entry SET message_id = 99 WHERE state = 0", "entry"),
            ("UPDATE mailbox_message SET message_id = 99", "mailbox"),
            ("UPDATE mailbox_message SET mailbox_id = 99", "mailbox"),
            ("UPDATE mailbox SET account_id = 99", "mailbox"),
            ("UPDATE webhook_endpoint SET account_id = 99", "account"),
            ("UPDATE suppression SET account_id = 99", "account"),
            ("UPDATE hold_rule SET account_id = 99", "account"),
            ("UPDATE call_attempt SET call_id = 99", "webhook"),
        ):
            whole = (data / "mailrelay.db").read_bytes()
            with closing(sqlite3.connect(data / "mailrelay.db")) as connection, connection:
                connection.execute(statement)
            found = self.findings(operated)
            self.assertEqual({one["part"] for one in found}, {part}, statement)
            (data / "mailrelay.db").write_bytes(whole)
        [spooled] = (data / "spool").iterdir()
        spooled.unlink()
        [missing] = self.findings(operated)
        self.assertEqual((missing["part"], spooled.name in missing["text"]), ("spool", True))

    async def test_damaged_page(self) -> None:
        """A page of the database that was overwritten is found."""
        operated = await BackupTests.running(self)  # type: ignore[arg-type]
        await operated.stop()
        file = operated.server.settings.data_dir / "mailrelay.db"
        damaged = bytearray(file.read_bytes())
        damaged[3 * 8192 : 4 * 8192] = b"\xff" * 8192
        file.write_bytes(damaged)
        result = operated.run("verify", code=1)
        self.assertNotIn("Everything fits together", result.stdout)

    def findings(self, operated: Operated) -> list[Any]:
        """What verify says, which ends with 1."""
        result = json.loads(operated.run("verify", "--json", code=1).stdout)
        self.assertFalse(result["whole"])
        return list(result["findings"])


if os.geteuid() == 0:

    class OwnerTests(TestCase):
        """Whose a data directory is that root restores."""

        timeout = 60

        async def backed_up(self) -> Path:
            """A backup with a body in the spool."""
            operated = await BackupTests.running(self)  # type: ignore[arg-type]
            target = BackupTests.new(self)  # type: ignore[arg-type]
            operated.run("backup", str(target))
            self.data = operated.server.settings.data_dir
            return target

        def owners(self, folder: Path) -> set[tuple[int, int]]:
            """Of everything in it, and of itself."""
            paths = (folder, *folder.rglob("*"))
            return {(path.stat().st_uid, path.stat().st_gid) for path in paths}

        async def test_empty_directory(self) -> None:
            """It goes to the owner that the directory had, not to root."""
            backup, restored = await self.backed_up(), BackupTests.new(self)  # type: ignore[arg-type]
            restored.mkdir()
            os.chown(restored, 12345, 12346)
            said = run(self, "restore", str(backup), str(restored)).stdout
            self.assertEqual(self.owners(restored), {(12345, 12346)})
            self.assertTrue((restored / "spool").is_dir())
            self.assertEqual(restored.stat().st_mode & 0o777, 0o700)
            self.assertNotIn("root's", said)

        async def test_new_directory(self) -> None:
            """It goes to the owner of what was backed up; when that is root, that is said."""
            backup, restored = await self.backed_up(), BackupTests.new(self)  # type: ignore[arg-type]
            said = run(self, "restore", str(backup), str(restored)).stdout
            self.assertIn(f"chown -R USER: {restored}", said)
            os.chown(self.data, 12345, 12346)
            again = BackupTests.new(self)  # type: ignore[arg-type]
            told = json.loads(run(self, "restore", str(backup), str(again), "--json").stdout)
            self.assertEqual(told["directory"], str(again))
            self.assertEqual(self.owners(again), {(12345, 12346)})
            os.chown(self.data, 0, 0)


class ProgressTests(SynchronousTestCase):
    """A copy that takes long says how far it is."""

    def test_copy_of_a_database(self) -> None:
        """The copy tells of its bytes while it is made."""
        database, told = Path(self.mktemp()), list[tuple[int, int]]()
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE t (a BLOB)")
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
                " INSERT INTO t SELECT randomblob(1000) FROM n"
            )
        snapshots = SQLiteSnapshots(lambda done, whole: told.append((done, whole)))
        snapshots.copy_database(database, Path(self.mktemp()))
        self.assertEqual({whole for _, whole in told}, {database.stat().st_size})
        self.assertGreater(told[-1][0], told[0][0])

    def test_said_now_and_then(self) -> None:
        """On a terminal, and not at every step."""
        terminal, times = StringIO(), iter([0.0, 1.0, 3.0, 3.0, 4.0])
        self.patch(terminal, "isatty", lambda: True)
        self.patch(sys, "stderr", terminal)
        progress = Progress(lambda: next(times))
        for done in (5_000_000, 7_000_000, 8_000_000):
            progress(done, 9_000_000)
        self.assertEqual(terminal.getvalue(), "copying the database: 7 of about 9 MB\n")


class PostgresVerifyTests(TestCase):
    """The same on PostgreSQL, where large bodies are rows."""

    timeout = 120

    async def test_damage(self) -> None:
        """Rows that do not fit together are found beside a running server; mended, none is."""
        url = empty_postgres(self)
        operated = await Operated.start(self, reactor, url=url)
        operated.config.write_text(f'{CONFIG}[storage]\nurl = "{url}"\n')
        await operated.accept("user@example.org")
        await operated.accept("user@example.org", "a@slow.test", body=LARGE)
        await operated.waiting("a@slow.test")
        await operated.until(lambda: len(operated.json("message", "list")) == 2)
        make_application(operated)
        self.assertEqual(operated.json("verify"), {"whole": True, "findings": []})
        engine = create_engine(url)
        self.addCleanup(engine.dispose)
        for table, change, part in (
            ("account", "used_bytes = used_bytes + 1", "quota"),
            ("content", "body_size_bytes = 7 WHERE spool_name IS NULL", "content"),
            ("content", "body_size_bytes = 7 WHERE spool_name IS NOT NULL", "content"),
            ("content_chunk", "number = 1 WHERE number = 0", "content"),
            ("content_chunk", "data = data || 'x' WHERE number = 0", "content"),
            ("content_chunk", "spool_name = 'lost' WHERE number = 0", "content"),
            ("mailbox", "account_id = 99", "mailbox"),
            ("entry", "message_id = 99 WHERE state = 0", "entry"),
            ("suppression", "account_id = 99", "account"),
            ("call_attempt", "call_id = 99", "webhook"),
        ):
            with self.subTest(change), engine.connect() as connection:
                connection.exec_driver_sql(f"CREATE TABLE was AS TABLE {table}")
                connection.exec_driver_sql(f"UPDATE {table} SET {change}")
                connection.commit()
                found = json.loads(operated.run("verify", "--json", code=1).stdout)
                self.assertEqual({one["part"] for one in found["findings"]}, {part})
                for statement in (
                    f"DELETE FROM {table}",
                    f"INSERT INTO {table} TABLE was",
                    "DROP TABLE was",
                ):
                    connection.exec_driver_sql(statement)
                connection.commit()
        operated.run("verify")

    async def test_no_tables(self) -> None:
        """A database that no mailrelay has used is no whole store."""
        operated = await Operated.start(self, reactor)
        operated.config.write_text(f'{CONFIG}[storage]\nurl = "{empty_postgres(self)}"\n')
        said = operated.run("verify", code=1).stderr
        self.assertIn("has mailrelay started with it", said)


class SpoolRaceTests(SynchronousTestCase):
    """The server removes and makes spool files while they are copied."""

    def setUp(self) -> None:
        """A data directory whose database is a list of names."""
        self.data = Path(self.mktemp())
        (self.data / "spool").mkdir(parents=True)
        (self.data / "mailrelay.db").touch()

    def back_up(self, snapshots: Changing) -> Path:
        """Back it up; the target."""
        target = Path(self.mktemp())
        control = BackupControl(snapshots, lambda url: [], lambda: 1000.0)
        control.back_up("sqlite:///mailrelay.db", self.data, [], target)
        return target

    def test_file_that_vanished_after_the_snapshot(self) -> None:
        """When a file that the snapshot names is gone, a later snapshot is taken."""
        (self.data / "spool" / "kept").write_text("kept")
        target = self.back_up(Changing([{"gone", "kept"}, {"kept"}]))
        self.assertEqual([p.name for p in (target / "data" / "spool").iterdir()], ["kept"])

    def test_file_that_no_snapshot_names(self) -> None:
        """What was copied and is not named in the end is not kept, nor is what is half written."""
        for name in ("named", "unnamed", "half.part"):
            (self.data / "spool" / name).write_text(name)
        target = self.back_up(Changing([{"named"}]))
        self.assertEqual([p.name for p in (target / "data" / "spool").iterdir()], ["named"])

    def test_names_and_links_that_lead_elsewhere(self) -> None:
        """The server's user cannot have root copy another file by a name or a link."""
        (self.data / "secret").write_text("root's")
        with self.assertRaises(CannotBackUp):
            self.back_up(Changing([{"../secret"}]))
        (self.data / "spool" / "link").symlink_to("../secret")
        with self.assertRaises(OSError):
            self.back_up(Changing([{"link"}]))

    def test_file_that_is_lost(self) -> None:
        """When what is named never appears, the backup fails instead of lacking it."""
        with self.assertRaises(CannotBackUp):
            self.back_up(Changing([{"lost"}] * 100))


class Changing(SQLiteSnapshots):
    """A database whose snapshots name one set of spool files after the other."""

    def __init__(self, named: list[set[str]]) -> None:
        super().__init__()
        self._named = named

    def copy_database(self, database: Path, target: Path) -> None:
        """See Snapshots."""
        target.touch()

    def spooled(self, database: Path) -> dict[str, int]:
        """See Snapshots."""
        return dict.fromkeys(self._named.pop(0), 1)


class PostgresTests(SynchronousTestCase):
    """There the database's own tools do it."""

    CONFIG = """
hostname = "mx.example.org"
data_dir = "data"
[storage]
url = "postgresql+psycopg://nobody@/none?host=/nonexistent"
[[listener]]
role = "mx"
endpoint = "tcp:25"
[tls]
certificate = "tls.pem"
private_key = "tls-key.pem"
[relay_host]
host = "relay.example.net"
username = "me"
password_file = "secret"
[[transport]]
name = "smarthost"
smtp = { host = "smtp.example.net", username = "me", password_file = "transport-secret" }
[relaying]
dir = "relays"
password_file = "relaying-secret"
[[handoff]]
name = "out"
url = "https://app.example.net/"
domains = ["app.example.org"]
token_file = "token"
[[handoff_in]]
name = "in"
token_files = ["token-in"]
[handoff_relay]
host = "relay.example.net"
username = "me"
password_file = "handoff-secret"
"""

    HANDOFFS = ("token", "token-in", "handoff-secret")

    def setUp(self) -> None:
        """The configuration, with its files beside it."""
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.config = self.folder / "mailrelay.toml"
        self.config.write_text(self.CONFIG)
        for name in ("secret", "transport-secret", "relaying-secret", *self.HANDOFFS):
            (self.folder / name).write_text("x\n")
        (self.folder / "relays").mkdir()
        (self.folder / "relays" / "postfix-relaymap.cf").write_text("@a.test [b.example]\n")

    def test_backup_says_what_to_do(self) -> None:
        """It names pg_dump and every file to copy beside it, and is no success."""
        target = self.folder / "target"
        result = run(self, "backup", str(target), "--config", str(self.config), code=1)
        for word in ("pg_dump", "mailrelay.toml", "tls.pem", "tls-key.pem", "/transport-secret"):
            self.assertIn(word, result.stderr)
        self.assertFalse(target.exists())

    def test_verify_says_what_to_do(self) -> None:
        """A database that does not answer is no success either."""
        result = run(self, "verify", "--config", str(self.config), code=1)
        self.assertIn("does it run", result.stderr)

    def test_files_beside(self) -> None:
        """A backup takes the configuration and every file that it names."""
        settings = parse_settings(self.CONFIG, {}, file="f", base=self.folder)
        names = (
            *("mailrelay.toml", "tls.pem", "tls-key.pem", "secret", "transport-secret"),
            *("relaying-secret", "token-in", "token", "handoff-secret"),
            "relays/postfix-relaymap.cf",
        )
        wanted = [self.folder / name for name in names]
        self.assertEqual(files_beside(settings, self.config), wanted)

    def test_what_acme_keeps(self) -> None:
        """Certificates that were ordered, with the keys, and the account."""
        text = self.CONFIG + "[acme]\nterms_agreed = true\nchallenge = 'http-01'\n"
        text += "[[listener]]\nrole = 'http'\nendpoint = 'tcp:80'\n"
        settings = parse_settings(text, {}, file="f", base=self.folder)
        store = ACMEStore(settings.data_dir)
        store.prepare()
        store.account("https://ca.test/")
        store.keep_standings({})
        [found] = store.files()
        self.assertEqual(found.name[:8], "account-")
        self.assertIn(found, files_beside(settings, self.config))
