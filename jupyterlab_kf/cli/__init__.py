"""``jupyter kf``: the cluster on this machine, and the verbs of the notebook for a terminal or a script.

Thin: arguments, one call, text. Exit status: 0 done, 1 an error or a failed job, 2 wrong words, 124 a wait that took
too long, 130 interrupted. Errors are one message and a hint on standard error; a stack is a bug. Imports what a
command needs when it runs, so that ``jupyter kf cluster status`` answers at once.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence

from jupyterlab_kf.cli import clusters, hardware, serving, training
from jupyterlab_kf.cli.saying import PROG, Commands, Row
from jupyterlab_kf.errors import JobFailedError, KubeflowError, UsageError, WaitTimeoutError
from jupyterlab_kf.magics import arguments


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    try:
        options = _parser().parse_args(words)
        status: int = options.run(options)
        sys.stdout.flush()
    except arguments.HelpShownError:
        return 0
    except KubeflowError as error:
        return _explain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _explain(error: KubeflowError) -> int:
    sys.stderr.write(f"{'' if error.message.startswith(PROG) else f'{PROG}: '}{error.message}\n")
    if isinstance(error, JobFailedError) and error.traceback:
        sys.stderr.write(f"\n{error.traceback.rstrip()}\n\n")
    if error.hint:
        sys.stderr.write(f"{error.hint}\n")
    if isinstance(error, UsageError):
        return 2
    return 124 if isinstance(error, WaitTimeoutError) else 1


@functools.cache
def _parser() -> arguments.Parser:
    parser = arguments.Parser(PROG, description="Train on Kubernetes, or on this machine.")
    commands: Commands = parser.add_subparsers(metavar="COMMAND", required=True)
    clusters.add_cluster(commands)
    for row in (*training.SUBMITTING, *serving.ROWS, *training.FOLLOWING, *clusters.ROWS):
        _add(commands, row)
    hardware.add(commands)
    clusters.add_controllers(commands)
    clusters.add_gateway(commands)
    hardware.add_hub(commands)
    return parser


def _add(commands: Commands, row: Row) -> None:
    name, build, run, said = row
    whole = build(f"{PROG} {name}")
    # argparse builds the parsers of commands itself; what the magics share arrives as a parent.
    added = commands.add_parser(
        name, prog=whole.prog, help=said, description=whole.description, parents=[whole], add_help=False,
        conflict_handler="resolve",
    )  # fmt: skip
    added.set_defaults(run=run)
