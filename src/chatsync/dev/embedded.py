"""An embedded PostgreSQL for one machine: started, restarted and stopped with its owner's life.

Owns the data folder's lock, the server process and its socket; listens on no TCP port. Leaves
nothing running: not after an exit, and after kill -9 no longer than until the next start.
"""

import atexit
import fcntl
import os
import shutil
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

from chatsync.dev.postgres import postmaster
from chatsync.dev.postgres.account import child_environment, choose, launched
from chatsync.dev.postgres.cluster import (
    ROLE,
    Cluster,
    folder_of,
    locate,
    password_file,
    prepare,
    remove,
    telling_line,
)
from chatsync.dev.postgres.socket_folder import PORT, make_socket_folder, remove_socket_folder
from chatsync.errors import ConfigError

START_SECONDS = 60.0  # 0.2 s here; the rest is for the recovery after a crash
LOG_BYTES = 10 * 1024 * 1024  # then the log starts anew; one older file is kept
LOG_FILE = "postgres.log"

_DEFAULTS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
}


class EmbeddedPostgres:
    """A server on `data_dir`, for one process at a time; a context manager.

    `bin_dir` names another PostgreSQL's programs; `settings` go before the defaults.
    Raises ConfigError, in one sentence, for whatever keeps the server from starting.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] = {},
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._bin_dir = bin_dir
        self._settings = _DEFAULTS | dict(settings)
        self._owner = os.getpid()
        self._lock: int | None = None
        self._cluster: Cluster | None = None
        self._sockets: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The connection URL of the role chatsync; the same from one start to the next."""
        if self._sockets is None:
            raise RuntimeError("the embedded PostgreSQL was not started")
        password = password_file(self._data_dir, ROLE).read_text(encoding="utf-8")
        host = quote(os.fsencode(self._sockets), safe="")
        return f"postgresql://{ROLE}:{password}@/{ROLE}?host={host}&port={PORT}"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._process is None:
            raise RuntimeError("the embedded PostgreSQL is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, ending what a killed owner left behind; returns when connections are accepted.

        Call it from the main thread: the kernel ends the server with the thread that started it,
        so from another thread it is started without that safeguard.
        """
        if self._process is not None:
            return
        atexit.register(self.stop)
        try:
            with _explained(self._data_dir):
                _make_data_dir(self._data_dir)
                self._lock = _lock(self._data_dir)
                self._cluster = locate(self._data_dir, self._bin_dir)
                postmaster.end(self._cluster.folder)
                prepare(self._cluster)
                self._launch(self._cluster)
        except BaseException:
            self.stop()
            raise

    def restart(self, *, immediate: bool = False) -> None:
        """Stop and start under the same URL; `immediate` skips the checkpoint, as a crash does."""
        if self._cluster is None:
            raise RuntimeError("the embedded PostgreSQL was not started")
        self._end(immediate=immediate)
        with _explained(self._data_dir):
            self._launch(self._cluster)

    def stop(self) -> None:
        """Stop the server and remove its socket; does nothing when there is nothing to stop."""
        if os.getpid() != self._owner:  # a forked child inherits this object and its atexit hook
            return
        self._end()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
        self._lock = self._cluster = None
        atexit.unregister(self.stop)

    def remove(self) -> None:
        """Stop the server and delete its data, which for root may lie outside the data folder."""
        self.stop()
        if not self._data_dir.exists():
            return
        with _explained(self._data_dir):
            lock = _lock(self._data_dir)
            try:
                folder = folder_of(self._data_dir)
                postmaster.end(folder, immediate=True)
                remove_socket_folder(self._data_dir, choose(folder))
                remove(self._data_dir)
            finally:
                os.close(lock)

    def _launch(self, cluster: Cluster) -> None:
        self._sockets = make_socket_folder(self._data_dir, cluster.account)
        settings = self._settings | {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": f'"{self._sockets}"',
            # The folder is closed to all but the server's user and root, who may do anything.
            "unix_socket_permissions": "0700",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [cluster.binaries.postgres, "-D", str(cluster.folder), *options]
        with _open_log(self._data_dir) as log:
            said_before = log.tell()
            self._process = subprocess.Popen(
                launched(command, cluster.account),
                cwd="/",  # PostgreSQL stops when it cannot look up the folder that it starts in
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the owner alone
            )
        self._await_readiness(cluster.folder, self._process, said_before)

    def _await_readiness(
        self, folder: Path, process: subprocess.Popen[bytes], said_before: int
    ) -> None:
        def has_decided() -> bool:
            return process.poll() is not None or postmaster.is_ready(folder, process.pid)

        has_answered = postmaster.wait_until(has_decided, START_SECONDS)
        if has_answered and process.poll() is None:
            return
        with (self._data_dir / LOG_FILE).open("rb") as log:
            log.seek(said_before)
            said = log.read().decode(errors="replace")
        raise ConfigError(f"PostgreSQL does not start in {self._data_dir}: {telling_line(said)}")

    def _end(self, *, immediate: bool = False) -> None:
        if self._process is None:
            return
        if self._cluster is not None:
            postmaster.end(self._cluster.folder, immediate=immediate)
        if self._process.poll() is None:  # it has not yet become a postgres
            self._process.kill()
        self._process.wait()
        self._process = None


@contextmanager
def _explained(data_dir: Path) -> Generator[None]:
    try:
        yield
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"PostgreSQL took over {error.timeout:.0f} s to set up {data_dir}."
        ) from error
    except OSError as error:
        where = error.filename or data_dir
        raise ConfigError(
            f"The data folder {data_dir} cannot be used: {error.strerror} ({where})."
        ) from error


def _make_data_dir(data_dir: Path) -> None:
    if not data_dir.is_dir():
        data_dir.mkdir(parents=True)
        # Root's server runs as another user, who has to pass through; all files in it are private.
        data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _lock(data_dir: Path) -> int:
    """Lock the folder for the life of this process: the kernel lets go of it on any end."""
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode("ascii").strip() or "unknown"
        os.close(descriptor)
        raise ConfigError(
            f"The data folder {data_dir} is already in use by process {holder}:"
            " stop that one, or choose another folder with CHATSYNC_DATA_DIR."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _open_log(data_dir: Path) -> BinaryIO:
    path = data_dir / LOG_FILE
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(data_dir / f"{LOG_FILE}.1")
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
