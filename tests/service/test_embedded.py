"""The embedded PostgreSQL keeps its data, its secrets and its place, and leaves nothing running."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

import chatsync
from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.dev.postgres import cluster
from chatsync.dev.postgres.postmaster import processes_of, wait_until
from chatsync.errors import ConfigError

BIN_DIR = os.environ.get("CHATSYNC_TEST_POSTGRES_BIN")
SOURCE = str(Path(chatsync.__file__).parent.parent)
PATIENCE_SECONDS = 30.0

# Owns a server as `chatsync dev` does, says where it is, and exits when its input ends. A server
# that a thread started is not tied to the life of the process.
OWNER = """
import json, sys, threading
from pathlib import Path
from chatsync.dev.embedded import EmbeddedPostgres
data_dir, bin_dir, manner = sys.argv[1:]
server = EmbeddedPostgres(Path(data_dir), bin_dir=Path(bin_dir) if bin_dir else None)
if manner == "tied":
    server.start()
else:
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
print(json.dumps([server.url, server.pid]), flush=True)
sys.stdin.read()
"""


def embedded(data_dir: Path, **settings: str) -> EmbeddedPostgres:
    bin_dir = Path(BIN_DIR) if BIN_DIR else None
    return EmbeddedPostgres(data_dir, bin_dir=bin_dir, settings=settings)


@contextmanager
def owner_process(
    data_dir: Path, manner: str = "tied", **environment: str
) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir), BIN_DIR or "", manner],
        env=os.environ | {"PYTHONPATH": SOURCE} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def url_and_pid(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    url, pid = json.loads(process.stdout.readline())
    return url, pid


def query(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def cluster_of(data_dir: Path) -> Path:
    record = data_dir / cluster.PLACE_FILE
    place = Path(record.read_text().strip()) if record.exists() else data_dir
    return place / cluster.CLUSTER_FOLDER


def socket_folder(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def is_gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"  # it has ended; nobody has asked for it yet


@pytest.fixture
def data_dir(tmp_path: Path) -> Generator[Path]:
    path = tmp_path / "dossier d'été, 50 %"
    yield path
    embedded(path).remove()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Generator[EmbeddedPostgres]:
    with embedded(tmp_path_factory.mktemp("running"), max_connections="20") as server:
        yield server
    server.remove()


def test_the_role_owns_its_database_and_is_bound_by_row_level_security(running: EmbeddedPostgres):
    facts = query(
        running.url,
        """
        select current_user, rolsuper, rolbypassrls, rolreplication, rolcreatedb, rolcreaterole,
               pg_get_userbyid(datdba), pg_encoding_to_char(encoding)
        from pg_roles, pg_database
        where rolname = current_user and datname = current_database()
        """,
    )
    assert facts == [("chatsync", False, False, False, True, True, "chatsync", "UTF8")]


def test_it_listens_on_no_port_and_its_socket_is_private(running: EmbeddedPostgres):
    assert query(running.url, "show listen_addresses") == [("",)]
    folder = socket_folder(running.url)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(os.fsencode(folder / ".s.PGSQL.5432")) <= 107


def test_settings_go_before_the_defaults_and_data_are_safe_by_default(running: EmbeddedPostgres):
    assert query(running.url, "show max_connections") == [("20",)]
    assert query(running.url, "show shared_buffers") == [("128MB",)]
    assert query(running.url, "show fsync") == [("on",)]


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(running: EmbeddedPostgres):
    assert os.getsid(running.pid) != os.getsid(0)


def test_a_wrong_password_is_refused(running: EmbeddedPostgres):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(running.url, password="wrong")


def test_the_url_does_not_depend_on_the_environment(
    running: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGUSER", "somebody")
    assert query(running.url, "select current_user") == [("chatsync",)]


def test_all_that_is_kept_is_readable_by_its_owner_alone(data_dir: Path):
    with embedded(data_dir):
        files = [path for path in data_dir.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"chatsync.password", "postgres.password", "lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_data_and_url_stay_across_restarts(data_dir: Path):
    with embedded(data_dir) as server:
        url = server.url
        query(url, "create table kept as select 1 as n")
        server.restart()
        query(url, "insert into kept values (2)")
        server.restart(immediate=True)
        assert query(url, "select n from kept order by n") == [(1,), (2,)]
    with embedded(data_dir) as server:
        assert server.url == url
        assert query(url, "select n from kept order by n") == [(1,), (2,)]


def test_a_stop_leaves_no_process_and_no_socket_and_may_be_repeated(data_dir: Path):
    server = embedded(data_dir)
    server.start()
    pid, folder = server.pid, socket_folder(server.url)
    with psycopg.connect(server.url):  # an open connection does not hold it up
        assert folder.exists()
        server.stop()
    assert is_gone(pid)
    assert not processes_of(cluster_of(data_dir))
    assert not folder.exists()
    server.stop()


def test_an_exit_without_a_stop_leaves_no_process_and_no_socket(data_dir: Path):
    with owner_process(data_dir) as owner:
        url, pid = url_and_pid(owner)
        owner.communicate("")
    assert owner.returncode == 0
    assert is_gone(pid)
    assert not socket_folder(url).exists()


def test_a_locale_that_is_not_installed_does_not_matter(data_dir: Path):
    with owner_process(data_dir, LC_ALL="xx_YY.UTF-8", LANG="xx_YY", LANGUAGE="xx") as owner:
        url, _ = url_and_pid(owner)
        assert query(url, "select 'é'") == [("é",)]
        assert query(url, "show lc_messages") == [("C",)]


def test_a_killed_owner_takes_its_server_along(data_dir: Path):
    with owner_process(data_dir) as owner:
        url, pid = url_and_pid(owner)
        query(url, "create table kept as select 1 as n")
        owner.kill()
        assert wait_until(lambda: is_gone(pid), PATIENCE_SECONDS)
    with embedded(data_dir) as server:
        assert server.url == url
        assert query(url, "select n from kept") == [(1,)]


def test_an_orphaned_server_is_ended_by_the_next_start(data_dir: Path):
    with owner_process(data_dir, "loose") as owner:
        url, orphan = url_and_pid(owner)
    query(url, "create table kept as select 1 as n")  # the owner is dead, the server is not
    with embedded(data_dir) as server:
        assert is_gone(orphan)
        assert server.pid != orphan
        assert query(server.url, "select n from kept") == [(1,)]


def test_a_start_that_was_killed_while_making_the_cluster_is_done_again(data_dir: Path):
    def is_half_made() -> bool:
        return any(cluster_of(data_dir).parent.glob(f"{cluster.UNFINISHED}*/postgres/base"))

    with owner_process(data_dir) as owner:
        assert wait_until(is_half_made, PATIENCE_SECONDS)
        owner.kill()
    folder = cluster_of(data_dir)
    assert not folder.exists()
    with embedded(data_dir) as server:
        assert query(server.url, "select current_user") == [("chatsync",)]
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_a_killed_postmaster_is_noticed_and_its_data_recovered(data_dir: Path):
    with embedded(data_dir) as server:
        query(server.url, "create table kept as select 1 as n")
        os.kill(server.pid, signal.SIGKILL)
        assert wait_until(lambda: not server.is_running, PATIENCE_SECONDS)
        server.restart()
        assert query(server.url, "select n from kept") == [(1,)]


@pytest.mark.parametrize(
    "content", [f"{os.getpid()}\n/elsewhere\n", ""], ids=["a stranger's", "cut short"]
)
def test_a_pid_file_that_names_no_server_is_not_believed(data_dir: Path, content: str):
    with embedded(data_dir):
        pass
    (cluster_of(data_dir) / "postmaster.pid").write_text(content)
    with embedded(data_dir) as server:
        assert server.is_running


def test_a_socket_folder_that_is_somebody_elses_by_now_is_left_alone(data_dir: Path):
    with embedded(data_dir) as server:
        folder = socket_folder(server.url)
    folder.mkdir()
    folder.chmod(0o755)
    try:
        with embedded(data_dir) as server:
            assert socket_folder(server.url) != folder
            assert query(server.url, "select 1") == [(1,)]
        assert not list(folder.iterdir())
    finally:
        folder.rmdir()


def test_a_lost_password_is_replaced(data_dir: Path):
    with embedded(data_dir) as server:
        old = server.url
    (data_dir / "chatsync.password").unlink()
    with embedded(data_dir) as server:
        assert server.url != old
        assert query(server.url, "select 1") == [(1,)]


def test_a_second_start_is_refused_and_names_the_first(data_dir: Path):
    with embedded(data_dir) as server, owner_process(data_dir) as second:
        with pytest.raises(ConfigError, match=f"already in use by process {os.getpid()}:"):
            embedded(data_dir).start()
        assert second.wait(PATIENCE_SECONDS) == 1
        assert query(server.url, "select 1") == [(1,)]
