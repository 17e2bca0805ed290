"""What `chatsync dev` keeps in its data folder, so that every command of one checkout finds it.

Every file that holds a secret is written here: whole or not at all, readable by its owner alone.
"""

import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from chatsync.errors import ConfigError

SECRET_BYTES = 32  # the least that HS256 may be keyed with (RFC 7518, section 3.2)
STATE_FILE = "dev.json"


@dataclass(frozen=True, slots=True)
class DevState:
    """How to reach a development server; `address` is an http URL without a path."""

    jwt_secret: str
    address: str
    database_url: str
    app_secret: str


def load(data_dir: Path) -> DevState | None:
    """Read what the last `chatsync dev` saved, or None. Raises ConfigError for an unusable file."""
    path = data_dir / STATE_FILE
    try:
        fields: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(fields, dict):
        raise _damaged(path)
    values = cast("dict[str, object]", fields)
    if not all(isinstance(values.get(name), str) for name in DevState.__slots__):
        raise _damaged(path)
    # A newer version may have saved more than this one knows.
    return DevState(**{name: str(values[name]) for name in DevState.__slots__})


def save(data_dir: Path, state: DevState) -> None:
    """Replace what is kept. Raises ConfigError where the folder cannot be written."""
    path = data_dir / STATE_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        write_private(path, json.dumps(asdict(state), indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error.strerror}.") from error


def new_secret() -> str:
    """Make a secret that needs no quoting in a URL, a shell or SQL."""
    return secrets.token_urlsafe(SECRET_BYTES)


def write_private(path: Path, text: str) -> None:
    """Put a file of mode 0600 in place at once; a reader sees the old content or the new."""
    # mkstemp creates with 0600, so the text is never readable by others for a moment.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            if os.geteuid() == 0:  # after one `sudo`, the folder's owner can still read it
                owner = path.parent.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _damaged(path: Path) -> ConfigError:
    return ConfigError(f"{path} is damaged: remove it, and `chatsync dev` makes a new one.")
