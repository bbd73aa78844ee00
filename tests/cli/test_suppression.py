"""``mailrelay suppression``, beside a running server and without one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cli.operated import Operated, soon

USER = ("--account", "user")


class SuppressionTests(TestCase):
    """Each command."""

    timeout = 60

    async def stopped(self) -> Operated:
        """The store of a server that has ended."""
        operated = await Operated.start(self, reactor)
        await operated.stop()
        return operated

    def file(self, text: str) -> str:
        """A file with ``text``."""
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    async def test_add_why_remove(self) -> None:
        """An address is suppressed until it is removed; what makes no sense is refused."""
        operated = await self.stopped()
        self.assertIn("Nothing", operated.run("suppression", "list").stdout)
        said = operated.run("suppression", "add", "J.Doe@x.test", *USER, "--reason", "asked").stdout
        self.assertIn("jdoe@x.test", said)
        again = operated.run("suppression", "add", "jdoe+x@x.test", *USER, code=1).stderr
        self.assertIn("suppression list --account user --address jdoe@x.test", again)
        [row] = operated.json("suppression", "list", *USER)
        self.assertEqual((row["account"], row["manual"], row["reason"]), ("user", True, "asked"))
        self.assertIn("jdoe@x.test", operated.run("suppression", "list").stdout)
        why = operated.json("suppression", "why", "jdoe@x.test", *USER)
        self.assertEqual(why["suppressed"], True)
        [one] = why["suppressions"]
        self.assertEqual((one["original_address"], one["scope"]), ("J.Doe@x.test", "account"))
        self.assertIn("asked", operated.run("suppression", "why", "jdoe@x.test", *USER).stdout)
        removed = operated.json("suppression", "remove", "jdoe@x.test", *USER)
        self.assertEqual(removed, {"base_address": "jdoe@x.test"})
        absent = operated.run("suppression", "remove", "jdoe@x.test", *USER, code=1).stderr
        self.assertIn("not on the list", absent)
        self.assertFalse(operated.json("suppression", "why", "jdoe@x.test", *USER)["suppressed"])
        operated.run("suppression", "add", "jdoe@x.test", code=2)
        operated.run("suppression", "list", "--account", "nobody", code=1)

    async def test_export_is_imported(self) -> None:
        """What is exported is imported as it was, here where it was removed."""
        operated = await self.stopped()
        operated.run("suppression", "add", "a.b@x.test", *USER, "--reason", 'said "no", twice')
        operated.run("suppression", "add", "c@x.test", *USER)
        before = operated.json("suppression", "list")
        exported = operated.run("suppression", "export", *USER).stdout
        self.assertEqual(
            exported.splitlines()[:2],
            [
                "base_address,original_address,reason,manual,date,cause,evidence,expires",
                f'ab@x.test,a.b@x.test,"said ""no"", twice",true,{before[0]["added"]},manual,,',
            ],
        )
        operated.run("suppression", "remove", "ab@x.test", *USER)
        path = Path(self.mktemp())
        path.write_text(exported)
        counts = operated.json("suppression", "import", str(path), *USER)
        self.assertEqual(counts, {"added": 1, "present": 1})
        after = operated.json("suppression", "list")
        strip = lambda rows: sorted(  # noqa: E731
            (r["base_address"], r["original_address"], r["reason"], r["added"]) for r in rows
        )
        self.assertEqual(strip(after), strip(before))

    async def test_reasons_of_applications(self) -> None:
        """A reason that an application gave in lines, or too long, can be imported again."""
        operated = await self.stopped()
        for address in ("a@x.test", "b@x.test"):
            operated.run("suppression", "add", address, *USER)
        with closing(sqlite3.connect(operated.server.settings.data_dir / "mailrelay.db")) as store:
            for id_, reason in ((1, "two\n\x1b[2Jlines"), (2, "x" * 1000)):
                store.execute("UPDATE suppression SET reason = ? WHERE id = ?", (reason, id_))
            store.commit()
        exported = operated.run("suppression", "export", *USER).stdout
        operated.run("suppression", "remove", "a@x.test", *USER)
        operated.run("suppression", "remove", "b@x.test", *USER)
        operated.run("suppression", "import", self.file(exported), *USER)
        reasons = [row["reason"] for row in operated.json("suppression", "list")]
        self.assertEqual(reasons, ["two??[2Jlines", "x" * 500])

    async def test_wrong_files(self) -> None:
        """File and line of what is wrong are named, and nothing is added."""
        operated = await self.stopped()
        head = "original_address,reason,manual,date\n"
        good = "a@x.test,,,\n"
        for text, said in (
            ("address\na@x.test\n", "first line"),
            ("reason\nx\n", "first line"),
            ("", "first line"),
            (head + good + "nonsense,,,\n", "line 3: 'nonsense'"),
            (head + good + "b@x.test,,perhaps,\n", "line 3: manual"),
            (head + good + "b@x.test,,,yesterday\n", "line 3: the date"),
            (head + good + f"b@x.test,{'x' * 501},,\n", "line 3: the reason"),
            (head + good + "b@x.test\n", "line 3: it has not"),
            (head + good + '"b@x.test\n', "cannot be read"),
            ("original_address,cause\nb@x.test,whim\n", "line 2: the cause"),
            ("original_address,expires\nb@x.test,never\n", "line 2: the expires"),
            (f"original_address,evidence\nb@x.test,{'x' * 2001}\n", "line 2: the evidence"),
        ):
            path = self.file(text)
            result = operated.run("suppression", "import", path, *USER, code=1)
            self.assertIn(path, result.stderr)
            self.assertIn(said, result.stderr)
        self.assertEqual(operated.json("suppression", "list"), [])
        operated.run("suppression", "import", self.file("base_address\na@x.test\n"), *USER)
        self.assertEqual(len(operated.json("suppression", "list")), 1)

    async def test_servers_list(self) -> None:
        """The server's list is apart, holds for all, and is named in why."""
        operated = await self.stopped()
        for command in (("add", "a@x.test"), ("remove", "a@x.test"), ("export",)):
            operated.run("suppression", *command, code=2)
            operated.run("suppression", *command, *USER, "--server", code=2)
        said = operated.run("suppression", "add", "*@X.test", "--server", "--reason", "trap").stdout
        self.assertIn("This server sends no more to *@x.test", said)
        again = operated.run("suppression", "add", "*@x.test", "--server", code=1).stderr
        self.assertIn("suppression list --server --address *@x.test", again)
        self.assertEqual(operated.json("suppression", "list", *USER), [])
        [one] = operated.json("suppression", "list", "--server", "--domains", "--cause", "manual")
        self.assertEqual((one["account"], one["scope"], one["reason"]), (None, "server", "trap"))
        why = operated.json("suppression", "why", "joe@x.test", *USER)
        self.assertEqual((why["suppressed"], why["suppressions"]), (True, [one]))
        self.assertIn("trap", operated.run("suppression", "why", "joe@x.test", *USER).stdout)
        explained = operated.json("route", "explain", "joe@x.test", *USER)
        self.assertIn("suppression list", str(explained))
        exported = operated.run("suppression", "export", "--server").stdout
        self.assertIn("*@x.test,*@x.test,trap,true", exported)
        operated.run("suppression", "remove", "*@x.test", "--server")
        counts = operated.json("suppression", "import", self.file(exported), "--server")
        self.assertEqual(counts, {"added": 1, "present": 0})
        operated.run("verify")

    async def test_end(self) -> None:
        """What is suppressed for a time is listed with its end."""
        operated = await self.stopped()
        operated.run("suppression", "add", "a@x.test", *USER, "--for", "30d")
        [one] = operated.json("suppression", "list", "--lasting")
        self.assertRegex(one["expires"], r"^20\d\d-")
        self.assertEqual(operated.json("suppression", "list", "--expired"), [])
        operated.run("suppression", "add", "b@x.test", *USER, "--for", "soon", code=2)
        far = operated.run("suppression", "add", "b@x.test", *USER, "--for", "999999d", code=1)
        self.assertIn("a hundred years", far.stderr)

    async def test_formulas(self) -> None:
        """What a spreadsheet would reckon with is behind a ' in the file, and comes back whole."""
        operated = await self.stopped()
        wild = ["=1+1", "+x", "-x", "@x", "'=x", "''+x", "'tis", "x=1", "'"]
        for number, reason in enumerate(wild):
            operated.run("suppression", "add", f"u{number}@x.test", *USER, "--reason", reason)
        operated.run("suppression", "add", "=a@x.test", *USER)
        before = operated.json("suppression", "list")
        exported = operated.run("suppression", "export", *USER).stdout
        for cell in exported.replace("\n", ",").split(","):
            self.assertNotIn(cell[:1], tuple("=+-@"), cell)
        self.assertIn(",''=x,", exported)
        self.assertIn(",'tis,", exported)
        for one in before:
            operated.run("suppression", "remove", one["base_address"], *USER)
        operated.run("suppression", "import", self.file(exported), *USER)
        after = operated.json("suppression", "list")
        self.assertEqual(
            sorted((one["original_address"], one["reason"]) for one in after),
            sorted((one["original_address"], one["reason"]) for one in before),
        )

    async def test_running_server_sends_no_more(self) -> None:
        """What is suppressed by command is not sent to by the running server, soon after."""
        operated = await Operated.start(self, reactor)
        operated.run("suppression", "add", "a@slow.test", *USER)

        def outcomes() -> set[str]:
            rows = operated.json("retired", "list", "--recipient", "a+b@slow.test")
            return {row["state"] for row in rows}

        while "suppressed" not in outcomes():
            await operated.submit("a+b@slow.test")
            await soon(reactor)
