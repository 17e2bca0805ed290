"""What keeps the embedded PostgreSQL from starting is said in one sentence."""

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

import chatsync
from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.dev.postgres.cluster import folder_of
from chatsync.errors import ConfigError

BIN_DIR = os.environ.get("CHATSYNC_TEST_POSTGRES_BIN")
IS_ROOT = os.geteuid() == 0
START = """
import sys
from pathlib import Path
from chatsync.dev.embedded import EmbeddedPostgres
EmbeddedPostgres(Path(sys.argv[1])).start()
"""


def embedded(data_dir: Path, **settings: str) -> EmbeddedPostgres:
    bin_dir = Path(BIN_DIR) if BIN_DIR else None
    return EmbeddedPostgres(data_dir, bin_dir=bin_dir, settings=settings)


@pytest.fixture
def data_dir(tmp_path: Path) -> Generator[Path]:
    path = tmp_path / "data"
    yield path
    embedded(path).remove()


def test_data_of_another_major_version_are_refused_and_kept(data_dir: Path):
    with embedded(data_dir):
        pass
    version = folder_of(data_dir) / "PG_VERSION"
    made_by = version.read_text()
    version.write_text("9\n")
    with pytest.raises(ConfigError, match=r"was made by PostgreSQL 9, and this is PostgreSQL 1\d"):
        embedded(data_dir).start()
    version.write_text(made_by)
    with embedded(data_dir) as server:
        assert server.is_running


def test_a_server_that_does_not_start_says_why(data_dir: Path):
    with pytest.raises(ConfigError, match=r"does not start in .*/data: FATAL: .*no_such_setting"):
        embedded(data_dir, no_such_setting="1").start()
    with embedded(data_dir) as server:  # and holds nothing
        assert server.is_running


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/data cannot be used: Not a directory"):
        embedded(tmp_path / "file" / "data").start()


@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
def test_no_write_permission_is_one_sentence(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be used: Permission denied"):
        embedded(tmp_path / "data").start()


def test_a_missing_wheel_is_one_sentence(tmp_path: Path):
    answer = subprocess.run(
        [sys.executable, "-S", "-c", START, str(tmp_path)],  # -S: without site-packages
        env=os.environ | {"PYTHONPATH": str(Path(chatsync.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'not installed: install the extra "embedded"' in answer.stderr.splitlines()[-1]


def test_a_folder_without_postgresql_is_one_sentence(tmp_path: Path):
    with pytest.raises(ConfigError, match="There is no PostgreSQL in"):
        EmbeddedPostgres(tmp_path / "data", bin_dir=tmp_path).start()
