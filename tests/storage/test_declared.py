"""The whole directory, exported and applied on every database."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import TestCase

from mailrelay.config.directory_file import directory_text, read_directory
from mailrelay.control.apply import STEPS_AT_ONCE, ApplyControl, ListControls
from mailrelay.control.bootstrap import POSTMASTER
from mailrelay.control.changes import Plan
from mailrelay.control.declared import (
    Declaration,
    Declared,
    DeclaredAccount,
    DeclaredAlias,
    DeclaredDomain,
    DeclaredEndpoint,
    DeclaredIncoming,
    DeclaredKey,
    DeclaredOutgoing,
    DeclaredRule,
    DeclaredSuppression,
    DeclaredTemplate,
)
from mailrelay.control.endpoints import EndpointControl
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.holds import HoldControl
from mailrelay.control.keys import MOST_PER_MINUTE
from mailrelay.control.suppression import SuppressionControl
from mailrelay.control.templates import TemplateControl
from mailrelay.directory.aliases import OnDisabled, Rewrite
from mailrelay.directory.credentials import ScramVerifier, check_password, hash_password
from mailrelay.directory.keys import Scope
from mailrelay.directory.model import DMARCPolicy, MTASTSMode
from mailrelay.net.threads import AtOnce
from mailrelay.policy.suppression import Cause
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.declared import DatabaseDeclared
from mailrelay.storage.directory import changes_after
from mailrelay.storage.endpoints import DatabaseEndpointRecords
from mailrelay.storage.holds import DatabaseHoldRecords
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.suppression_records import DatabaseSuppressionRecords
from mailrelay.storage.templates import DatabaseTemplateRecords
from mailrelay.webhooks.endpoint import EVENTS
from mailrelay.webhooks.signature import secret_of
from mailrelay.webhooks.types import OUTGOING_EVENTS
from tests.storage.databases import Base, OnPostgres, OnSQLite, database_on

HASH = hash_password("a password")
VERIFIER = str(ScramVerifier.of("a password", b"s" * 16))
NOW = 1_800_000_000.0
KEPT = (
    tables.domain,
    tables.account,
    tables.address,
    tables.webhook_endpoint,
    tables.api_key,
    tables.hold_rule,
    tables.alias,
    tables.alias_member,
    tables.setting,
    tables.template,
    tables.template_version,
    tables.suppression,
)

LOCALPARTS = st.sampled_from(["a", "b.c", "Ünï", "x y", "o'neill", '"', "d-e", "f+g", "MiXed"])
LINES = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)
LIMITS = st.none() | st.integers(1, 2**31 - 1)
RATES = st.none() | st.integers(1, MOST_PER_MINUTE)
KEEPING = st.none() | st.floats(0, 86400 * 3650).map(lambda at: round(at, 3))
PARTS = st.sampled_from([None, "", "example.net", "a@example.net"])
URLS = st.sampled_from(["https://app.example/hook", "http://127.0.0.1:8025/?a=%22&b"])
LONG = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="{}\x7f", min_codepoint=32)
    | st.sampled_from('\n\t\r"\\'),
    max_size=40,
)
WORDS = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), max_size=10)
TIMES = st.none() | st.integers(1, 2**33).map(lambda at: datetime.fromtimestamp(at, UTC))


def subset(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Some of them, in their order."""
    return st.sets(st.sampled_from(values)).map(lambda some: tuple(v for v in values if v in some))


@st.composite
def directories(draw: st.DrawFn) -> Declared:
    """A directory of a few of everything."""
    domains = [
        DeclaredDomain(
            name,
            draw(st.sampled_from("+-_")),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(st.sampled_from(DMARCPolicy)),
            draw(st.sampled_from(MTASTSMode)),
        )
        for name in draw(subset(["example.org", "xn--bcher-kva.example", "[192.0.2.1]"]))
    ]
    names = draw(subset(["anna", "bert", "Ünï\\\"'#"]))
    owned: dict[str, list[str]] = {name: [] for name in names}
    for domain, localpart in itertools.product(domains, draw(st.sets(LOCALPARTS))):
        if names and domain.separator not in localpart:
            owned[draw(st.sampled_from(names))].append(address(localpart, domain))
    for domain in domains:
        if draw(st.booleans()) and names:
            owned[draw(st.sampled_from(names))].append(f"@{domain.name}")
    accounts = [draw(accounts_called(name, sorted(set(owned[name])))) for name in names]
    taken: set[str] = set()
    for i, one in enumerate(accounts):
        mine = tuple(text for text in one.addresses if text not in taken)
        taken |= set(mine)
        accounts[i] = evolve(one, addresses=mine)
    keys = [draw(keys_of(names, i)) for i in range(draw(st.integers(0, 4)) if names else 0)]
    rules = draw(st.lists(rules_of(names), unique=True, max_size=4))
    aliases = [
        draw(aliases_at(address(localpart, domain)))
        for domain, localpart in itertools.product(domains, ["list", "team"])
        if domain.separator not in localpart and address(localpart, domain) not in taken
    ]
    duty = st.sampled_from(names or [None])
    postmaster, everything_to = draw(duty), draw(duty)
    others: dict[str, Any] = {"alias": sorted(aliases, key=lambda one: one.address)}
    if names:
        name = st.sampled_from(names)
        others["webhook_endpoint"] = draw(st.lists(endpoints_of(name), max_size=3))
        others["template"] = draw(st.lists(templates_of(name), max_size=3, unique_by=called))
        listed = suppressions_of(st.sampled_from([None, *names]))
        others["suppression"] = draw(st.lists(listed, max_size=4, unique_by=called))
    return Declared(postmaster, everything_to, domains, accounts, keys, rules, **others)


def called(one: Any) -> tuple[str | None, str]:
    """Whose, and its name there."""
    return one.account, getattr(one, "name", None) or one.address


def address(localpart: str, domain: DeclaredDomain) -> str:
    """As it would be written."""
    quoted = '"\\""' if localpart == '"' else f'"{localpart}"' if " " in localpart else localpart
    return f"{quoted if domain.case_sensitive else quoted.lower()}@{domain.name}"


@st.composite
def accounts_called(draw: st.DrawFn, name: str, addresses: Sequence[str]) -> DeclaredAccount:
    """An account."""
    outgoing = st.builds(
        DeclaredOutgoing, URLS, subset(OUTGOING_EVENTS), st.none() | WORDS, st.booleans()
    )
    incoming = st.builds(DeclaredIncoming, URLS, st.none() | WORDS)
    return DeclaredAccount(
        name,
        draw(LINES),
        tuple(addresses),
        draw(st.booleans()),
        password_hash=draw(st.sampled_from([None, HASH])),
        quota_bytes=draw(LIMITS),
        messages_per_day=draw(LIMITS),
        new_recipients_per_day=draw(LIMITS),
        retired_kept_for=draw(KEEPING),
        calls_kept_for=draw(KEEPING),
        outgoing_webhook=draw(st.none() | outgoing),
        incoming_webhook=draw(st.none() | incoming),
    )


def aliases_at(text: str) -> st.SearchStrategy[DeclaredAlias]:
    """An alias of whatever kind."""
    elsewhere = subset(["ann@example.net", '"b c"@example.net', "d@xn--bcher-kva.test"])
    return st.builds(
        DeclaredAlias,
        st.just(text),
        elsewhere.filter(bool).map(lambda found: tuple(sorted(found))),
        *[st.booleans()] * 4,
        st.sampled_from(OnDisabled),
        st.none() | st.just("boss@example.net"),
        elsewhere.map(lambda found: tuple(sorted(found))),
        st.sampled_from(Rewrite),
        st.booleans(),
        st.booleans(),
        st.none() | st.integers(1, 1000),
    )


@st.composite
def keys_of(draw: st.DrawFn, names: Sequence[str], number: int) -> DeclaredKey:
    """A key, whose hash no other has."""
    return DeclaredKey(
        draw(st.sampled_from(names)),
        draw(st.sampled_from(["shop", "news"])),
        draw(subset(list(Scope)).filter(bool)),
        draw(subset(["a@example.org", "example.org"])),
        draw(subset(["192.0.2.0/24", "2001:db8::/32"])),
        draw(TIMES),
        draw(RATES),
        f"{number:064x}",
        VERIFIER,
    )


@st.composite
def rules_of(draw: st.DrawFn, names: Sequence[str]) -> DeclaredRule:
    """A hold rule."""
    account = draw(st.sampled_from([None, *names]))
    sender, recipient = draw(PARTS), draw(PARTS.filter(lambda part: part != ""))
    everything = (account, sender, recipient) == (None, None, None)
    return DeclaredRule(account, sender, recipient, everything)


def endpoints_of(name: st.SearchStrategy[str]) -> st.SearchStrategy[DeclaredEndpoint]:
    """Signed endpoints."""
    return st.builds(
        DeclaredEndpoint,
        name,
        st.sampled_from(["crm", "log"]),
        URLS,
        subset(EVENTS),
        subset(["welcome", "news"]),
        st.integers(1, 500),
        st.integers(1, 100),
        st.binary(min_size=24, max_size=64).map(secret_of),
    )


def templates_of(name: st.SearchStrategy[str]) -> st.SearchStrategy[DeclaredTemplate]:
    """Templates."""
    names = st.sampled_from(["a", "b"])
    return st.builds(DeclaredTemplate, name, names, LINES, LONG.map(lambda t: f"x{t}"), LONG)


def suppressions_of(
    name: st.SearchStrategy[str | None],
) -> st.SearchStrategy[DeclaredSuppression]:
    """Suppressions."""
    addresses = st.sampled_from(["a@example.net", "Bc+d@example.net", "*@example.com"])
    since = st.integers(1, 2**33).map(lambda at: datetime.fromtimestamp(at, UTC))
    causes = st.sampled_from(list(Cause))
    return st.builds(
        DeclaredSuppression, addresses, name, since, causes, st.booleans(), LINES, LINES, TIMES
    )


FULL = f"""\
postmaster = "anna"
[[domain]]
name = "example.org"
[[domain]]
name = "example.com"
disabled = true
[[account]]
name = "anna"
full_name = "Anna"
addresses = ["a@example.org", "@example.org"]
quota_bytes = 5
messages_per_day = 6
new_recipients_per_day = 7
from_id_logins = ["a@example.org"]
retired_kept_for = 0
calls_kept_for = 8.5
password_hash = "{HASH}"
scram_verifier = "{VERIFIER}"
[account.outgoing_webhook]
url = "https://app.example/a"
authorization = "one"
[account.incoming_webhook]
url = "https://app.example/b"
authorization = "two"
[[account]]
name = "bert"
login_disabled = true
[[alias]]
address = "team@example.org"
members = ["a@example.org", "inner@example.org"]
owner = "boss@example.net"
is_list = true
removes_after = 3
[[alias]]
address = "inner@example.org"
members = ["x@example.net", "y@example.net"]
posters = ["p@example.net"]
on_disabled = "drop"
[[key]]
account = "anna"
name = "shop"
scopes = ["send"]
key_hash = "{"a" * 64}"
scram_verifier = "{VERIFIER}"
[[hold_rule]]
account = "bert"
[[webhook_endpoint]]
account = "anna"
name = "crm"
url = "https://app.example/c"
secret = "{secret_of(b"1" * 32)}"
[[template]]
account = "anna"
name = "welcome"
text = "Hello"
[[suppression]]
address = "a.b@example.net"
account = "anna"
added = 2026-01-01T00:00:00Z
[[suppression]]
address = "*@example.net"
added = 2026-01-01T00:00:00Z
"""
CHANGES = (
    ('name = "example.org"\n[[', 'name = "example.org"\ndmarc = "reject"\n[['),
    ('dmarc = "reject"\n', 'dmarc = "reject"\nmta_sts = "enforce"\n'),
    ('postmaster = "anna"', 'postmaster = "bert"'),
    ('name = "example.com"\ndisabled = true', 'name = "example.com"\nseparator = "-"'),
    ('full_name = "Anna"', 'full_name = "Ann"\nlogin_disabled = true'),
    ('["a@example.org", "@example.org"]', '["a@example.org", "b@example.com"]'),
    ('name = "bert"\nlogin_disabled = true', 'name = "bert"\naddresses = ["@example.org"]'),
    ("quota_bytes = 5\n", ""),
    ("messages_per_day = 6", "messages_per_day = 60"),
    ('["a@example.org"]', "[]"),
    ("retired_kept_for = 0\n", ""),
    ('authorization = "one"', 'authorization = "three"'),
    ("https://app.example/b", "https://app.example/d"),
    ('scopes = ["send"]', 'scopes = ["read"]\nexpires = 2030-01-01T00:00:00Z'),
    ('[[hold_rule]]\naccount = "bert"', '[[hold_rule]]\nsender = ""'),
    ("https://app.example/c", "https://app.example/e"),
    (secret_of(b"1" * 32), secret_of(b"2" * 32)),
    ("is_list = true\nremoves_after = 3", "post_public = true"),
    ('members = ["x@example.net", "y@', 'members = ["z@example.net", "y@'),
    ('on_disabled = "drop"', 'rewrite = "srs"\ndmarc_fallback = true\nrequires_dkim = true'),
    ('text = "Hello"', 'html = "<p>Hello"'),
    ('account = "anna"\nadded', 'account = "anna"\nreason = "asked"\nadded'),
    ('address = "*@example.net"\nadded = 2026', 'address = "*@example.net"\nadded = 2027'),
)
KINDS = {
    "domain",
    "account",
    "address",
    "webhook",
    "duty",
    "alias",
    "key",
    "endpoint",
    "template",
    "suppression",
}


