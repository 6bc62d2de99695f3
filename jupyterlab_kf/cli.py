"""``jupyter kf``: the cluster on this machine, and the training verbs for a terminal or a script.

Thin: arguments, one call, text. Exit status: 0 done, 1 an error or a failed job, 2 wrong words, 124 a wait that took
too long, 130 interrupted. Errors are one message and a hint on standard error; a stack is a bug. Imports what a
command needs when it runs, so that ``jupyter kf cluster status`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jupyterlab_kf.errors import JobFailedError, KubeflowError, UsageError, WaitTimeoutError
from jupyterlab_kf.magics import arguments

Command = Callable[[argparse.Namespace], int]
PROG = "jupyter kf"


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


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(PROG, description="Train on Kubernetes, or on this machine.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_cluster(commands)
    builders: Sequence[tuple[str, Callable[[str], arguments.Parser], Command, str]] = (
        ("train", lambda prog: arguments.train_parser(prog, code="required"), _train, "run a script as a job"),
        ("jobs", arguments.jobs_parser, _jobs, "list training jobs"),
        ("logs", arguments.logs_parser, _logs, "print what replicas printed"),
        ("describe", arguments.describe_parser, _describe, "show a job in detail"),
        ("wait", arguments.wait_parser, _wait, "show a job until it is finished"),
        ("delete", arguments.delete_parser, _delete, "delete jobs"),
    )
    for name, build, run, said in builders:
        whole = build(f"{PROG} {name}")
        # argparse builds the parsers of commands itself; what the magics share arrives as a parent.
        added = commands.add_parser(
            name, prog=whole.prog, help=said, description=whole.description, parents=[whole], add_help=False,
            conflict_handler="resolve",
        )  # fmt: skip
        added.set_defaults(run=run)
    return parser


def _add_cluster(commands: argparse._SubParsersAction[arguments.Parser]) -> None:
    said = "the cluster on this machine"
    cluster = commands.add_parser("cluster", prog=f"{PROG} cluster", help=said, description=f"Control {said}.")
    actions = cluster.add_subparsers(metavar="ACTION", required=True)
    for name, run, what in (
        ("start", _start, "start it, or find the one that runs"),
        ("stop", _stop, "end it; its pods end too, its objects stay"),
        ("status", _status, "say whether it runs; exit status 1 if it does not"),
        ("kubeconfig", _kubeconfig, "print the path of a kubeconfig for kubectl and others; starts it if need be"),
        ("reset", _reset, "end it and delete everything that it keeps"),
    ):
        action = actions.add_parser(name, prog=f"{PROG} cluster {name}", help=what, description=what)
        action.set_defaults(run=run)
        if name == "status":
            action.add_argument("--pid", action="store_true", help="print the process id only")
        if name == "stop":
            action.add_argument("--keep-pods", action="store_true", help="let pods run on; the next start adopts them")
        if name == "reset":
            action.add_argument("--yes", action="store_true", help="do not ask")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


# --------------------------------------------------------------------------------------------------------- cluster


def _start(_: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.embedded import daemon

    info = daemon.start(settings.load())
    _say(f"running: pid {info.pid}, https://127.0.0.1:{info.port}")
    _say(f"export KUBECONFIG={info.kubeconfig}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.embedded import daemon

    _say("stopped" if daemon.stop(settings.load(), keep_pods=options.keep_pods) else "it was not running")
    return 0


def _status(options: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.embedded import daemon
    from jupyterlab_kf.widgets.text import duration

    chosen = settings.load()
    info = daemon.status(chosen)
    if info is None:
        if not options.pid:
            _say(f"not running; its folder is {chosen.cluster_dir}")
        return 1
    if options.pid:
        _say(str(info.pid))
        return 0
    _say(f"running for {duration(time.time() - info.started)}: pid {info.pid}, version {info.version}")
    _say(f"server      https://127.0.0.1:{info.port}")
    _say(f"kubeconfig  {info.kubeconfig}")
    _say(f"folder      {chosen.cluster_dir}")
    return 0


def _kubeconfig(_: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.embedded import daemon

    _say(str(daemon.ensure(settings.load())))
    return 0


def _reset(options: argparse.Namespace) -> int:
    import shutil

    from jupyterlab_kf import settings
    from jupyterlab_kf.embedded import daemon

    chosen = settings.load()
    if not options.yes:
        if not sys.stdin.isatty():
            raise UsageError(f"this deletes {chosen.cluster_dir}", hint="say --yes if you mean it")
        if input(f"Delete every job and result in {chosen.cluster_dir}? [y/N] ").strip().lower() != "y":
            return 1
    daemon.stop(chosen)
    if chosen.cluster_dir.exists():
        shutil.rmtree(chosen.cluster_dir)
    _say(f"deleted {chosen.cluster_dir}")
    return 0


# -------------------------------------------------------------------------------------------------------- training


def _train(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.magics import verbs
    from jupyterlab_kf.widgets.display import TextOutput

    settings = arguments.train_arguments(options)
    if options.dry_run:
        plan = kf.plan(Path(options.code), **settings)
        sys.stderr.write(f"{plan.summary}\n")  # so that the rest can be piped to kubectl
        _say(plan.yaml())
        return 0
    job = kf.train(Path(options.code), **settings)
    _say(f"submitted {job.name}")
    if options.detach:
        return 0
    _attached(lambda: verbs.watch(job, TextOutput()), job.name)
    if options.output:
        _say(verbs.brought(job, Path(options.output)).text)
    return 0


def _attached(show: Callable[[], object], name: str) -> None:
    """Run a live display; an interrupt leaves the job alone and says so."""
    try:
        show()
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndetached; {name} goes on: {PROG} wait {name}\n")
        raise


def _jobs(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.magics import verbs

    found = kf.jobs(options.namespace, all_namespaces=options.all_namespaces)
    _say(verbs.listing(found, namespaces=options.all_namespaces).text)
    return 0


def _logs(options: argparse.Namespace) -> int:
    from jupyterlab_kf.magics import verbs
    from jupyterlab_kf.widgets.display import log_line

    color = sys.stdout.isatty()
    ranks: dict[str, int] = {}
    for line in verbs.logs(options):
        _say(log_line(line, ranks, color=color))
        sys.stdout.flush()
    return 0


def _describe(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.magics import verbs

    _say(verbs.describe(kf.job(options.name, options.namespace)).text)
    return 0


def _wait(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.magics import verbs
    from jupyterlab_kf.widgets.display import TextOutput

    job = kf.job(options.name, options.namespace)
    _attached(lambda: verbs.watch(job, TextOutput(), timeout=options.timeout), job.name)
    return 0


def _delete(options: argparse.Namespace) -> int:
    from jupyterlab_kf.magics import verbs

    _say(verbs.delete(options.names, options.namespace, everything=options.all).text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
