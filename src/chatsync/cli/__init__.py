"""The command line: reads settings, composes, runs. Holds no logic of its own."""

import os
import sys

import click

from chatsync import __version__
from chatsync.cli.manage import doctor, epoch, inbox, migrate, tenant, token
from chatsync.cli.queue import queue
from chatsync.cli.run import dev, serve, work
from chatsync.cli.watch import simulate, tail
from chatsync.errors import ChatsyncError, ConfigError, SchemaMismatch

EXIT_CODES: dict[type[ChatsyncError], int] = {ConfigError: 2, SchemaMismatch: 3}


def main() -> None:
    """Run the command line; what goes wrong is said in one sentence."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ChatsyncError as error:
        click.echo(f"chatsync: {error.message}", err=True)
        sys.exit(EXIT_CODES.get(type(error), 1))
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """The real-time backbone of a shared chat inbox."""


for command in (
    dev, serve, work, migrate, doctor, token, tenant, inbox, queue, epoch, tail, simulate,
):  # fmt: skip
    cli.add_command(command)
