"""Giving root up, for good."""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38


class CannotDropPrivileges(Exception):
    """The process would keep rights it must not have; the message says what to do."""


def refuse_root(run_as: str, *, allow_root: bool) -> None:
    """Raises: CannotDropPrivileges when the server would stay root without being asked to."""
    if os.geteuid() == 0 and not run_as and not allow_root:
        raise CannotDropPrivileges(
            "refusing to run as root: set run_as to a user of its own (ports are bound before),"
            " or allow_root = true if you must"
        )


def user_id(user: str) -> int | None:
    """The id of ``user``, None when there is none of that name."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def drop_privileges(user: str, data_dir: Path) -> None:
    """Become ``user`` with its own group and no other, and never anything else again.

    ``data_dir`` and what lies in it directly is given to the user first.  Does nothing when
    the process is that user already.

    Raises: CannotDropPrivileges.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise CannotDropPrivileges(
            f"run_as: no user {user}: make it with useradd --system {user}"
        ) from None
    if os.geteuid() == entry.pw_uid:
        return
    if os.geteuid() != 0:
        raise CannotDropPrivileges(f"run_as {user} needs a start as root, or as {user}")
    give_away(data_dir, entry.pw_uid, entry.pw_gid)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        os.setuid(0)
    except PermissionError:
        check_code_is_readable(user)
        return
    raise CannotDropPrivileges(f"root could be regained after becoming {user}")


def check_code_is_readable(user: str) -> None:
    """Python loads modules when they are first used, which is also after the change of user.

    Raises: CannotDropPrivileges when the effective user cannot read them.
    """
    for file in (os.__file__, __file__):
        if not os.access(file, os.R_OK, effective_ids=True):
            raise CannotDropPrivileges(
                f"{user} cannot read {file}: install Python and mailrelay where it can"
            )


def act_as(uid: int, gid: int) -> None:
    """As root, have the rights of another user: its group, and no group of root's."""
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """As root, be another user for a while; others are themselves all the time."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    act_as(uid, gid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(os.getgid())
        os.setgroups(groups)


def give_away(data_dir: Path, uid: int, gid: int) -> None:
    """Give ``data_dir``, its files and its spool to the user that will write them."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (data_dir, *data_dir.iterdir()):
        status = path.lstat()
        # The user may have put a link to somebody else's file here, to be given that.
        if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
            os.chown(path, uid, gid, follow_symlinks=False)
