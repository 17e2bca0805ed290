import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from chatsync.errors import ConfigError
from chatsync.settings import MIN_SECRET_BYTES, Settings, load, variables

SECRET = "s" * MIN_SECRET_BYTES


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine that runs the tests is read, nor a file of its folder."""
    older = {name for names in variables().values() for name in names}
    for name in list(os.environ):
        if name.upper().startswith("CHATSYNC_") or name.upper() in older:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_settings_that_work():
    settings = load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.jwt_algorithm == "HS256"
    assert settings.allowed_origins == ()
    assert settings.app_secrets == ()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CHATSYNC_PORT", "http"),
        ("CHATSYNC_PORT", "-1"),
        ("CHATSYNC_PORT", "65536"),
        ("CHATSYNC_PORT", ""),
        ("CHATSYNC_PORT", "8080.5"),
        ("CHATSYNC_JWT_ALGORITHM", "none"),
        ("CHATSYNC_JWT_ALGORITHM", "hs256"),
        ("CHATSYNC_JWT_ALGORITHM", "HS512"),
        ("CHATSYNC_JWT_SECRET", ""),
        ("CHATSYNC_JWT_SECRET", "s" * (MIN_SECRET_BYTES - 1)),
        ("CHATSYNC_LOG_FORMAT", "xml"),
        ("CHATSYNC_LOG_LEVEL", "trace"),
        ("CHATSYNC_POOL_SIZE", "1"),
        ("CHATSYNC_POOL_SIZE", "101"),
        ("CHATSYNC_BATCH_SIZE", "0"),
        ("CHATSYNC_POLL_INTERVAL_MS", "0"),
        ("CHATSYNC_RETENTION_DAYS", "0"),
        ("CHATSYNC_FRAME_BYTES", "10"),
        ("CHATSYNC_TOPICS_PER_SESSION", "0"),
        ("CHATSYNC_FRAMES_PER_SECOND", "0"),
        ("CHATSYNC_SESSIONS_PER_USER", "0"),
        ("CHATSYNC_MAX_SESSIONS", "0"),
        ("CHATSYNC_WEBHOOK_BYTES", "1023"),
        ("CHATSYNC_PING_INTERVAL_MS", "0"),
        ("CHATSYNC_CONNECT_TIMEOUT_MS", "0"),
        ("CHATSYNC_DRAIN_SECONDS", "-1"),
        ("CHATSYNC_DRAIN_SECONDS", "nan"),
        ("CHATSYNC_EVOLUTION_WEBHOOK_BYTES", "1023"),
        ("CHATSYNC_MAX_RETRIES", "-1"),
        ("CHATSYNC_RECONNECT_MAX_ATTEMPTS", "0"),
        ("CHATSYNC_PRESENCE_CLEANUP_INTERVAL_MS", "999"),
        ("WEBSOCKET_MAX_CONNECTIONS", "0"),
        ("PRESENCE_CLEANUP_INTERVAL", "soon"),
        ("QUEUE_BATCH_SIZE", "0"),
        ("QUEUE_PROCESSING_INTERVAL", "0"),
        ("MAX_RETRY_ATTEMPTS", "-1"),
        ("CONNECTION_TIMEOUT", "30s"),
        ("PING_INTERVAL", ""),
        ("RECONNECT_MAX_ATTEMPTS", "Infinity"),
        ("DLQ_ENABLED", "perhaps"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load()
    assert caught.value.message.startswith(variable)
    assert "\n" not in caught.value.message


def test_a_bad_override_is_named_as_its_variable():
    with pytest.raises(ConfigError, match=r"^CHATSYNC_PORT: "):
        load(port=-1)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CHATSYNC_JWT_SECRET", "too-short-but-private"),
        ("CHATSYNC_PORT", "private"),
        ("CHATSYNC_LOG_LEVEL", "private"),
    ],
)
def test_a_refused_value_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load()
    assert "private" not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_environment_is_read_with_the_prefix_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("JWT_SECRET", "short")
    assert load().port == 8080
    monkeypatch.setenv("CHATSYNC_PORT", "9000")
    assert load().port == 9000


@pytest.mark.parametrize(
    ("older", "value", "name", "meaning"),
    [
        ("WEBSOCKET_MAX_CONNECTIONS", "500", "max_sessions", 500),
        ("PRESENCE_CLEANUP_INTERVAL", "60000", "presence_cleanup_interval_ms", 60_000),
        ("QUEUE_BATCH_SIZE", "50", "batch_size", 50),
        ("QUEUE_PROCESSING_INTERVAL", "5000", "poll_interval_ms", 5_000),
        ("MAX_RETRY_ATTEMPTS", "3", "max_retries", 3),
        ("CONNECTION_TIMEOUT", "20000", "connect_timeout_ms", 20_000),
        ("PING_INTERVAL", "30000", "ping_interval_ms", 30_000),
        ("RECONNECT_MAX_ATTEMPTS", "10", "reconnect_max_attempts", 10),
        ("DLQ_ENABLED", "true", "dlq_enabled", True),
    ],
)
def test_a_name_of_an_existing_deployment_counts_where_ours_is_not_given(
    monkeypatch: pytest.MonkeyPatch, older: str, value: str, name: str, meaning: object
):
    ours = f"CHATSYNC_{name.upper()}"
    assert set(variables()[name]) - {ours} == {older}
    monkeypatch.setenv(older, value)
    assert getattr(load(), name) == meaning
    if ours in variables()[name]:
        monkeypatch.setenv(ours, "1000")
        assert getattr(load(), name) == 1000
        monkeypatch.setenv(older, "not looked at")
        assert getattr(load(), name) == 1000


def test_every_name_of_an_existing_deployment_is_known():
    older = {n for names in variables().values() for n in names if not n.startswith("CHATSYNC_")}
    assert older == {
        "WEBSOCKET_MAX_CONNECTIONS",
        "PRESENCE_CLEANUP_INTERVAL",
        "QUEUE_BATCH_SIZE",
        "QUEUE_PROCESSING_INTERVAL",
        "MAX_RETRY_ATTEMPTS",
        "CONNECTION_TIMEOUT",
        "PING_INTERVAL",
        "RECONNECT_MAX_ATTEMPTS",
        "DLQ_ENABLED",
    }


@pytest.mark.parametrize("value", ["false", "0", "no", "off"])
def test_dead_letters_cannot_be_switched_off(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("DLQ_ENABLED", value)
    with pytest.raises(ConfigError) as caught:
        load()
    assert caught.value.message == "DLQ_ENABLED: dead letters cannot be switched off"


def test_an_override_wins_over_both_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PING_INTERVAL", "30000")
    assert load(ping_interval_ms=20_000).ping_interval_ms == 20_000
    with pytest.raises(ConfigError, match=r"^CHATSYNC_PING_INTERVAL_MS: "):
        load(ping_interval_ms=1)


def test_an_unknown_variable_is_ignored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHATSYNC_COLOUR", "red")
    assert load().port == 8080


def test_overrides_win(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHATSYNC_PORT", "9000")
    assert load(port=9001).port == 9001


def test_a_secret_is_measured_in_bytes():
    load(jwt_secret=SecretStr("é" * (MIN_SECRET_BYTES // 2)))
    with pytest.raises(ConfigError, match="JWT_SECRET"):
        load(jwt_secret=SecretStr("é" * (MIN_SECRET_BYTES // 2 - 1)))


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("one", ("one",)),
        ("new,old", ("new", "old")),
        (" new , old ", ("new", "old")),
        ("new,,old,", ("new", "old")),
        ("", ()),
        (" , ", ()),
    ],
)
def test_app_secrets_are_separated_by_commas_while_they_rotate(
    monkeypatch: pytest.MonkeyPatch, value: str, secrets: tuple[str, ...]
):
    monkeypatch.setenv("CHATSYNC_WHATSAPP_APP_SECRET", value)
    monkeypatch.setenv("CHATSYNC_EVOLUTION_API_KEY", value)
    # An empty secret would let anyone sign.
    assert load().app_secrets == secrets
    assert load().evolution_api_keys == secrets


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("https://a.example", ("https://a.example",)),
        ("https://a.example, https://b.example/", ("https://a.example", "https://b.example")),
        ("", ()),
    ],
)
def test_origins_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, origins: tuple[str, ...]
):
    monkeypatch.setenv("CHATSYNC_ALLOWED_ORIGINS", value)
    assert load().allowed_origins == origins


def test_no_secret_is_in_the_printed_settings():
    settings = load(
        jwt_secret=SecretStr(SECRET),
        whatsapp_app_secret=SecretStr("app-canary"),
        whatsapp_verify_token=SecretStr("verify-canary"),
        evolution_api_key=SecretStr("key-canary"),
        database_url=SecretStr("postgresql://u:password-canary@h/d"),
    )
    for printed in (repr(settings), str(settings), settings.model_dump_json()):
        assert SECRET not in printed
        assert "canary" not in printed


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1


def test_a_missing_database_is_named():
    with pytest.raises(ConfigError, match="CHATSYNC_DATABASE_URL"):
        load().require_database_url()
    with pytest.raises(ConfigError, match="CHATSYNC_DATABASE_URL"):
        load(database_url=SecretStr("")).require_database_url()
    assert load(database_url=SecretStr("dbname=x")).require_database_url() == "dbname=x"


def test_every_number_of_the_settings_has_a_floor():
    # A limit of zero or less is never a limit: it is a typing mistake that stops everything.
    for name, field in Settings.model_fields.items():
        if str(field.annotation) in {"<class 'int'>", "<class 'float'>"}:
            assert any(hasattr(each, "ge") for each in field.metadata), name
