"""Become a user, ask to be told of the parent's death, then become the program. Run as a script.

Arguments: user id, group id, the parent's process id (0: outlive it), the program, its arguments.
A process of its own, because Python code between fork and exec can deadlock under threads.
It imports nothing of chatsync: it starts in an isolated interpreter without site-packages.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    uid, gid, parent = (int(argument) for argument in sys.argv[1:4])
    if os.geteuid() != uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if parent:
        # Linux forgets the request when credentials change, so it comes after them.
        # SIGINT is PostgreSQL's fast shutdown, and ends initdb too.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            sys.exit("the parent is gone")
    # Python ignores SIGPIPE, and an ignored signal stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.umask(0o077)
    try:
        os.execv(sys.argv[4], sys.argv[4:])  # noqa: S606  # no shell is the point
    except OSError as error:
        sys.exit(f"{sys.argv[4]}: {error.strerror}")


if __name__ == "__main__":
    main()
