"""Who runs the embedded PostgreSQL, which refuses to run as root, and where that user can reach.

Changes the permissions of no folder that chatsync did not make.
"""

import os
import pwd
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chatsync.errors import ConfigError

# For what the unprivileged user must reach while everything of root's own is closed to it.
# Neither is emptied by a restart of the machine.
MACHINE_FOLDERS = (Path("/var/lib/chatsync"), Path("/var/tmp/chatsync"))  # noqa: S108  # its owner is checked
UNPRIVILEGED_USERS = ("postgres", "nobody")
RUN_SECONDS = 120.0  # initdb takes 0.6 s here; a slow disk may take a hundred times that

_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        return self.uid != os.geteuid()


def choose(cluster: Path) -> Account:
    """Take the present user; as root the owner of the cluster, else an unprivileged user."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if cluster.exists():
        owner = cluster.stat()
        return Account(owner.st_uid, owner.st_gid)
    for name in UNPRIVILEGED_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigError(
        "PostgreSQL refuses to run as root, and here is neither a user postgres nor nobody:"
        " run chatsync as another user."
    )


def can_enter(account: Account, folder: Path) -> bool:
    """Try it as that user: permission bits alone do not tell of access lists and mounts."""
    if not account.is_other:
        return os.access(folder, os.X_OK)
    attempt = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]
    return run(attempt, account).returncode == 0


def machine_folder() -> Path:
    """Make or find root's folder for what must lie outside a closed data folder."""
    for folder in MACHINE_FOLDERS:
        try:
            folder.mkdir(mode=0o711, exist_ok=True)
            found = folder.lstat()
            # In /var/tmp anybody may have been there first, with a link or a folder of their own.
            if stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022:
                folder.chmod(0o711)
                return folder
        except OSError:
            continue
    raise ConfigError(
        f"An unprivileged PostgreSQL cannot reach the data folder, and neither {MACHINE_FOLDERS[0]}"
        f" nor {MACHINE_FOLDERS[1]} can be made: choose an open folder with CHATSYNC_DATA_DIR."
    )


def run(
    command: Sequence[str], account: Account, *, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a short program as that user and collect what it says."""
    return subprocess.run(
        launched(command, account),
        cwd="/",
        env=child_environment(),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=RUN_SECONDS,
        start_new_session=True,
        check=False,
    )


def launched(command: Sequence[str], account: Account) -> list[str]:
    """Wrap a command so that it runs as that user and does not outlive this process."""
    # The kernel watches the thread that forked, not the process: a worker thread that ends would
    # take the server along.
    is_tied = threading.current_thread() is threading.main_thread()
    parent = os.getpid() if is_tied else 0
    isolated = [sys.executable, "-I", "-S", str(_LAUNCHER)]
    return [*isolated, str(account.uid), str(account.gid), str(parent), *command]


def child_environment() -> dict[str, str]:
    """Leave out what would change PostgreSQL's language, defaults or behaviour."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "LC_", "LANG", "PYTHON"))
    }
    return kept | {"LC_ALL": "C"}
