"""The short private folder of a server's socket; the same one from start to start if it can be.

Short, because a socket's path has at most 107 bytes (sun_path in sys/un.h) and a checkout's may
be longer; the same, because the URL names it and other programs keep the URL.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from chatsync.dev.postgres.account import Account, can_enter
from chatsync.dev.postgres.postmaster import is_postgres
from chatsync.dev.state import write_private
from chatsync.errors import ConfigError

PORT = 5432  # only a part of the socket's name; given explicitly, or PGPORT would change it
SOCKET_NAME = f".s.PGSQL.{PORT}"
SOCKET_PATH_BYTES = 107
FOLDER_FILE = "socket"
PREFIX = "chatsync-"


def make_socket_folder(data_dir: Path, account: Account) -> Path:
    """Make the folder for the account alone, at its last path unless that one is taken."""
    folder = _recorded(data_dir)
    if folder is None or not _is_remade(folder, account):
        folder = _new_folder(account)
        write_private(data_dir / FOLDER_FILE, f"{folder}\n")
    return folder


def remove_socket_folder(data_dir: Path, account: Account) -> None:
    """Remove what a server that has ended left behind."""
    folder = _recorded(data_dir)
    if folder is not None and os.path.lexists(folder) and _is_ours(folder, account):
        shutil.rmtree(folder, ignore_errors=True)


def _recorded(data_dir: Path) -> Path | None:
    record = data_dir / FOLDER_FILE
    return Path(record.read_text(encoding="utf-8").rstrip("\n")) if record.exists() else None


def _is_remade(folder: Path, account: Account) -> bool:
    try:
        if os.path.lexists(folder):
            if not _is_ours(folder, account):
                return False
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.gid)
    except OSError:
        return False
    return True


def _is_ours(folder: Path, account: Account) -> bool:
    found = folder.lstat()
    is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    return is_private and found.st_uid == account.uid and not _is_served(folder)


def _is_served(folder: Path) -> bool:
    """Tell whether a postgres holds the socket: one of a copied data folder, as ours has ended."""
    try:
        holder = (folder / f"{SOCKET_NAME}.lock").read_text().split("\n", 1)[0]
    except FileNotFoundError:
        return False
    return holder.isdecimal() and is_postgres(int(holder))


def _new_folder(account: Account) -> Path:
    room = SOCKET_PATH_BYTES - len(f"/{PREFIX}12345678/{SOCKET_NAME}")
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108  # mkdtemp makes it safe
        if len(os.fsencode(base)) > room or not can_enter(account, Path(base)):
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        except OSError:
            continue
        os.chown(folder, account.uid, account.gid)
        return folder
    raise ConfigError("There is no temporary folder that the database's socket can be made in.")
