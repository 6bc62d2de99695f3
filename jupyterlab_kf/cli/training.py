"""Jobs and studies from a terminal: the notebook's verbs, their output as text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from jupyterlab_kf.cli.saying import PROG, Row, say
from jupyterlab_kf.magics import arguments, studies


def _train(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.magics import verbs
    from jupyterlab_kf.widgets.display import TextOutput

    settings = arguments.train_arguments(options)
    if options.dry_run:
        plan = kf.plan(Path(options.code), **settings)
        sys.stderr.write(f"{plan.summary}\n")  # so that the rest can be piped to kubectl
        say(plan.yaml())
        return 0
    job, told = verbs.submitted(lambda: kf.train(Path(options.code), **settings))
    for line in told:
        sys.stderr.write(f"{PROG}: {line}\n")
    say(f"submitted {job.name}")
    if options.detach:
        return 0
    _attached(lambda: verbs.watch(job, TextOutput()), job.name)
    if options.output:
        say(verbs.brought(job, Path(options.output)).text)
    return 0


def _attached(show: Callable[[], object], name: str) -> None:
    """Run a live display; an interrupt leaves the job alone and says so."""
    try:
        show()
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndetached; {name} goes on: {PROG} wait {name}\n")
        raise


def _tune(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf

    words = studies.tune_arguments(options)
    if options.dry_run:
        sys.stdout.write(kf.plan_study(Path(options.code), **words).yaml())
        return 0
    study = kf.tune(Path(options.code), **words)
    say(f"submitted {study.name}")
    if options.detach:
        return 0
    seen = ""
    try:
        for _ in study.changes():
            head = "\n".join(studies.card(study).text.splitlines()[:2])
            if head != seen:
                say(head)
                sys.stdout.flush()
            seen = head
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndetached; {study.name} goes on\n")
        raise
    study.wait()
    say(studies.card(study).text)
    return 0


def _study(options: argparse.Namespace) -> int:
    shown, code = studies.deed(options)
    say(code.rstrip() or shown.text)
    return 0


def _jobs(options: argparse.Namespace) -> int:
    from jupyterlab_kf.magics import verbs

    say(verbs.listing(options).text)
    return 0


def _logs(options: argparse.Namespace) -> int:
    from jupyterlab_kf.magics import verbs
    from jupyterlab_kf.widgets.display import log_line

    color = sys.stdout.isatty()
    ranks: dict[str, int] = {}
    for line in verbs.logs(options):
        say(log_line(line, ranks, color=color))
        sys.stdout.flush()
    return 0


def _describe(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.magics import verbs

    say(verbs.describe(kf.job(options.name, options.namespace)).text)
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

    say(verbs.delete(options.names, options.namespace, everything=options.all).text)
    return 0


SUBMITTING: Final[Sequence[Row]] = (
    (
        "train",
        lambda prog: arguments.train_parser(prog, code="required"),
        _train,
        "run a script or a notebook as a job",
    ),
    ("tune", lambda prog: studies.tune_parser(prog, file=True), _tune, "search for a script's best parameters"),
    ("study", studies.verbs_parser, _study, "show, stop, resume, extend or clone a study, or stop one trial"),
)
FOLLOWING: Final[Sequence[Row]] = (
    ("jobs", arguments.jobs_parser, _jobs, "list training jobs"),
    ("logs", arguments.logs_parser, _logs, "print what replicas printed"),
    ("describe", arguments.describe_parser, _describe, "show a job in detail"),
    ("wait", arguments.wait_parser, _wait, "show a job until it is finished"),
    ("delete", arguments.delete_parser, _delete, "delete jobs"),
)
