"""What templates must do on every database."""

from __future__ import annotations

from sqlalchemy import func, select
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.control.filling import STEPS_EACH, Filling, NoSuchTemplate, TemplateWriter
from mailrelay.control.templates import TemplateControl, TemplateFilter, UnusableTemplate
from mailrelay.net.threads import AtOnce
from mailrelay.storage import tables
from mailrelay.storage import templates as storage
from mailrelay.storage.database import Database
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.templates import DatabaseTemplateRecords
from mailrelay.templates.budget import MOST_STEPS
from mailrelay.templates.model import CannotRender, Source, Written
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

ACCOUNT: dict[str, object] = {"full_name": "", "login_disabled": False, "used_bytes": 0}
HELLO = Source("Hi {{ who }}", "Dear {{ who }}", "")


class TemplateContract(Base):
    """Templates of two accounts."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """No template yet."""
        self.database: Database = database_on(self, self.make_engine())
        self.directory = DatabaseDirectory(self.database, lambda: 1.0)
        for name in ("anna", "bob"):
            self.successResultOf(self.directory.add_account("op", name, ACCOUNT))
        self.at = 100.0
        self.records = DatabaseTemplateRecords(self.database, lambda: self.at)
        self.control = TemplateControl(self.records, AtOnce(), "op")

    async def rows(self, name: str) -> int:
        """How many there are in a table."""
        wanted = select(func.count()).select_from(tables.metadata.tables[name])
        return await self.database.read(lambda c: int(c.execute(wanted).scalar_one()))

    async def actions(self) -> list[str]:
        """What the audit has of templates."""
        audit = tables.audit.c
        wanted = select(audit.action, audit.subject).order_by(audit.id)
        rows = await self.database.read(lambda c: list(c.execute(wanted)))
        return [f"{row.action} {row.subject}" for row in rows if row.action.startswith("template")]

    async def test_life(self) -> None:
        """Made, read by id and name, changed, renamed, removed; each change is audited."""
        made = await self.control.add("anna", "hello", HELLO)
        self.assertEqual((made.template.version, made.version.source), (1, HELLO))
        id_ = made.template.id
        self.assertEqual(await self.control.get("anna", id_), made)
        self.assertEqual(await self.control.get("anna", "hello"), made)
        self.at = 200.0
        second = Source("Hello", "", "<p>{{ who }}</p>")
        changed = await self.control.change("anna", id_, "hello", second)
        self.assertEqual((changed.template.version, changed.version.created_at), (2, 200.0))
        self.assertEqual(changed.template.created_at, 100.0)
        self.assertEqual(await self.control.get("anna", id_), changed)
        old = await self.control.get("anna", "hello", 1)
        self.assertEqual((old.version, old.template.version), (made.version, 2))
        self.assertEqual(await self.control.change("anna", id_, "hello", second), changed)
        renamed = await self.control.change("anna", id_, "hi", second)
        self.assertEqual((renamed.template.name, renamed.version), ("hi", changed.version))
        self.assertEqual(await self.control.get("anna", "hi"), renamed)
        kept = await self.control.versions("anna", id_)
        self.assertEqual([(one.version, one.created_at) for one in kept], [(2, 200.0), (1, 100.0)])
        await self.control.remove("anna", id_)
        self.assertEqual((await self.rows("template"), await self.rows("template_version")), (0, 0))
        again = await self.control.add("anna", "hi", HELLO)
        self.assertNotEqual(again.template.id, id_)
        said = ["add anna hello", "set anna hello", "set anna hi", "remove anna hi", "add anna hi"]
        self.assertEqual(await self.actions(), [f"template {one}" for one in said])

    async def test_pages(self) -> None:
        """An account's own, by id."""
        made = [await self.control.add("anna", f"t{n}", HELLO) for n in range(3)]
        await self.control.add("bob", "t0", HELLO)
        page = await self.control.find(TemplateFilter("anna", 2))
        self.assertEqual(list(page), [one.template for one in made[:2]])
        rest = await self.control.find(TemplateFilter("anna", 2, page[-1].id))
        self.assertEqual(list(rest), [made[2].template])

    async def test_of_others(self) -> None:
        """Another account's template is not there, whatever is asked of it."""
        id_ = (await self.control.add("anna", "hello", HELLO)).template.id
        for work in (
            self.control.get("bob", id_),
            self.control.get("bob", "hello"),
            self.control.versions("bob", id_),
            self.control.change("bob", id_, "hello", HELLO),
            self.control.remove("bob", id_),
            self.control.get("anna", id_, 2),
            self.control.get("anna", id_ + 1),
            self.control.get("nobody", id_),
            self.control.find(TemplateFilter("nobody")),
        ):
            await self.assertFailure(Deferred.fromCoroutine(work), NoSuch)
        await self.control.add("bob", "hello", HELLO)
        self.assertEqual(await self.rows("template"), 2)

    async def test_refused(self) -> None:
        """Names that are taken or none, sources that are none, too many; nothing is stored."""
        first = (await self.control.add("anna", "hello", HELLO)).template
        await self.control.add("anna", "other", HELLO)
        self.patch(storage, "MOST_TEMPLATES", 2)
        for work, error in (
            (self.control.add("anna", "third", HELLO), Refusal),
            (self.control.add("nobody", "x", HELLO), NoSuch),
            (self.control.change("anna", first.id, "other", HELLO), AlreadyThere),
            (self.control.add("anna", "", HELLO), UnusableTemplate),
            (self.control.add("anna", "a\n", HELLO), UnusableTemplate),
            (self.control.add("anna", "x", Source("x")), UnusableTemplate),
            (self.control.change("anna", first.id, "x", Source(text="{{")), UnusableTemplate),
        ):
            await self.assertFailure(Deferred.fromCoroutine(work), error)
        self.patch(storage, "MOST_TEMPLATES", 3)
        taken = Deferred.fromCoroutine(self.control.add("anna", "other", HELLO))
        await self.assertFailure(taken, AlreadyThere)
        self.assertEqual((await self.rows("template"), await self.rows("template_version")), (2, 2))

    async def test_old_versions_go(self) -> None:
        """When there are too many, or when they are too long together; never the newest."""
        self.patch(storage, "MOST_VERSIONS", 3)
        id_ = (await self.control.add("anna", "hello", HELLO)).template.id
        other = (await self.control.add("anna", "other", HELLO)).template.id
        for number in range(2, 6):
            await self.control.change("anna", id_, "hello", Source(text=f"{number:<400}"))
        kept = await self.control.versions("anna", id_)
        self.assertEqual([one.version for one in kept], [5, 4, 3])
        self.patch(storage, "MOST_KEPT_CHARACTERS", 1000)
        await self.control.change("anna", id_, "hello", Source(text="x" * 200))
        kept = await self.control.versions("anna", id_)
        self.assertEqual([one.version for one in kept], [6, 5, 4])
        await self.control.change("anna", id_, "hello", Source(text="x" * 2000))
        kept = await self.control.versions("anna", id_)
        self.assertEqual([one.version for one in kept], [7])
        self.assertEqual(len(await self.control.versions("anna", other)), 1)

    async def test_account_goes(self) -> None:
        """With an account its templates go."""
        await self.control.add("anna", "hello", HELLO)
        kept = await self.control.add("bob", "hello", HELLO)
        await self.directory.remove_account("op", "anna")
        self.assertEqual((await self.rows("template"), await self.rows("template_version")), (1, 1))
        self.assertEqual(await self.control.get("bob", "hello"), kept)

    async def test_filling(self) -> None:
        """Each message gets its own, or is told why it gets none."""
        id_ = (await self.control.add("anna", "hello", HELLO)).template.id
        writer = TemplateWriter(self.records, AtOnce())
        wanted = [
            Filling("hello", None, {"who": "Ann"}),
            Filling("hello", None, {}),
            Filling("nothing", None, {}),
            Filling("hello", 2, {"who": "Bob"}),
            Filling("hello", 1, {"who": "Bob"}),
        ]
        done = await writer.written("anna", wanted)
        self.assertEqual(done[0], Written("Hi Ann", "Dear Ann", ""))
        self.assertEqual([type(one) for one in done[1:4]], [CannotRender, *[NoSuchTemplate] * 2])
        self.assertEqual(done[4], Written("Hi Bob", "Dear Bob", ""))
        await self.control.change("anna", id_, "hello", Source(text="new {{ who }}"))
        [new, old] = await writer.written("anna", [wanted[0], wanted[4]])
        self.assertEqual((new, old), (Written("", "new Ann", ""), done[4]))
        [others] = await writer.written("bob", wanted[:1])
        self.assertIsInstance(others, NoSuchTemplate)

    async def test_shared_budget(self) -> None:
        """Messages that do much together use up what they have; ordinary ones never do."""
        loop = "{% for a in range(8000) %}{% endfor %}x"
        await self.control.add("anna", "hog", Source(text=loop))
        await self.control.add("anna", "hello", HELLO)
        writer = TemplateWriter(self.records, AtOnce())
        hog, hello = Filling("hog", None, {}), Filling("hello", None, {"who": "Ann"})
        done = await writer.written("anna", [hog] * 60 + [hello])
        written = sum(isinstance(one, Written) for one in done)
        most = (MOST_STEPS + 61 * STEPS_EACH) // (8000 * 3)  # a round is of three nodes at least
        self.assertTrue(0 < written <= most < 60, written)
        alone = await writer.written("anna", [hello] * 60)
        self.assertEqual({type(one) for one in alone}, {Written})


class SQLiteTests(TemplateContract, OnSQLite, TestCase):
    """On SQLite."""

    make_engine = OnSQLite.make_engine


class PostgresTests(TemplateContract, OnPostgres, TestCase):
    """On PostgreSQL."""

    make_engine = OnPostgres.make_engine
