"""The servers that are compared: how each is started, subscribed to and told to publish."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from side_by_side import postgres, processes
from side_by_side.needs import PEER
from side_by_side.processes import BenchmarkError, Child
from side_by_side.subscribers import Dialect, text_frame, upgrade

_HERE = Path(__file__).parent
_SECRET = "the-benchmark-signs-its-tokens-with-this"
# What this process imports from, its children do, too: a checkout need not be installed.
_PATH = ":".join(sys.path)
TENANT = "fanout"
TEXT_BYTES = 200
# All sockets of a benchmark are one user's, of one address, and come at once.
_MANY = {
    "CHATSYNC_SESSIONS_PER_USER": "100000",
    "CHATSYNC_MAX_SESSIONS": "100000",
    "CHATSYNC_SESSIONS_PER_TENANT": "100000",
    "CHATSYNC_SESSIONS_PER_ADDRESS": "100000",
}


@dataclass(slots=True)
class Side:
    """A server with its sockets' owner, and how it publishes `count` events at once."""

    port: int
    pid: int
    dialect: Dialect
    publish: Callable[[int], None]
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


def text() -> str:
    """What an event says: 200 bytes, with the moment at which it is published."""
    return f"at={time.monotonic_ns()} ".ljust(TEXT_BYTES, "x")


@contextmanager
def chatsync(folder: Path) -> Iterator[Side]:
    """`chatsync serve`, one process, with the embedded PostgreSQL."""
    with processes.ending() as stack:
        url = postgres.started(folder, stack).url
        port = processes.free_port()
        environment = {
            "CHATSYNC_DATABASE_URL": url,
            "CHATSYNC_JWT_SECRET": _SECRET,
            "CHATSYNC_PORT": str(port),
            "PYTHONPATH": _PATH,
            **_MANY,
        }
        command = (sys.executable, "-m", "chatsync")
        processes.run([*command, "migrate"], environment)
        processes.run([*command, "tenant", "create", TENANT], environment)
        asked = (*command, "token", "--tenant", TENANT, "--user", "agent-1")
        token = processes.run(asked, environment)
        child = processes.start("serve", [*command, "serve"], folder, environment)
        stack.callback(child.stop)
        child.await_that(lambda: _says_ok(port, "/readyz"))
        database = postgres.connected(url, stack)
        database.execute("set role chatsync_worker")
        dialect = Dialect(
            upgrade=upgrade("/ws", f"Authorization: Bearer {token}"),
            hello=text_frame('{"type":"connect","topics":["tenant"]}'),
            confirmed=b'"type":"connected"',
            ping=b'"type":"ping"',
            pong=text_frame('{"type":"pong"}'),
        )
        yield Side(port, child.pid, dialect, _in_database(database), postgres.facts(database))


@contextmanager
def socketio(folder: Path) -> Iterator[Side]:
    """Socket.IO in node, with its defaults."""
    with processes.ending() as stack:
        port = processes.free_port()
        program = PEER / "fanout.mjs"
        # Modules are looked for beside the program, which is not where npm put them.
        shutil.copyfile(_HERE / "socketio.mjs", program)
        stack.callback(program.unlink)
        environment = {"PORT": str(port), "NODE_ENV": "production"}
        command = ["node", str(program)]
        child = processes.start("node", command, folder, environment, talks=True)
        stack.callback(child.stop)
        child.await_that(lambda: processes.answers(port))
        dialect = Dialect(
            upgrade=upgrade("/socket.io/?EIO=4&transport=websocket"),
            hello=text_frame("40"),
            confirmed=b'40{"sid"',
            ping=b"\x81\x012",
            pong=text_frame("3"),
        )
        yield Side(port, child.pid, dialect, _by_line(child))


@contextmanager
def nchan(folder: Path) -> Iterator[Side]:
    """nginx with the module Nchan, one worker, messages in memory."""
    with processes.ending() as stack:
        port = processes.free_port()
        configuration = folder / "nginx.conf"
        configuration.write_text(_NGINX.format(port=port, folder=folder))
        command = ["nginx", "-c", str(configuration), "-e", str(folder / "nginx-error.log")]
        child = processes.start("nginx", command, folder)
        stack.callback(child.stop)
        child.await_that(lambda: processes.answers(port))
        dialect = Dialect(
            upgrade=upgrade("/subscribe"), hello=b"", confirmed=b"\r\n\r\n", ping=b"", pong=b""
        )
        posts = HTTPConnection("127.0.0.1", port)
        stack.callback(posts.close)
        yield Side(port, child.pid, dialect, lambda count: _post(posts, count))


@contextmanager
def floor(folder: Path) -> Iterator[Side]:
    """An encoded frame written to the transports of uvicorn, and nothing else."""
    with processes.ending() as stack:
        port = processes.free_port()
        environment = {"PYTHONPATH": _PATH}
        command = [sys.executable, str(_HERE / "floor.py"), str(port)]
        child = processes.start("floor", command, folder, environment, talks=True)
        stack.callback(child.stop)
        child.await_that(lambda: processes.answers(port))
        dialect = Dialect(
            upgrade=upgrade("/"), hello=text_frame("hi"), confirmed=b"welcome", ping=b"", pong=b""
        )
        yield Side(port, child.pid, dialect, _by_line(child))


OPENERS = {"chatsync": chatsync, "socketio": socketio, "nchan": nchan, "floor": floor}


def versions() -> Mapping[str, str]:
    """What is installed of the others."""
    lock = json.loads((PEER / "package-lock.json").read_text())
    found = {"socket.io": lock["packages"]["node_modules/socket.io"]["version"]}
    found["node"] = processes.run(["node", "--version"])
    if shutil.which("nginx"):
        asked = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False)
        found["nginx"] = asked.stderr.strip()
    return found


def check(names: list[str]) -> None:
    if "nchan" in names and shutil.which("nginx") is None:
        raise BenchmarkError("this needs nginx with Nchan: apt-get install libnginx-mod-nchan")


def _in_database(database: postgres.Connection) -> Callable[[int], None]:
    query = (
        "select chatsync.publish(%s, array['tenant:' || %s], 'message:new',"
        " jsonb_build_object('text', t)) from unnest(%s::text[]) t"
    )

    def publish(count: int) -> None:
        database.execute(query, [TENANT, TENANT, [text() for _ in range(count)]])

    return publish


def _by_line(child: Child) -> Callable[[int], None]:
    def publish(count: int) -> None:
        assert child.process.stdin is not None
        child.process.stdin.write((json.dumps({"count": count, "text": text()}) + "\n").encode())
        child.process.stdin.flush()

    return publish


def _post(posts: HTTPConnection, count: int) -> None:
    for _ in range(count):
        posts.request("POST", "/publish", json.dumps({"event": "message:new", "text": text()}))
        posts.getresponse().read()


def _says_ok(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


_NGINX = """
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /subscribe {{ nchan_subscriber websocket; nchan_channel_id room; }}
    location = /publish {{
      nchan_publisher; nchan_channel_id room; nchan_message_buffer_length 20;
    }}
  }}
}}
"""

__all__ = ["OPENERS", "Side", "check", "versions"]
