"""The limit of open files, which is the limit of sessions before any of ours."""

import resource

import structlog

# Beside sessions: listeners, the pool, long-polls, webhooks, the log.
RESERVED = 512

log = structlog.stdlib.get_logger(__name__)


def make_room(sessions: int) -> None:
    """Raise the soft limit for so many sessions; complain where the hard one does not allow it."""
    wanted = sessions + RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_enough(soft, wanted):
        return
    reachable = wanted if _is_enough(hard, wanted) else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    except (OSError, ValueError):  # Some systems have another limit below the hard one.
        reachable = soft
    if reachable < wanted:
        log.warning("open_files_limited", limit=reachable, wanted=wanted, sessions=sessions)


def _is_enough(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted
