"""The files of an embedded PostgreSQL: where they lie, how they are made, who may log in.

A cluster appears under its name only when it is complete: role, database and passwords included.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chatsync.dev.postgres import postmaster
from chatsync.dev.postgres.account import Account, can_enter, choose, machine_folder, run
from chatsync.dev.postgres.binaries import Binaries, find
from chatsync.dev.state import new_secret, write_private
from chatsync.errors import ConfigError

ROLE = "chatsync"
SUPERUSER = "postgres"
ROLES = (SUPERUSER, ROLE)
CLUSTER_FOLDER = "postgres"
PLACE_FILE = "place"
UNFINISHED = "new-"
DELETE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that may not be there yet, and who owns and runs it."""

    data_dir: Path
    folder: Path
    account: Account
    binaries: Binaries


def locate(data_dir: Path, bin_dir: Path | None) -> Cluster:
    """Decide where the cluster of a data folder lies; root's may lie outside a closed folder."""
    folder = folder_of(data_dir)
    account = choose(folder)
    binaries = find(bin_dir, account)
    is_new = folder.parent == data_dir and not folder.exists()
    if is_new and not can_enter(account, data_dir):
        place = tempfile.mkdtemp(prefix="cluster-", dir=machine_folder())
        Path(place).chmod(0o711)
        write_private(data_dir / PLACE_FILE, place + "\n")
        folder = Path(place) / CLUSTER_FOLDER
    return Cluster(data_dir, folder, account, binaries)


def prepare(cluster: Cluster) -> None:
    """Make what is missing. Raises ConfigError for a cluster of another major version."""
    if cluster.folder.exists():
        _check_version(cluster)
    else:
        _make(cluster)
    _renew_lost_passwords(cluster)


def remove(data_dir: Path) -> None:
    """Delete a cluster that nothing runs on, wherever it lies."""
    folder = folder_of(data_dir)
    _delete_unfinished(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent != data_dir:
        folder.parent.rmdir()
    for path in (data_dir / PLACE_FILE, *(password_file(data_dir, role) for role in ROLES)):
        path.unlink(missing_ok=True)


def folder_of(data_dir: Path) -> Path:
    """Look up where the cluster is, or will be unless the data folder is closed to its user."""
    try:
        place = Path((data_dir / PLACE_FILE).read_text(encoding="utf-8").rstrip("\n"))
    except FileNotFoundError:
        place = data_dir
    return (place if place.is_dir() else data_dir) / CLUSTER_FOLDER


def password_file(data_dir: Path, role: str) -> Path:
    return data_dir / f"{role}.password"


def _check_version(cluster: Cluster) -> None:
    made_by = (cluster.folder / "PG_VERSION").read_text(encoding="ascii").strip()
    if made_by != str(cluster.binaries.major):
        raise ConfigError(
            f"The data folder {cluster.data_dir} was made by PostgreSQL {made_by}, and this is"
            f" PostgreSQL {cluster.binaries.major}: choose another folder with CHATSYNC_DATA_DIR."
        )


def _make(cluster: Cluster) -> None:
    _delete_unfinished(cluster.folder)
    staging = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=cluster.folder.parent))
    try:
        made = staging / CLUSTER_FOLDER
        _initdb(cluster, staging, made)
        role, database = f"create role {ROLE} login createdb createrole", f"create database {ROLE}"
        _speak(cluster, made, [role, f"{database} owner {ROLE}"])
        # A password belongs to one cluster: without its file, prepare() gives out a new one.
        for role in ROLES:
            password_file(cluster.data_dir, role).unlink(missing_ok=True)
        made.rename(cluster.folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _delete_unfinished(folder: Path) -> None:
    """Delete what killed starts left; an initdb of theirs may still be writing, so insist."""

    def is_deleted(staging: Path) -> bool:
        postmaster.end(staging / CLUSTER_FOLDER, immediate=True)
        shutil.rmtree(staging, ignore_errors=True)
        return not staging.exists()

    for staging in folder.parent.glob(f"{UNFINISHED}*"):
        postmaster.wait_until(partial(is_deleted, staging), DELETE_SECONDS)


def _initdb(cluster: Cluster, staging: Path, made: Path) -> None:
    password = staging / "password"
    write_private(password, new_secret())
    for path in (staging, password):
        _hand_over(path, cluster.account)
    _run(
        cluster,
        [
            cluster.binaries.initdb,
            *("-D", str(made), "-U", SUPERUSER, "-E", "UTF8", "--no-locale"),
            *("--auth=scram-sha-256", f"--pwfile={password}"),
        ],
    )


def _renew_lost_passwords(cluster: Cluster) -> None:
    lost = [r for r in ROLES if not password_file(cluster.data_dir, r).exists()]
    if not lost:
        return
    secrets = {role: new_secret() for role in lost}
    statements = [f"alter role {role} password '{secret}'" for role, secret in secrets.items()]
    _speak(cluster, cluster.folder, statements)
    # Written last: after a crash in between, a file is missing and this is done again.
    for role, secret in secrets.items():
        write_private(password_file(cluster.data_dir, role), secret)


def _speak(cluster: Cluster, folder: Path, statements: Sequence[str]) -> None:
    """Run SQL in a single-user backend, which needs neither a password nor a running server."""
    single = [cluster.binaries.postgres, "--single", "-D", str(folder)]
    quiet = ["-c", "exit_on_error=on", "-c", "log_min_error_statement=panic"]
    _run(cluster, [*single, *quiet, "postgres"], "\n".join(statements) + "\n")


def _run(cluster: Cluster, command: Sequence[str], stdin: str = "") -> None:
    answer = run(command, cluster.account, stdin=stdin)
    if answer.returncode:
        raise ConfigError(
            f"{Path(command[0]).name} could not set up {cluster.data_dir}:"
            f" {telling_line(answer.stderr)}"
        )


def telling_line(output: str) -> str:
    """Pick the line that says why: the last error, without its time, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [found[0] for line in lines if (found := re.search("(FATAL|PANIC|error):.*", line))]
    return (errors or lines or ["it said nothing"])[-1]


def _hand_over(path: Path, account: Account) -> None:
    if account.is_other:
        os.chown(path, account.uid, account.gid)
