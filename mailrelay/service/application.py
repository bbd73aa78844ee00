"""The application's side, composed: the webapi over acceptance, mailboxes and suppression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import mailrelay
from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.several import Several
from mailrelay.config.settings import Settings
from mailrelay.control.configuration import Configuration
from mailrelay.control.destinations import LiveDestinations
from mailrelay.control.explain import ExplainControl
from mailrelay.control.filling import TemplateWriter
from mailrelay.control.keys import KeyControl
from mailrelay.control.mailbox import Imported
from mailrelay.control.suppression import SuppressionControl
from mailrelay.control.templates import TemplateControl
from mailrelay.directory.login import Authenticator
from mailrelay.directory.model import Account, Directory
from mailrelay.net.surroundings import Surroundings
from mailrelay.observe.bell import Bell
from mailrelay.observe.events import NewEvent
from mailrelay.observe.metrics import Metrics
from mailrelay.policy.suppression import Suppressed
from mailrelay.queue.report import Reporter
from mailrelay.service.explaining import explain_operations
from mailrelay.service.forwarding import forward_routes
from mailrelay.service.history import history_operations
from mailrelay.service.holding import hold_operations
from mailrelay.service.own_account import own_account_operations
from mailrelay.service.received import received_mail
from mailrelay.service.resending import resend_operations
from mailrelay.service.statistics import statistics_operations
from mailrelay.service.streams import stream_operations
from mailrelay.service.unsubscribing import make_one_click, unsubscribe_routes
from mailrelay.service.usage import usage_operations
from mailrelay.service.webhooks import webhook_operations
from mailrelay.smtp.reply import Reply
from mailrelay.storage.account_messages import DatabaseAccountMessages
from mailrelay.storage.keeping import DatabaseAnswers
from mailrelay.storage.keys import DatabaseKeyRecords
from mailrelay.storage.mailbox import DatabaseMailboxes
from mailrelay.storage.stores import Stores
from mailrelay.storage.suppression_records import DatabaseSuppressionRecords
from mailrelay.storage.templates import DatabaseTemplateRecords
from mailrelay.web.intake import Intake
from mailrelay.web.request import Route
from mailrelay.webapi.http import WebAPI
from mailrelay.webapi.messages import Messages
from mailrelay.webapi.methods import methods
from mailrelay.webapi.send import Sender
from mailrelay.webapi.suppressions import Suppressions
from mailrelay.webapi.v1.account import AccountOperations
from mailrelay.webapi.v1.aliases import AliasOperations
from mailrelay.webapi.v1.api import API
from mailrelay.webapi.v1.batch import BatchOperations
from mailrelay.webapi.v1.filling import LetterWriter
from mailrelay.webapi.v1.idempotency import Repeats
from mailrelay.webapi.v1.keys import KeyOperations
from mailrelay.webapi.v1.login import Door, KeyLimits
from mailrelay.webapi.v1.raw import RawOperations
from mailrelay.webapi.v1.sending import SendingOperations
from mailrelay.webapi.v1.suppressions import SuppressionOperations
from mailrelay.webapi.v1.templates import TemplateOperations
from mailrelay.webapi.v1.writing import Desk

UPLOADS_FOLDER = "uploads"
SENT_FLAGS = ("$notjunk", "\\seen")


@frozen
class Doors:
    """How mail and people come in, whoever they come by."""

    acceptance: Acceptance
    authenticator: Authenticator
    directory: Callable[[], Directory]
    over_daily_limit: Callable[[Account, int], Reply | None]
    suppressed: Suppressed
    token: Callable[[], str]
    load_directory: Callable[[], Deferred[Any]]  # what was changed is seen when it fires
    bell: Bell
    committed: Callable[[Sequence[NewEvent]], None]  # told of what was recorded
    reporter: Reporter
    explain: ExplainControl
    configuration: Callable[[], Configuration]  # what the server runs with now
    live: LiveDestinations


def make_intake(s: Surroundings, settings: Settings, token: Callable[[], str]) -> Intake:
    """Where large request bodies are put; cleared of what an earlier process left.

    By node: what others that share the folder receive now is not removed.
    """
    folder = settings.data_dir / UPLOADS_FOLDER / settings.node
    intake = Intake(folder, s.workers, token, settings.http)
    intake.prepare()
    return intake


def suppression_control(s: Surroundings, stores: Stores) -> Callable[[str], SuppressionControl]:
    """The lists' control, for whoever is named in the audit."""
    records = DatabaseSuppressionRecords(stores.database, s.now)
    return lambda actor: SuppressionControl(records, s.now, actor)