class DeclaredContract(Base):
    """What export and apply must do on every database."""

    def make_engine(self):
        """See OnSQLite and OnPostgres."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two databases: one that is exported, one that is to be the same."""
        self.first, self.second = (self.store() for _ in range(2))
        self.file = Path(self.mktemp())

    def store(self) -> tuple[Database, ApplyControl]:
        """A database and what is asked of it."""
        database = database_on(self, self.make_engine())
        now = lambda: NOW  # noqa: E731
        queue = DatabaseQueueRecords(database, lambda: None, lambda names: None)  # type: ignore[arg-type,return-value]
        holds = HoldControl(DatabaseHoldRecords(database, now), queue, now, "op")
        salt = lambda: b"t" * 16  # noqa: E731
        lists = ListControls(
            holds,
            EndpointControl(DatabaseEndpointRecords(database, now), salt, now, "op"),
            TemplateControl(DatabaseTemplateRecords(database, now), AtOnce(), "op"),
            SuppressionControl(DatabaseSuppressionRecords(database, now), now, "op"),
        )
        records = DatabaseDeclared(database, now)
        return database, ApplyControl(records, lists, AtOnce(), salt, now, "op")

    def done(self, work: Any) -> Any:
        """What ``work`` comes to."""
        from mailrelay.cli.target import settled

        return settled(work)

    def plan(self, control: ApplyControl, declaration: Declaration, *, prune: bool = False) -> Plan:
        """The plan of what can be applied."""
        told: list[tuple[str, str]] = []
        problem = lambda place, text: told.append((place, text))  # noqa: E731
        plan: Plan | None = self.done(control.plan(declaration, problem, prune=prune))
        assert plan is not None, told
        return plan

    def applied(self, control: ApplyControl, declared: Declared, *, prune: bool = False) -> Plan:
        """Apply it."""
        plan = self.plan(control, Declaration(declared), prune=prune)
        self.done(control.apply(plan))
        return plan

    def text(self, control: ApplyControl) -> str:
        """What is exported."""
        return directory_text(
            self.done(control.export(secrets=True, suppressions=True)), secrets=True
        )

    def read(self, text: str) -> Declaration:
        """What a file with this text declares."""
        self.file.write_text(text)
        return read_directory(self.file).declaration

    def clear(self, *databases: Database) -> None:
        """Begin anew."""
        for database in databases:
            with database.engine.begin() as connection:
                for table in KEPT:
                    connection.execute(table.delete())

    # To find a smaller failure would take minutes of database work.
    @settings(
        max_examples=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
    @given(directories(), directories())
    def test_round_trip(self, declared: Declared, other: Declared) -> None:
        """An export makes an equal directory of an empty one, and, pruning, of any other."""
        self.clear(self.first[0], self.second[0])
        first, second = self.first[1], self.second[1]
        self.applied(first, declared)
        exported = self.text(first)
        read = self.read(exported)
        self.assertEqual(self.plan(first, read, prune=True), Plan([], (), []))
        self.assertEqual(self.applied(second, read.declared).kept, [])
        self.assertEqual(self.text(second), exported)
        self.assertEqual(self.plan(second, read).changes, [])
        self.become(first, other)

    def become(self, control: ApplyControl, other: Declared) -> None:
        """Another directory of this one, which is the same as of none but for secrets that stay."""
        told: list[str] = []
        tell = lambda place, text: told.append(text)  # noqa: E731
        plan = self.done(control.plan(Declaration(other), tell, prune=True))
        if plan is None:  # the postmaster must not go
            self.assertTrue(told)
            return
        self.done(control.apply(plan))
        self.assertEqual(self.plan(control, Declaration(other), prune=True).changes, [])
        database, fresh = self.second
        self.clear(database)
        self.applied(fresh, other)
        self.assertEqual(*(self.done(one.export(secrets=False)) for one in (control, fresh)))

    def test_changed(self) -> None:
        """Everything that is said can be changed, and is then as if it had never been otherwise."""
        first = self.read(FULL)
        changed = FULL
        for old, new in CHANGES:
            self.assertIn(old, changed)
            changed = changed.replace(old, new)
        control = self.first[1]
        self.done(control.apply(self.plan(control, first)))
        plan = self.plan(control, self.read(changed), prune=True)
        self.assertEqual({one.kind for one in plan.changes if one.action == "change"}, KINDS)
        self.done(control.apply(plan))
        fresh = self.second[1]
        self.done(fresh.apply(self.plan(fresh, self.read(changed))))
        self.assertEqual(self.text(control), self.text(fresh))

    def test_aliases(self) -> None:
        """What cannot be is told with its place; what can is made, changed and pruned."""
        _, control = self.first
        domain, anna = (
            DeclaredDomain("example.org"),
            DeclaredAccount("anna", addresses=["a@example.org"]),
        )
        base = Declared(domain=[domain], account=[anna])
        self.applied(control, base)
        one = DeclaredAlias("team@example.org", ["a@example.org"])
        inner = DeclaredAlias("inner@example.org", ["team@example.org"])
        for aliases, place, said in (
            ([evolve(one, members=[])], "alias[1].members", "one member"),
            ([evolve(one, members=["nobody@example.org"])], "alias[1].members", "no nobody@"),
            ([evolve(one, members=["inner@example.org"]), inner], "alias[1].members", "leads back"),
            (
                [evolve(one, address="a@example.org", members=["x@x.test"])],
                "alias[1].address",
                "anna",
            ),
            ([evolve(one, address="x@nowhere.test")], "alias[1].address", "nowhere.test"),
            ([evolve(one, address="a+b@example.org")], "alias[1].address", "separator"),
            ([evolve(one, owner="no@example.org")], "alias[1].owner", "gets no mail"),
            ([evolve(one, removes_after=1001)], "alias[1].removes_after", "1000"),
            ([evolve(one, address="@example.org", is_list=True)], "alias[1].is_list", "no list"),
            ([evolve(one, posters=["x"])], "alias[1].posters", "no address"),
            ([one, one], "alias[2].address", "keep one"),
        ):
            found: list[tuple[str, str]] = []
            problem = lambda place, text, found=found: found.append((place, text))  # noqa: E731
            declaration = Declaration(evolve(base, alias=aliases))
            self.assertIsNone(self.done(control.plan(declaration, problem, prune=False)))
            self.assertEqual(found[0][0], place, said)
            self.assertIn(said, found[0][1])
        both = evolve(base, alias=[inner, evolve(one, address="Team@EXAMPLE.org")])
        self.applied(control, both)
        exported = self.done(control.export(secrets=False))
        self.assertEqual([each.address for each in exported.alias], [inner.address, one.address])
        moved = DeclaredAccount("anna", addresses=["a@example.org", "team@example.org"])
        found = []
        declaration = Declaration(Declared(domain=[domain], account=[moved]))
        tell = lambda place, text: found.append((place, text))  # noqa: E731
        self.assertIsNone(self.done(control.plan(declaration, tell, prune=True)))
        self.assertIn("alias remove", found[0][1])
        kept = self.plan(control, Declaration(base)).kept
        self.assertEqual({each.kind for each in kept}, {"alias"})
        self.done(control.apply(self.plan(control, Declaration(Declared()), prune=True)))
        self.assertNotIn("example", self.text(control))

    def test_suppressions_stay(self) -> None:
        """One that is changed is never off its list, wherever the work is broken off."""
        control = self.first[1]
        self.done(control.apply(self.plan(control, self.read(FULL))))
        plan = self.plan(control, self.read(FULL.replace("added = 2026-", "added = 2027-")))
        broken: Deferred[Any] = fail(StoreUnavailable("gone"))
        self.patch(DatabaseSuppressionRecords, "add", lambda *given, **more: broken)
        with self.assertRaises(StoreUnavailable):
            self.done(control.apply(plan))
        declared = self.done(control.export(secrets=True, suppressions=True))
        self.assertEqual(len(declared.suppression), 2)

    def test_told_and_audited(self) -> None:
        """Running servers are told, and who did it is written down, without secrets."""
        database, control = self.first
        account = DeclaredAccount("anna", addresses=("@example.org",), password_hash=HASH)
        key = DeclaredKey("anna", "shop", [Scope.SEND], key_hash="0" * 64, scram_verifier=VERIFIER)
        declared = Declared("anna", None, [DeclaredDomain("example.org")], [account], [key])
        self.applied(control, declared)
        audit = tables.audit.c
        read = database.read(lambda c: c.execute(select(audit.action, audit.subject)).all())
        expected = [
            ("domain add", "example.org"),
            ("account add", "anna"),
            ("address add", "@example.org anna"),
            ("setting", POSTMASTER),
            ("key add", "anna shop"),
        ]
        self.assertEqual([tuple(row) for row in self.successResultOf(read)], expected)
        told = self.successResultOf(database.read(lambda c: changes_after(c, 0)))
        self.assertEqual([kind for _, kind in told], ["directory", "suppression", "holds"])

    def test_all_or_nothing(self) -> None:
        """A step that is refused takes those of its transaction with it, and says why."""
        _, control = self.first
        plan = self.plan(control, Declaration(Declared(domain=[DeclaredDomain("example.org")])))
        self.done(control.apply(plan))
        self.assertRaises(Refusal, self.done, control.apply(plan))
        gone = Declared(domain=[DeclaredDomain("example.com")])
        plan = self.plan(control, Declaration(gone), prune=True)
        self.done(control.apply(self.plan(control, Declaration(Declared()), prune=True)))
        self.assertRaises(NoSuch, self.done, control.apply(plan))
        self.assertNotIn("example", self.text(control))

    def test_goes_on(self) -> None:
        """What broke off half way is made whole by applying it again."""
        _, control = self.first
        domains = [DeclaredDomain(f"d{n}.example") for n in range(2 * STEPS_AT_ONCE)]
        plan = self.plan(control, Declaration(Declared(domain=domains)))
        half = Plan(plan.changes[:STEPS_AT_ONCE])
        self.done(control.apply(half))
        rest = self.applied(control, Declared(domain=domains))
        self.assertEqual(rest.changes, plan.changes[STEPS_AT_ONCE:])
        self.assertEqual(self.plan(control, Declaration(Declared(domain=domains))).changes, [])

    def test_passwords(self) -> None:
        """A password is hashed once: it is no change where it is the password already."""
        _, control = self.first
        declared = Declared(account=[DeclaredAccount("anna")])
        declaration = Declaration(declared, {"anna": "a password"})
        self.done(control.apply(self.plan(control, declaration)))
        [account] = self.done(control.export(secrets=True)).account
        self.assertTrue(check_password(account.password_hash, "a password"))
        self.assertTrue(account.scram_verifier)
        self.assertEqual(self.plan(control, declaration).changes, [])
        self.assertEqual(self.plan(control, Declaration(declared)).changes, [])
        [change] = self.plan(control, Declaration(declared, {"anna": "another one"})).changes
        self.assertEqual([each.after for each in change.settings], ["another", "another"])


class SQLiteTests(OnSQLite, DeclaredContract, TestCase):
    """On SQLite."""


class PostgresTests(OnPostgres, DeclaredContract, TestCase):
    """On PostgreSQL."""
