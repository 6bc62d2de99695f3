"""``jupyter kf``: the cluster on this machine, and the verbs of the notebook for a terminal or a script.

Thin: arguments, one call, text. Exit status: 0 done, 1 an error or a failed job, 2 wrong words, 124 a wait that took
too long, 130 interrupted. Errors are one message and a hint on standard error; a stack is a bug. Imports what a
command needs when it runs, so that ``jupyter kf cluster status`` answers at once.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jupyterlab_kf.errors import JobFailedError, KubeflowError, UsageError, WaitTimeoutError
from jupyterlab_kf.magics import arguments, endpoints, studies

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


@functools.cache
def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(PROG, description="Train on Kubernetes, or on this machine.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_cluster(commands)
    builders: Sequence[tuple[str, Callable[[str], arguments.Parser], Command, str]] = (
        (
            "train",
            lambda prog: arguments.train_parser(prog, code="required"),
            _train,
            "run a script or a notebook as a job",
        ),
        ("tune", lambda prog: studies.tune_parser(prog, file=True), _tune, "search for a script's best parameters"),
        ("study", studies.verbs_parser, _study, "show, stop, resume, extend or clone a study, or stop one trial"),
        ("serve", lambda prog: endpoints.serve_parser(prog, terminal=True), _serve, "make a model an endpoint"),
        ("predict", endpoints.predict_parser, _predict, "ask an endpoint"),
        ("traffic", endpoints.traffic_parser, _traffic, "divide an endpoint's requests, promote, roll back"),
        (
            "monitor",
            lambda prog: endpoints.monitor_parser(prog, terminal=True),
            _monitor,
            "watch an endpoint for drift, or show what was found",
        ),
        ("endpoints", endpoints.endpoints_parser, _endpoints, "list endpoints, or show or delete one"),
        ("jobs", arguments.jobs_parser, _jobs, "list training jobs"),
        ("logs", arguments.logs_parser, _logs, "print what replicas printed"),
        ("describe", arguments.describe_parser, _describe, "show a job in detail"),
        ("wait", arguments.wait_parser, _wait, "show a job until it is finished"),
        ("delete", arguments.delete_parser, _delete, "delete jobs"),
        ("doctor", _doctor_parser, _doctor, "say what the cluster has and lacks, and how to get it"),
    )
    for name, build, run, said in builders:
        whole = build(f"{PROG} {name}")
        # argparse builds the parsers of commands itself; what the magics share arrives as a parent.
        added = commands.add_parser(
            name, prog=whole.prog, help=said, description=whole.description, parents=[whole], add_help=False,
            conflict_handler="resolve",
        )  # fmt: skip
        added.set_defaults(run=run)
    _add_profiles(commands)
    _add_kernels(commands)
    _add_controllers(commands)
    said = "run a hub on this machine: log in, choose hardware, get JupyterLab"
    hub = commands.add_parser("hub", prog=f"{PROG} hub", help=said, description=said)
    hub.set_defaults(run=_hub)
    return parser


def _add_profiles(commands: argparse._SubParsersAction[arguments.Parser]) -> None:
    said = "list the hardware that can be chosen by name, with what is free"
    added = commands.add_parser("profiles", prog=f"{PROG} profiles", help=said, description=said)
    added.add_argument("--for", dest="use", default="", metavar="USE", help="server, training, trial, serving, kernel")
    added.add_argument("--check", metavar="FILE", help="say what is wrong with a file; exit status 1 if anything is")
    added.set_defaults(run=_profiles)


def _add_kernels(commands: argparse._SubParsersAction[arguments.Parser]) -> None:
    said = "kernels under hardware profiles: the kernel specs that offer them"
    kernels = commands.add_parser("kernels", prog=f"{PROG} kernels", help=said, description=said)
    actions = kernels.add_subparsers(metavar="ACTION", required=True)
    for name, run, what in (
        ("list", _kernels_list, "say which profiles kernels may use, and which of them Jupyter offers"),
        ("install", _kernels_install, "write a kernel spec for each profile; remove those of profiles that are gone"),
        ("remove", _kernels_remove, "remove these kernel specs"),
    ):
        action = actions.add_parser(name, prog=f"{PROG} kernels {name}", help=what, description=what)
        action.set_defaults(run=run)
        if name != "list":
            where = action.add_mutually_exclusive_group()
            where.add_argument("--sys-prefix", action="store_true", help="in this environment (the default)")
            where.add_argument("--user", action="store_true", help="for you alone")
            where.add_argument("--prefix", metavar="FOLDER", help="in another environment")


def _add_controllers(commands: argparse._SubParsersAction[arguments.Parser]) -> None:
    said = "do the work of an operator on a cluster that has its definitions and not the operator"
    added = commands.add_parser("controllers", prog=f"{PROG} controllers", help=said, description=said)
    added.add_argument(
        "--only",
        required=True,
        choices=["katib", "serving"],
        metavar="FAMILY",
        help="katib (studies) or serving (SeldonDeployments)",
    )
    added.add_argument("-n", "--namespace", metavar="NS", help="only in this namespace; in all by default")
    added.add_argument("--lease-namespace", metavar="NS", help="where the Lease is; default: the namespace, or default")
    added.add_argument("--context", default="", metavar="CONTEXT", help="another cluster than the one in use")
    serving = added.add_argument_group("of serving, where another installation than Seldon's own is wanted")
    serving.add_argument("--engine", default="", metavar="IMAGE", help="the image of the engine")
    serving.add_argument("--engine-cpu", default="", metavar="CPU", help="what each engine asks for; 500m by default")
    serving.add_argument(
        "--ready-after", type=int, metavar="SECONDS", help="when servers are first asked whether they are ready; 20"
    )
    added.set_defaults(run=_controllers)


def _doctor_parser(prog: str) -> arguments.Parser:
    parser = arguments.doctor_parser(prog)
    parser.add_argument("--context", metavar="CONTEXT", help="another cluster than the one in use")
    parser.add_argument("--json", action="store_true", help="for programs")
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


def _say_at_once(text: str) -> None:
    _say(text)
    sys.stdout.flush()


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


# -------------------------------------------------------------------------------------------------------- profiles


def _profiles(options: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.profiles import Use
    from jupyterlab_kf.services import hardware
    from jupyterlab_kf.widgets import text

    if options.check:
        return _check(Path(options.check))
    if options.use not in ("", *Use):
        raise UsageError(f"hardware profiles are not for {options.use!r}", hint=f"they are for {', '.join(Use)}")
    path = hardware.find(settings.load())
    if path is None:
        looked = "\n".join(f"  {place}" for place in settings.load().profiles_files)
        raise UsageError("there is no file of hardware profiles", hint=f"looked for:\n{looked}")
    offers = hardware.here(Use(options.use) if options.use else None)
    rows = []
    for one in offers:
        row, uses = one.profile, one.profile.used_for
        meant = "everything" if uses == tuple(Use) else ", ".join(uses)
        rows.append((row.slug, row.display_name, row.hardware(), meant, one.room.sentence))
    _say(text.table(("profile", "name", "hardware", "for", "room"), rows))
    _say(f"\nfrom {path}")
    return 0


def _kernels_list(_: argparse.Namespace) -> int:
    from jupyterlab_kf.services.kernels import specs
    from jupyterlab_kf.widgets import text

    rows = [
        (one.profile.slug, one.profile.hardware(), str(one.folder) if one.folder else "not installed")
        for one in specs.offered()
    ]
    _say(text.table(("profile", "hardware", "kernel spec"), rows))
    return 0


def _kernels_install(options: argparse.Namespace) -> int:
    from jupyterlab_kf.services.kernels import specs

    written, removed = specs.install(_kernels_folder(options))
    for path in written:
        _say(f"installed {path}")
    for path in removed:
        _say(f"removed {path}")
    return 0


def _kernels_remove(options: argparse.Namespace) -> int:
    from jupyterlab_kf.services.kernels import specs

    for path in specs.remove(_kernels_folder(options)):
        _say(f"removed {path}")
    return 0


def _kernels_folder(options: argparse.Namespace) -> Path:
    from jupyterlab_kf.services.kernels import specs

    return specs.folder(user=options.user, prefix=Path(options.prefix) if options.prefix else None)


def _hub(_: argparse.Namespace) -> int:
    from importlib.util import find_spec

    if not all(find_spec(name) for name in ("jupyterlab_kf_hub", "jupyterhub", "kubespawner")):
        raise UsageError("the hub is not installed", hint="install it with: pip install 'jupyterlab-kf[hub]'")
    # The hub is a program of its own, which imports this package and is never imported by it.
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab_kf_hub"])  # noqa: S606  our own words
    return 0


def _check(path: Path) -> int:
    from jupyterlab_kf.profiles import check
    from jupyterlab_kf.widgets import text

    try:
        found, problems = check(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    for problem in problems:
        _say(f"{path}:{problem.line}: {problem.message}")
    if not problems:
        _say(f"{path}: {text.plural(len(found.profiles), 'profile')}, nothing wrong")
    return 1 if problems else 0


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
    job, told = verbs.submitted(lambda: kf.train(Path(options.code), **settings))
    for line in told:
        sys.stderr.write(f"{PROG}: {line}\n")
    _say(f"submitted {job.name}")
    if options.detach:
        return 0
    _attached(lambda: verbs.watch(job, TextOutput()), job.name)
    if options.output:
        _say(verbs.brought(job, Path(options.output)).text)
    return 0


def _controllers(options: argparse.Namespace) -> int:
    from jupyterlab_kf.services import families, operators

    family = families.FAMILIES[options.only]
    chosen = {"engine": options.engine, "engine_cpu": options.engine_cpu, "ready_after": options.ready_after}
    if any(value not in ("", None) for value in chosen.values()):
        if family is not families.SERVING:
            raise UsageError("--engine, --engine-cpu and --ready-after are of --only serving")
        family = families.serving(**chosen)
    operators.main(
        family,
        options.context,
        namespace=options.namespace,
        lease_namespace=options.lease_namespace or options.namespace or "default",
        report=_say_at_once,
    )
    return 0


def _tune(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf

    words = studies.tune_arguments(options)
    if options.dry_run:
        sys.stdout.write(kf.plan_study(Path(options.code), **words).yaml())
        return 0
    study = kf.tune(Path(options.code), **words)
    _say(f"submitted {study.name}")
    if options.detach:
        return 0
    seen = ""
    try:
        for _ in study.changes():
            head = "\n".join(studies.card(study).text.splitlines()[:2])
            if head != seen:
                _say(head)
                sys.stdout.flush()
            seen = head
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndetached; {study.name} goes on\n")
        raise
    study.wait()
    _say(studies.card(study).text)
    return 0


def _study(options: argparse.Namespace) -> int:
    shown, code = studies.deed(options)
    _say(code.rstrip() or shown.text)
    return 0


def _serve(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.magics import verbs
    from jupyterlab_kf.widgets.endpoints import endpoint_card

    model, words = endpoints.terminal_model(options), endpoints.serve_arguments(options)
    if options.dry_run:
        plan = kf.plan_serve(model, **words)
        sys.stderr.write(f"{plan.summary}\n")
        _say(plan.yaml())
        return 0
    from jupyterlab_kf.services import serving

    endpoint, told = verbs.submitted(lambda: serving.begin(model, **words))
    for line in told:
        sys.stderr.write(f"{PROG}: {line}\n")
    _say_at_once(f"submitted {endpoint.name}")
    if options.detach:
        return 0
    try:
        for view in endpoint.coming(options.timeout):
            _say_at_once(endpoint_card(view).text)
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndetached; {endpoint.name} comes up by itself: {PROG} endpoints {endpoint.name}\n")
        raise
    if options.reference:
        endpoint.monitor(words["reference"], timeout=options.timeout)
        _say(f"{endpoint.name} is monitored: {PROG} monitor {endpoint.name}")
    return 0


def _predict(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.endpoints import answer_card

    value = endpoints.value_of(options.data, {})
    _say(answer_card(kf.endpoint(options.name, options.namespace).ask(value)).text)
    return 0


def _traffic(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.endpoints import history_table

    endpoint = kf.endpoint(options.name, options.namespace)
    if options.history:
        _say(history_table(endpoint.history()).text)
    else:
        _say(endpoints.card(endpoints.divide(endpoint, options)).text)
    return 0


def _monitor(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf

    _say(endpoints.monitor(kf.endpoint(options.name, options.namespace), options, None).text)
    return 0


def _endpoints(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.display import log_line

    if not options.name:
        _say(endpoints.listing(options.namespace).text)
        return 0
    endpoint = kf.endpoint(options.name, options.namespace)
    if options.logs:
        ranks: dict[str, int] = {}
        for line in endpoint.logs():
            _say(log_line(line, ranks, color=sys.stdout.isatty()))
    elif options.delete:
        endpoint.delete()
        _say(f"deleted {endpoint.name}")
    else:
        _say(endpoints.card(endpoint, measured=True).text)
    return 0


def _attached(show: Callable[[], object], name: str) -> None:
    """Run a live display; an interrupt leaves the job alone and says so."""
    try:
        show()
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndetached; {name} goes on: {PROG} wait {name}\n")
        raise


def _jobs(options: argparse.Namespace) -> int:
    from jupyterlab_kf.magics import verbs

    _say(verbs.listing(options).text)
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


def _doctor(options: argparse.Namespace) -> int:
    """Exit status 1 when jobs cannot be trained there."""
    import json

    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.doctor import report_card, report_json

    if options.context:
        kf.cluster(options.context)
    found = kf.doctor(options.namespace)
    _say(json.dumps(report_json(found), indent=1) if options.json else report_card(found).text)
    return 0 if found.ready else 1


def _delete(options: argparse.Namespace) -> int:
    from jupyterlab_kf.magics import verbs

    _say(verbs.delete(options.names, options.namespace, everything=options.all).text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
