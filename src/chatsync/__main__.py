"""`python -m chatsync`: the command line where no script is installed."""

from chatsync.cli import main

main()
