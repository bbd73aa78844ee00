"""``mailrelay message``: what lies in local mailboxes."""

from __future__ import annotations

import mailbox
import sys
from collections.abc import Iterator, Sequence
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import click

from mailrelay.cli.output import fail, moment, print_json, print_rows
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.mailbox import Imported, MessageFilter
from mailrelay.mailbox.formats import maildir_name, mbox_entry, unquoted
from mailrelay.mailbox.model import INBOX, MailboxMessage
from mailrelay.smtp.content import canonical

COLUMNS = ("id", "account", "mailbox", "from", "to", "subject", "received", "size", "flags")
PAGE = 500


@click.group()
def message() -> None:
    """Messages in local mailboxes."""


def _filter_options(command: Any) -> Any:
    command = click.option("--mailbox", "mailbox_", help="Only in this mailbox.")(command)
    return click.option("--account", help="Only this account's.")(command)


@message.command("list")
@target_options
@_filter_options
@click.option("--limit", default=1000, show_default=True)
@click.option("--after", "after_id", default=0, help="Only ids above this one: the next page.")
@click.option("--json", "as_json", is_flag=True)
def list_messages(
    settings: Settings,
    account: str | None,
    mailbox_: str | None,
    limit: int,
    after_id: int,
    as_json: bool,
) -> None:
    """List messages."""
    wanted = MessageFilter(account, mailbox_, None, limit, after_id)
    with opened(settings) as control:
        found = settled(control.messages.find(wanted))
    rows = [_row(name, one) for name, one in found]
    print_rows(rows, COLUMNS, "No messages.", as_json=as_json)


def _row(account: str, one: MailboxMessage) -> dict[str, object]:
    return {
        "id": one.id,
        "account": account,
        "mailbox": one.mailbox,
        "uid": one.uid,
        "from": one.reverse_path or "<>",
        "to": one.recipient,
        "subject": one.subject,
        "received": moment(one.received_at),
        "size": one.size_bytes,
        "flags": list(one.flags),
    }


@message.command()
@target_options
@click.argument("id_", metavar="ID", type=int)
@click.option("--raw", is_flag=True, help="The bytes as they are stored.")
@click.option("--json", "as_json", is_flag=True)
def show(settings: Settings, id_: int, raw: bool, as_json: bool) -> None:
    """Show a message: its header and its text, or all of it as stored."""
    if raw and as_json:
        fail("choose one of --raw and --json")
    with opened(settings) as control:
        content = settled(control.messages.content(id_))
    if raw:
        sys.stdout.buffer.write(content)
        return
    read = _read(id_, content)
    if as_json:
        print_json(read)
        return
    for name, value in read["header"]:
        click.echo(f"{name}: {_printable(value)}")
    text = "(no text)" if read["text"] is None else read["text"]
    click.echo("\n" + "\n".join(_printable(line) for line in text.splitlines()))
    for attachment in read["attachments"]:
        click.echo(f"[attachment: {_printable(attachment)}]")


def _read(id_: int, content: bytes) -> dict[str, Any]:
    """What people want to see of a message."""
    parsed = message_from_bytes(content, policy=policy.default)
    body = parsed.get_body(("plain", "html"))
    return {
        "id": id_,
        "size": len(content),
        "header": [[name, str(v)] for name in _SHOWN_FIELDS for v in parsed.get_all(name, [])],
        "text": str(body.get_content()) if body is not None else None,
        "attachments": [
            p.get_filename() or p.get_content_type() for p in parsed.iter_attachments()
        ],
    }


_SHOWN_FIELDS = ("From", "To", "Cc", "Subject", "Date", "Message-ID")


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in line)


@message.command()
@target_options
@_filter_options
@click.argument("ids", nargs=-1, type=int)
@click.option("--mbox", type=click.Path(path_type=Path), help="Append to this mbox file.")
@click.option("--maildir", type=click.Path(path_type=Path), help="Put into this Maildir.")
def export(
    settings: Settings,
    account: str | None,
    mailbox_: str | None,
    ids: Sequence[int],
    mbox: Path | None,
    maildir: Path | None,
) -> None:
    """Export messages to an mbox file or a Maildir; to standard output as mbox otherwise."""
    if mbox and maildir:
        fail("choose one of --mbox and --maildir")
    count = 0
    with opened(settings) as control:
        for one, content in _contents(control, MessageFilter(account, mailbox_, list(ids) or None)):
            _write_one(one, content, mbox, maildir)
            count += 1
    click.echo(f"{count} {'message' if count == 1 else 'messages'} exported.", err=True)


def _contents(control: Any, wanted: MessageFilter) -> Iterator[tuple[MailboxMessage, bytes]]:
    after = 0
    while True:
        page = MessageFilter(wanted.account, wanted.mailbox, wanted.ids, PAGE, after)
        found = settled(control.messages.find(page))
        if not found:
            return
        for _, one in found:
            yield one, settled(control.messages.content(one.id))
        after = found[-1][1].id


def _write_one(
    one: MailboxMessage, content: bytes, mbox: Path | None, maildir: Path | None
) -> None:
    if maildir is not None:
        for folder in ("cur", "new", "tmp"):
            (maildir / folder).mkdir(parents=True, exist_ok=True)
        name = maildir_name(one)
        (maildir / "tmp" / name).write_bytes(content.replace(b"\r\n", b"\n"))
        (maildir / "tmp" / name).rename(maildir / "cur" / name)
    elif mbox is not None:
        with mbox.open("ab") as file:
            file.write(mbox_entry(one, content))
    else:
        sys.stdout.buffer.write(mbox_entry(one, content))


@message.command("import")
@target_options
@click.argument("account")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--mailbox", "mailbox_", default=INBOX, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def import_messages(
    settings: Settings, account: str, source: Path, mailbox_: str, as_json: bool
) -> None:
    """Import an mbox file, a Maildir, or a single message file into an account's mailbox."""
    count = 0
    with opened(settings) as control:
        for content, received_at, flags in _read_source(source, control.messages.now()):
            new = Imported(account, mailbox_, content, received_at, flags)
            settled(control.messages.add(new))
            count += 1
    if as_json:
        print_json({"imported": count})
    else:
        click.echo(f"{count} {'message' if count == 1 else 'messages'} imported.")


def _read_source(source: Path, now: float) -> Iterator[tuple[bytes, float, Sequence[str]]]:
    """Content, time and flags of each message in ``source``."""
    if source.is_dir():
        box: mailbox.Mailbox[Any] = mailbox.Maildir(source, create=False)
    elif source.open("rb").read(5) == b"From ":
        box = mailbox.mbox(source, create=False)
    else:
        content = canonical(source.read_bytes())
        yield content, _date_of(content, now), ()
        return
    for key in box.iterkeys():
        content = box.get_bytes(key)
        if isinstance(box, mailbox.mbox):
            content = unquoted(content)
        content = canonical(content)
        marks = getattr(box.get_message(key), "get_flags", lambda: "")()
        flags = [flag for mark, flag in _FLAGS.items() if mark in marks]
        yield content, _date_of(content, now), flags


_FLAGS = {"S": "\\seen", "R": "\\answered", "F": "\\flagged", "T": "\\deleted", "D": "\\draft"}


def _date_of(content: bytes, now: float) -> float:
    parsed = message_from_bytes(content, policy=policy.compat32)
    try:
        return parsedate_to_datetime(str(parsed["Date"])).timestamp()
    except (TypeError, ValueError, OverflowError):
        return now
