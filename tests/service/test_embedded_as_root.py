"""Root's embedded PostgreSQL runs as another user, and nothing is opened to that user for it."""

import os
import shutil
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

import chatsync
from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.dev.postgres.binaries import WHEEL_PACKAGE
from chatsync.dev.postgres.cluster import folder_of
from chatsync.errors import ConfigError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")

BIN_DIR = os.environ.get("CHATSYNC_TEST_POSTGRES_BIN")
START = """
import sys
from pathlib import Path
from chatsync.dev.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(Path(f"/proc/{server.pid}/exe").readlink())
server.remove()
"""


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


def test_a_cluster_under_a_closed_folder_lies_elsewhere_and_is_found_again(closed: Path):
    data_dir = closed / "data"
    server = EmbeddedPostgres(data_dir, bin_dir=Path(BIN_DIR) if BIN_DIR else None)
    with server, psycopg.connect(server.url) as connection:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        connection.execute("create table kept ()")
    place = folder_of(data_dir)
    assert not place.is_relative_to(closed)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    with server, psycopg.connect(server.url) as connection:
        connection.execute("select from kept")
    assert folder_of(data_dir) == place
    server.remove()
    assert not place.parent.exists()


def test_programs_under_a_closed_folder_are_copied(tmp_path: Path, closed: Path):
    spec = find_spec(WHEEL_PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    wheel = Path(spec.submodule_search_locations[0])
    for source in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        ignore = shutil.ignore_patterns("pginstall", "include")
        shutil.copytree(source, closed / source.name, ignore=ignore)
    path = f"{closed}:{Path(chatsync.__file__).parent.parent}"
    answer = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path / "data")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    program = Path(answer.stdout.rstrip("\n"))
    assert program.parts[-4:] == (WHEEL_PACKAGE, "pginstall18", "bin", "postgres")
    assert not program.is_relative_to(closed)
    assert program.stat().st_uid == 0  # the server cannot change its own programs


def test_a_closed_folder_of_another_postgresql_is_one_sentence(tmp_path: Path, closed: Path):
    for name in ("initdb", "postgres"):
        (closed / name).touch(mode=0o755)
    with pytest.raises(ConfigError, match="do not run as user id"):
        EmbeddedPostgres(tmp_path / "data", bin_dir=closed).start()
