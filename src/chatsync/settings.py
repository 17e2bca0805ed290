"""The only reader of the environment: one frozen object, each setting with its default and reason.

Names on the command line and in files never differ from these; docs/settings.md lists them. Some
settings have a second name, which existing deployments use and which counts where the first is not
given (protocol §6).
"""

import os
from collections.abc import Set
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from chatsync.errors import ConfigError

MIN_SECRET_BYTES = 32  # RFC 7518 §3.2: an HS256 key is at least as long as its hash.

PREFIX = "CHATSYNC_"

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


def _also(older: str, name: str) -> AliasChoices:
    return AliasChoices(f"{PREFIX}{name}", older)


class Settings(BaseSettings):
    """Settings of a process, from variables with the prefix CHATSYNC_."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
    )

    database_url: SecretStr | None = None
    # A replica, which answers queries that say how far it must have come.
    read_database_url: SecretStr | None = None
    data_dir: Path = Path(".chatsync")
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)

    jwt_secret: SecretStr | None = None
    jwt_algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"] = "HS256"
    jwt_public_key: str | None = None
    jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    allowed_origins: CommaSeparated = ()
    trusted_proxies: CommaSeparated = ()

    whatsapp_verify_token: SecretStr | None = None
    whatsapp_app_secret: SecretStr | None = None
    evolution_api_key: SecretStr | None = None

    # Where several worker processes put their metrics for one of them to add up.
    metrics_dir: str | None = None
    log_format: Literal["console", "json"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # Two connections of a pool work while two wait for the disk; more only queue in PostgreSQL.
    pool_size: int = Field(default=8, ge=2, le=100)
    # A batch has a price of its own; a thousand messages take some 150 ms.
    batch_size: int = Field(
        default=1000, ge=1, le=2000, validation_alias=_also("QUEUE_BATCH_SIZE", "BATCH_SIZE")
    )
    poll_interval_ms: int = Field(
        default=1000,
        ge=50,
        le=60_000,
        validation_alias=_also("QUEUE_PROCESSING_INTERVAL", "POLL_INTERVAL_MS"),
    )
    max_retries: int = Field(
        default=5, ge=0, le=1000, validation_alias=_also("MAX_RETRY_ATTEMPTS", "MAX_RETRIES")
    )
    # What existing deployments say of their dead letters; a message is never thrown away here.
    dlq_enabled: bool = Field(default=True, validation_alias="DLQ_ENABLED")
    retention_days: int = Field(default=7, ge=1, le=365)

    frame_bytes: int = Field(default=65_536, ge=1024, le=16_777_216)
    topics_per_session: int = Field(default=200, ge=1)
    frames_per_second: int = Field(default=50, ge=1)
    sessions_per_user: int = Field(default=50, ge=1)
    sessions_per_tenant: int = Field(default=10_000, ge=1)
    # Behind a proxy that is not trusted all share one address, as do the agents of one office.
    sessions_per_address: int = Field(default=10_000, ge=1)
    max_sessions: int = Field(
        default=10_000, ge=1, validation_alias=_also("WEBSOCKET_MAX_CONNECTIONS", "MAX_SESSIONS")
    )
    unauthenticated_per_address: int = Field(default=100, ge=1)
    webhook_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    # Evolution may put media into its webhooks, in base64.
    evolution_webhook_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    offline_max_events: int = Field(default=1000, ge=0, le=100_000)
    offline_ttl_days: int = Field(default=7, ge=1, le=365)
    ring_events: int = Field(default=1024, ge=16)
    ping_interval_ms: int = Field(
        default=25_000, ge=100, validation_alias=_also("PING_INTERVAL", "PING_INTERVAL_MS")
    )
    ping_timeout_ms: int = Field(default=10_000, ge=100)
    connect_timeout_ms: int = Field(
        default=5_000, ge=50, validation_alias=_also("CONNECTION_TIMEOUT", "CONNECT_TIMEOUT_MS")
    )
    reconnect_max_attempts: int | None = Field(
        default=None,
        ge=1,
        validation_alias=_also("RECONNECT_MAX_ATTEMPTS", "RECONNECT_MAX_ATTEMPTS"),
    )
    presence_cleanup_interval_ms: int = Field(
        default=30_000,
        ge=1000,
        validation_alias=_also("PRESENCE_CLEANUP_INTERVAL", "PRESENCE_CLEANUP_INTERVAL_MS"),
    )
    presence_grace_ms: int = Field(default=8_000, ge=0)
    ack_timeout_ms: int = Field(default=5_000, ge=50)
    drain_seconds: float = Field(default=10.0, ge=0)

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        for part in parts:
            ip_network(part)  # the ValueError says what is no address
        return parts

    @model_validator(mode="after")
    def _secret_is_long_enough(self) -> Self:
        secret = self.jwt_secret
        if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"JWT_SECRET must have at least {MIN_SECRET_BYTES} bytes")
        return self

    @field_validator("dlq_enabled")
    @classmethod
    def _dead_letters_stay(cls, value: bool) -> bool:
        if not value:
            raise ValueError("dead letters cannot be switched off")
        return value

    @property
    def app_secrets(self) -> tuple[str, ...]:
        """The app secrets that hold for every inbox; several while one is being rotated."""
        return _separated(self.whatsapp_app_secret)

    @property
    def evolution_api_keys(self) -> tuple[str, ...]:
        """The keys that hold for every instance; several while one is being rotated."""
        return _separated(self.evolution_api_key)

    def require_database_url(self) -> str:
        if self.database_url is None or not self.database_url.get_secret_value():
            raise ConfigError("CHATSYNC_DATABASE_URL is not set, and no `chatsync dev` runs here")
        return self.database_url.get_secret_value()


def load(**overrides: object) -> Settings:
    """Read the environment; `overrides` win. Raises ConfigError naming the variable."""
    given = {name.upper() for name in os.environ}
    try:
        settings = Settings()
        given.clear()
        return Settings.model_validate({**settings.model_dump(), **overrides})
    except ValidationError as error:
        raise ConfigError(_first_sentence(error, given)) from None


def variables() -> dict[str, tuple[str, ...]]:
    """The environment variables of each setting, in the order in which they are looked for."""
    return {name: _variables(name, field) for name, field in Settings.model_fields.items()}


def _variables(name: str, field: FieldInfo) -> tuple[str, ...]:
    match field.validation_alias:
        case AliasChoices(choices=choices):
            return tuple(str(choice) for choice in choices)
        case str(alias):
            return (alias,)
        case _:
            return (f"{PREFIX}{name.upper()}",)


def _separated(secret: SecretStr | None) -> tuple[str, ...]:
    raw = "" if secret is None else secret.get_secret_value()
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def _first_sentence(error: ValidationError, given: Set[str]) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"{PREFIX}{message}"
    # Pydantic says a field's name or its first alias, whichever name the value came by.
    where = str(first["loc"][0])
    names = next((n for field, n in variables().items() if where in {field, *n}), (where.upper(),))
    return f"{next((name for name in names if name in given), names[0])}: {message}"
