"""The cluster on this machine, what a cluster has and lacks, and the work of an operator that it lacks."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jupyterlab_kf.cli.saying import PROG, Commands, Row, say, say_at_once
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.magics.arguments import Parser, doctor_parser


def add_cluster(commands: Commands) -> None:
    """``cluster start``, ``stop``, ...: the cluster on this machine."""
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


def _start(_: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.embedded import daemon

    info = daemon.start(settings.load())
    say(f"running: pid {info.pid}, https://127.0.0.1:{info.port}")
    say(f"export KUBECONFIG={info.kubeconfig}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.embedded import daemon

    say("stopped" if daemon.stop(settings.load(), keep_pods=options.keep_pods) else "it was not running")
    return 0


def _status(options: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.embedded import daemon
    from jupyterlab_kf.widgets.text import duration

    chosen = settings.load()
    info = daemon.status(chosen)
    if info is None:
        if not options.pid:
            say(f"not running; its folder is {chosen.cluster_dir}")
        return 1
    if options.pid:
        say(str(info.pid))
        return 0
    say(f"running for {duration(time.time() - info.started)}: pid {info.pid}, version {info.version}")
    say(f"server      https://127.0.0.1:{info.port}")
    say(f"kubeconfig  {info.kubeconfig}")
    say(f"folder      {chosen.cluster_dir}")
    return 0


def _kubeconfig(_: argparse.Namespace) -> int:
    from jupyterlab_kf import settings
    from jupyterlab_kf.embedded import daemon

    say(str(daemon.ensure(settings.load())))
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
    say(f"deleted {chosen.cluster_dir}")
    return 0


def add_controllers(commands: Commands) -> None:
    """``controllers``: what an operator would do."""
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
        report=say_at_once,
    )
    return 0


def _doctor_parser(prog: str) -> Parser:
    parser = doctor_parser(prog)
    parser.add_argument("--context", metavar="CONTEXT", help="another cluster than the one in use")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _doctor(options: argparse.Namespace) -> int:
    """Exit status 1 when jobs cannot be trained there."""
    import json

    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.doctor import report_card, report_json

    if options.context:
        kf.cluster(options.context)
    found = kf.doctor(options.namespace)
    say(json.dumps(report_json(found), indent=1) if options.json else report_card(found).text)
    return 0 if found.ready else 1


ROWS: Final[Sequence[Row]] = (
    ("doctor", _doctor_parser, _doctor, "say what the cluster has and lacks, and how to get it"),
)


def add_gateway(commands: Commands) -> None:
    """``gateway``: what Istio's own would do."""
    said = "be the gateway of a cluster that has Istio's definitions and no Istio: a pod's two containers"
    added = commands.add_parser("gateway", prog=f"{PROG} gateway", help=said, description=said)
    added.add_argument("folder", type=Path, metavar="FOLDER", help="where Envoy's configuration lies")
    added.add_argument("--envoy", action="store_true", help="become the Envoy that reads it, once it is there")
    where = "serve its routes; may be repeated; those of all by default"
    added.add_argument("-n", "--namespace", action="append", default=[], metavar="NS", help=where)
    added.add_argument("--context", default="", metavar="CONTEXT", help="another cluster than the one in use")
    added.set_defaults(run=_gateway)


def _gateway(options: argparse.Namespace) -> int:
    from jupyterlab_kf.services import gateway

    if options.envoy:
        gateway.become_envoy(options.folder)
    gateway.main(options.folder, options.context, namespaces=options.namespace, report=say_at_once)
    return 0
