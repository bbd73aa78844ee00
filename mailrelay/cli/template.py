"""``mailrelay template``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
import msgspec
from attrs import evolve

from mailrelay.cli.directory import json_option
from mailrelay.cli.output import fail, moment, print_json, print_properties, print_rows, printable
from mailrelay.cli.target import opened, settled, target_options
from mailrelay.config.settings import Settings
from mailrelay.control.templates import StoredTemplate, TemplateFilter, UnusableTemplate
from mailrelay.templates.model import PARTS, Source
from mailrelay.templates.variables import Variables

account_option = click.option("--account", required=True, help="Whose template.")
version_option = click.option("--version", type=int, help="Not the newest.")


def part_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the parts of a template: ``subject``, and files of ``text`` and ``html``."""
    a_file = click.Path(path_type=Path, dir_okay=False, exists=True)
    for option in (
        click.option("--html", type=a_file, metavar="FILE", help="The HTML; empty for none."),
        click.option("--text", type=a_file, metavar="FILE", help="The text; empty for none."),
        click.option("--subject", help="One line."),
    ):
        command = option(command)
    return command


@click.group()
def template() -> None:
    """What applications write messages with."""


@template.command("list")
@target_options
@account_option
@json_option
def list_templates(settings: Settings, account: str, as_json: bool) -> None:
    """List the templates of an account."""
    rows: list[dict[str, object]] = []
    with opened(settings) as control:
        page = TemplateFilter(account)
        while found := settled(control.templates.find(page)):
            rows += [
                {"id": t.id, "name": t.name, "version": t.version, "created": moment(t.created_at)}
                for t in found
            ]
            page = TemplateFilter(account, after_id=found[-1].id)
    print_rows(rows, ("id", "name", "version", "created"), "No templates.", as_json=as_json)


@template.command("show")
@target_options
@account_option
@click.argument("name")
@version_option
@json_option
def show_template(
    settings: Settings, account: str, name: str, version: int | None, as_json: bool
) -> None:
    """Show what a template says, and which versions there are."""
    with opened(settings) as control:
        found = settled(control.templates.get(account, name, version))
        kept = settled(control.templates.versions(account, found.template.id))
    row = {**_row(found), "versions": [one.version for one in kept]}
    if as_json:
        print_json({**row, **_parts(found.version.source)})
        return
    print_properties(row)
    _print_parts(_parts(found.version.source))


@template.command("add")
@target_options
@account_option
@click.argument("name")
@part_options
@json_option
def add_template(
    settings: Settings,
    account: str,
    name: str,
    subject: str | None,
    text: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Store a template."""
    source = Source(subject or "", _read(text), _read(html))
    with opened(settings) as control, _told_with({"text": text, "html": html}):
        made = settled(control.templates.add(account, name, source))
    _print_changed(made, as_json=as_json)


@template.command("set")
@target_options
@account_option
@click.argument("name")
@part_options
@click.option("--rename", metavar="NAME", help="Call it this from now on.")
@json_option
def set_template(
    settings: Settings,
    account: str,
    name: str,
    subject: str | None,
    text: Path | None,
    html: Path | None,
    rename: str | None,
    as_json: bool,
) -> None:
    """Make a new version of a template.  What is not given stays."""
    # Before the command acts as the owner of the store, who may not read them.
    new = {part: _read(file) for part, file in (("text", text), ("html", html)) if file}
    if subject is not None:
        new["subject"] = subject
    with opened(settings) as control, _told_with({"text": text, "html": html}):
        found = settled(control.templates.get(account, name))
        source = evolve(found.version.source, **new)
        new_name = name if rename is None else rename
        changed = settled(control.templates.change(account, found.template.id, new_name, source))
    _print_changed(changed, as_json=as_json)


@template.command("remove")
@target_options
@account_option
@click.argument("name")
def remove_template(settings: Settings, account: str, name: str) -> None:
    """Remove a template with all versions."""
    with opened(settings) as control:
        found = settled(control.templates.get(account, name))
        settled(control.templates.remove(account, found.template.id))
    click.echo(f"Template {name} of {account} is removed.")


@template.command("preview")
@target_options
@account_option
@click.argument("name")
@version_option
@click.option(
    "--variables",
    type=click.File("rb"),
    metavar="FILE",
    help="A JSON object; - for standard input.",
)
@json_option
def preview_template(
    settings: Settings,
    account: str,
    name: str,
    version: int | None,
    variables: IO[bytes] | None,
    as_json: bool,
) -> None:
    """Show the message that a template makes."""
    given = {} if variables is None else _variables(variables)
    with opened(settings) as control, _told_with({}):
        found = settled(control.templates.get(account, name, version))
        made = settled(control.templates.preview(found.version.source, given))
    parts = {part: getattr(made, part) for part in PARTS}
    if as_json:
        print_json(parts)
    else:
        _print_parts(parts)


def _read(path: Path | None) -> str:
    """A file's text.  Ends the command when it is none."""
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        fail(f"{path} is not UTF-8: byte {error.start} cannot be read")
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")


def _variables(file: IO[bytes]) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(file.read(), type=Variables)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        fail(f"{file.name}: {error}")


@contextmanager
def _told_with(files: Mapping[str, Path | None]) -> Iterator[None]:
    """End the command, when a template cannot be, with the file that is at fault."""
    try:
        yield
    except UnusableTemplate as error:
        place = files.get(error.field) or error.field
        fail(f"{place}: {error}")


def _row(stored: StoredTemplate) -> dict[str, object]:
    return {
        "id": stored.template.id,
        "name": stored.template.name,
        "version": stored.version.version,
        "created": moment(stored.template.created_at),
        "changed": moment(stored.version.created_at),
    }


def _parts(source: Source) -> dict[str, str]:
    return {part: getattr(source, part) for part in PARTS}


def _print_parts(parts: Mapping[str, str]) -> None:
    """Each part that is there, below a line with its name."""
    for name, text in parts.items():
        if text:
            click.echo(f"--- {name}")
            click.echo("\n".join(printable(line) for line in text.rstrip("\n").split("\n")))


def _print_changed(stored: StoredTemplate, *, as_json: bool) -> None:
    if as_json:
        print_json({**_row(stored), **_parts(stored.version.source)})
    else:
        click.echo(f"Template {stored.template.name} is of version {stored.version.version} now.")
