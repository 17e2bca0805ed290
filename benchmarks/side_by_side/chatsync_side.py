"""chatsync as its users run it: `chatsync serve` and `chatsync work`, set by the environment."""

import http.client
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from chatsync.dev.postgres.cluster import ROLE, SUPERUSER, password_file
from side_by_side import postgres, processes
from side_by_side.deliveries import ACCOUNT_ID, APP_SECRET, PHONE_NUMBER_IDS, TENANT
from side_by_side.processes import Child
from side_by_side.side import Side
from side_by_side.subscribers import Dialect, text_frame, upgrade

_CHATSYNC = (sys.executable, "-m", "chatsync")
_JWT_SECRET = "the-benchmark-signs-its-tokens-with-this"


@contextmanager
def opened(folder: Path) -> Generator[Side]:
    """A gateway process, a worker process, PostgreSQL."""
    with processes.ending() as stack:
        yield _ChatsyncSide(folder, stack)


class _ChatsyncSide:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._gateway: Child | None = None
        self._worker: Child | None = None
        self._postgres = postgres.started(folder, stack)
        self.port = processes.free_port()
        self._environment = {
            "CHATSYNC_DATABASE_URL": self._postgres.url,
            "CHATSYNC_JWT_SECRET": _JWT_SECRET,
            "CHATSYNC_PORT": str(self.port),
        }
        self._token = self._set_up()
        self._database = postgres.connected(self._postgres.url, stack)
        # The owner of the database may read everything only in a role that row security lets pass.
        self._database.execute("set role chatsync_worker")

    def start(self, *, with_worker: bool) -> None:
        self._gateway = self._start("serve")
        if with_worker:
            self.resume()
        self._gateway.await_that(self._is_ready)

    def resume(self) -> None:
        self._worker = self._start("work")

    def pause(self) -> None:
        assert self._worker is not None
        self._worker.stop()
        self._worker = None

    def analyze(self) -> None:
        with psycopg.connect(self._superuser_url, autocommit=True) as connection:
            connection.execute("analyze")

    def roots(self) -> Mapping[str, int]:
        roots = {"postgres": self._postgres.pid}
        for name, child in (("serve", self._gateway), ("work", self._worker)):
            if child is not None:
                roots[name] = child.pid
        return roots

    def dialect(self) -> Dialect:
        return Dialect(
            upgrade=upgrade("/ws", f"Authorization: Bearer {self._token}"),
            hello=text_frame('{"type":"connect"}'),
            confirmed=b'"type":"connected"',
            ping=b'"type":"ping"',
            pong=text_frame('{"type":"pong"}'),
        )

    def facts(self) -> Mapping[str, str]:
        return postgres.facts(self._database)

    def queued(self) -> int:
        return self._number("select count(*) from chatsync.message_queue")

    def stored(self) -> int:
        return self._number("select coalesce(max(message_id), 0) from chatsync.messages")

    def finished(self) -> int:
        return self._number("select count(*) from chatsync.event_log where type = 'message:new'")

    def first_stored_at(self, after: int) -> float:
        first = "select extract(epoch from min(created_at)) from chatsync.messages"
        return float(self._number(f"{first} where message_id > {after}"))

    @property
    def _superuser_url(self) -> str:
        """The tables belong to a role without login."""
        data = self._folder / "data"
        ours, theirs = (
            f"{role}:{password_file(data, role).read_text(encoding='utf-8')}@"
            for role in (ROLE, SUPERUSER)
        )
        return self._postgres.url.replace(ours, theirs)

    def _set_up(self) -> str:
        """Make a tenant with its inboxes; returns an agent's token."""
        self._chatsync("migrate")
        self._chatsync("tenant", "create", TENANT)
        owner = ("--tenant", TENANT, "--provider", "whatsapp_cloud")
        for phone_number_id in PHONE_NUMBER_IDS:
            ids = ("--external-id", phone_number_id, "--account-id", ACCOUNT_ID)
            self._chatsync("inbox", "create", *owner, *ids, "--app-secret", APP_SECRET)
        return self._chatsync("token", "--tenant", TENANT, "--user", "agent-1")

    def _start(self, command: str) -> Child:
        child = processes.start(command, [*_CHATSYNC, command], self._folder, self._environment)
        self._stack.callback(child.stop)
        return child

    def _chatsync(self, *arguments: str) -> str:
        return processes.run([*_CHATSYNC, *arguments], self._environment)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _number(self, query: str) -> int:
        return postgres.number(self._database, query)
