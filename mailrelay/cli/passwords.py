"""Passwords from a file, from standard input, or asked for; never from the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mailrelay.cli.output import fail


def read_password(file: Path | None, prompt: str) -> str:
    """The password in the first line of ``file``, or what the person types twice."""
    if file is None:
        if not sys.stdin.isatty():
            fail("no password: give --password-file FILE, or --password-file - for standard input")
        typed: str = click.prompt(prompt, hide_input=True, confirmation_prompt=True)
        return typed
    return read_secret(file, "password")


def read_secret(file: Path, what: str) -> str:
    """What the first line of ``file`` is; ``-`` is standard input."""
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} cannot be read: {error}")
    secret = text.split("\n", 1)[0].rstrip("\r")
    if not secret:
        fail(f"{file} has no {what} in its first line")
    return secret
