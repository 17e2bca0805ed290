"""The only reader of the environment: one frozen object, each setting with its default and reason.

Names on the command line and in files never differ from these; docs/settings.md lists them.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from chatsync.errors import ConfigError

MIN_SECRET_BYTES = 32  # RFC 7518 §3.2: an HS256 key is at least as long as its hash.

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """Settings of a process, from variables with the prefix CHATSYNC_."""

    model_config = SettingsConfigDict(env_prefix="CHATSYNC_", frozen=True, extra="ignore")

    database_url: SecretStr | None = None
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

    whatsapp_verify_token: SecretStr | None = None
    whatsapp_app_secret: SecretStr | None = None

    # Where several worker processes put their metrics for one of them to add up.
    metrics_dir: str | None = None
    log_format: Literal["console", "json"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # Two connections of a pool work while two wait for the disk; more only queue in PostgreSQL.
    pool_size: int = Field(default=8, ge=2, le=100)
    batch_size: int = Field(default=200, ge=1, le=2000)
    poll_interval_ms: int = Field(default=1000, ge=50, le=60_000)
    retention_days: int = Field(default=7, ge=1, le=365)

    frame_bytes: int = Field(default=65_536, ge=1024, le=16_777_216)
    topics_per_session: int = Field(default=200, ge=1)
    frames_per_second: int = Field(default=50, ge=1)
    sessions_per_user: int = Field(default=50, ge=1)
    max_sessions: int = Field(default=10_000, ge=1)
    unauthenticated_per_address: int = Field(default=100, ge=1)
    webhook_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    ring_events: int = Field(default=1024, ge=16)
    ping_interval_ms: int = Field(default=25_000, ge=100)
    ping_timeout_ms: int = Field(default=10_000, ge=100)
    connect_timeout_ms: int = Field(default=5_000, ge=50)
    ack_timeout_ms: int = Field(default=5_000, ge=50)
    drain_seconds: float = Field(default=10.0, ge=0)

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _secret_is_long_enough(self) -> Self:
        secret = self.jwt_secret
        if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"JWT_SECRET must have at least {MIN_SECRET_BYTES} bytes")
        return self

    @property
    def app_secrets(self) -> tuple[str, ...]:
        """The app secrets that hold for every inbox; several while one is being rotated."""
        if self.whatsapp_app_secret is None:
            return ()
        raw = self.whatsapp_app_secret.get_secret_value()
        return tuple(part.strip() for part in raw.split(",") if part.strip())

    def require_database_url(self) -> str:
        if self.database_url is None or not self.database_url.get_secret_value():
            raise ConfigError("CHATSYNC_DATABASE_URL is not set, and no `chatsync dev` runs here")
        return self.database_url.get_secret_value()


def load(**overrides: object) -> Settings:
    """Read the environment; `overrides` win. Raises ConfigError naming the variable."""
    try:
        return Settings.model_validate({**Settings().model_dump(), **overrides})
    except ValidationError as error:
        raise ConfigError(_first_sentence(error)) from None


def _first_sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = "_".join(str(part) for part in first["loc"]).upper()
    message = first["msg"].removeprefix("Value error, ")
    return f"CHATSYNC_{where}: {message}" if where else f"CHATSYNC_{message}"
