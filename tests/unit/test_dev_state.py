import os
import stat
from pathlib import Path

import pytest

from chatsync.dev import state
from chatsync.errors import ConfigError

STATE = state.DevState(
    jwt_secret="a secret",
    address="http://127.0.0.1:8080",
    database_url="postgresql://chatsync:é@/chatsync",
    app_secret="another",
)


def test_what_was_saved_is_loaded(tmp_path: Path):
    state.save(tmp_path / "not there yet", STATE)
    assert state.load(tmp_path / "not there yet") == STATE


def test_nothing_saved_is_none_and_not_an_error(tmp_path: Path):
    assert state.load(tmp_path / "nowhere") is None


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_its_owner_can_read_it(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        state.save(tmp_path, STATE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "dev.json").stat().st_mode) == 0o600


def test_a_second_save_replaces_the_first_and_leaves_nothing_beside_it(tmp_path: Path):
    state.save(tmp_path, STATE)
    changed = state.DevState("other", STATE.address, STATE.database_url, STATE.app_secret)
    state.save(tmp_path, changed)
    assert state.load(tmp_path) == changed
    assert [path.name for path in tmp_path.iterdir()] == ["dev.json"]


def test_what_a_newer_version_added_is_ignored(tmp_path: Path):
    state.save(tmp_path, STATE)
    path = tmp_path / "dev.json"
    path.write_text(path.read_text().replace("{", '{"later": 1,', 1))
    assert state.load(tmp_path) == STATE


@pytest.mark.parametrize("text", ["", "[]", '{"jwt_secret": "x"}', '{"jwt_secret": 1}', "\x00"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, text: str):
    (tmp_path / "dev.json").write_text(text)
    with pytest.raises(ConfigError, match=r"dev\.json is damaged"):
        state.load(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Cannot write"):
        state.save(tmp_path / "file" / "data", STATE)


def test_secrets_differ_and_need_no_quoting():
    secrets = {state.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(s) >= 32 and s.replace("-", "").replace("_", "").isalnum() for s in secrets)