def api_routes(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    doors: Doors,
    intake: Intake,
    metrics: Metrics,
) -> Sequence[Route]:
    """Our own API, and what its answers link to."""

    def random() -> bytes:
        return bytes.fromhex(doors.token())

    records = DatabaseKeyRecords(stores.database, s.now)
    sender, one_click = make_sender(s, settings, stores, doors), make_one_click(settings, stores)
    received = received_mail(s, settings, stores, intake)
    keys = KeyControl(records, s.workers, random, s.now, "api")
    lists = suppression_control(s, stores)
    templates = DatabaseTemplateRecords(stores.database, s.now)
    desk = Desk(sender, LetterWriter(TemplateWriter(templates, s.workers)), one_click)
    several = Several(doors.acceptance, partial(deferLater, s.clock, 0.0))
    operations = [
        *AccountOperations(doors.directory).operations(),
        *usage_operations(s, stores),
        *AliasOperations(doors.directory).operations(),
        *hold_operations(s, stores),
        *own_account_operations(
            s,
            stores,
            doors.directory,
            doors.explain.known.used_today,
            random,
            doors.load_directory,
        ),
        *SendingOperations(desk).operations(),
        *RawOperations(sender).operations(),
        *resend_operations(stores, sender),
        *BatchOperations(desk, several).operations(),
        *KeyOperations(keys, doors.load_directory).operations(),
        *history_operations(s, settings, stores, doors.directory, doors.reporter, doors.bell),
        *stream_operations(settings, stores, doors.bell, doors.authenticator.is_still_in, metrics),
        *statistics_operations(s, stores),
        *explain_operations(doors.explain, stores),
        *SuppressionOperations(lists, doors.suppressed).operations(),
        *webhook_operations(s, stores, random, doors.load_directory),
        *received.operations,
        *TemplateOperations(partial(TemplateControl, templates, s.workers)).operations(),
    ]
    door = Door(doors.authenticator, KeyLimits(s.clock.seconds))
    repeats = Repeats(DatabaseAnswers(stores.database, s.now), s.now)
    api = API(operations, door, intake, repeats, metrics.called)
    links = [
        *unsubscribe_routes(s, settings, stores, doors.directory, doors.committed, intake),
        *forward_routes(s, settings, stores, doors.directory),
    ]
    return [*received.routes, *links, *api.routes()]


def make_sender(s: Surroundings, settings: Settings, stores: Stores, doors: Doors) -> Sender:
    """What both APIs send with."""
    mailboxes = DatabaseMailboxes(stores.database, stores.spool, stores.ids)

    def save_sent(account: Account, content: bytes) -> Deferred[int]:
        return mailboxes.add(Imported(account.name, "Sent", content, s.now(), SENT_FLAGS))

    return Sender(
        hostname=settings.hostname,
        user_agent=f"mailrelay/{mailrelay.__version__}",
        directory=doors.directory,
        acceptance=doors.acceptance,
        open_spool=stores.spool.open,
        over_daily_limit=doors.over_daily_limit,
        save_sent=save_sent,
        executor=s.workers,
        now=s.now,
        token=doors.token,
        max_message_bytes=settings.limits.message_bytes,
        max_recipients=settings.limits.recipients,
    )


def make_webapi(
    s: Surroundings,
    settings: Settings,
    stores: Stores,
    doors: Doors,
    intake: Intake,
    metrics: Metrics,
) -> WebAPI:
    """mox's webapi."""
    sender = make_sender(s, settings, stores, doors)
    suppressions = Suppressions(suppression_control(s, stores), doors.suppressed, s.now)
    messages = Messages(DatabaseAccountMessages(stores.database, stores.spool), s.workers)
    return WebAPI(
        methods(sender, suppressions, messages),
        doors.authenticator,
        intake,
        settings.limits.message_bytes,
        metrics.called,
    )
