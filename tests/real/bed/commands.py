"""A real Kubernetes cluster on this machine, for the tests and for trying things by hand.

    python tests/real/cluster.py start [--name N] [--operator training|mpi|none] [--nodes 3] [--crds FOLDER]
                                      [--node [--frameworks mpi,pytorch]]
    python tests/real/cluster.py stop [--name N | --all]
    python tests/real/cluster.py status | kubeconfig | build

``start`` builds what is missing (minutes, once), starts the cluster (seconds) and prints its kubeconfig; ``stop`` ends
it and leaves nothing behind. Clusters of different names run side by side. Everything listens on loopback.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time

import provision

from bed import binaries, gateways, images, models, node, notebooks
from bed.cluster import RealCluster, StartError
from bed.plan import OPERATORS


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["start", "stop", "status", "kubeconfig", "build"])
    parser.add_argument("--name", default="default")
    parser.add_argument("--operator", choices=OPERATORS, default="training")
    parser.add_argument(
        "--node",
        nargs="?",
        default="no",
        const="yes",
        choices=["yes", "auto", "no"],
        help="a real node beside the simulated ones (Linux, root); auto: where this machine can run one",
    )
    parser.add_argument("--frameworks", default="", help="images that the real node has besides: mpi,pytorch,...")
    parser.add_argument("--nodes", type=int, default=3, help="simulated nodes")
    parser.add_argument("--crds", default=os.environ.get("KF_CRDS", ""), help="a folder of further CRDs")
    parser.add_argument("--all", action="store_true", help="stop: every cluster")
    options = parser.parse_args(argv)
    os.environ["KF_PROVISION"] = "1"
    try:
        return _obey(options)
    except (provision.MissingError, StartError) as error:
        print(error, file=sys.stderr)
        return 1


def _build() -> int:
    """Make what is missing; say what cannot be made, which is an error where the real thing is asked for."""
    missing = 0
    for get in (binaries.control_plane, binaries.kwok, binaries.training_operator, binaries.mpi_operator, _node):
        before = time.monotonic()
        try:
            get()
        except provision.MissingError as error:
            missing += 1
            print(f"missing: {error}", flush=True)
        if (seconds := time.monotonic() - before) > 1:
            print(f"{get.__name__.strip('_')}: made in {seconds:.0f} s", flush=True)
    return int(missing > 0 and os.environ.get("KF_REQUIRE_REAL") == "1")


def _node() -> None:
    node.check()
    images.standard(binaries.node())
    images.framework("mpi")
    models.serving()
    notebooks.kernel()
    gateways.base()


def _can_run_node() -> bool:
    """Whether this machine can run a real node; the reason why not is said."""
    try:
        node.check()
    except provision.MissingError as error:
        print(f"no real node: {error}", file=sys.stderr)
        return False
    return True


def _obey(options: argparse.Namespace) -> int:
    if options.what == "build":
        return _build()
    elif options.what == "start":
        before = time.monotonic()
        cluster = RealCluster.start(
            options.name,
            operator=options.operator,
            with_node=options.node == "yes" or (options.node == "auto" and _can_run_node()),
            nodes=options.nodes,
            crds=options.crds,
            frameworks=tuple(filter(None, options.frameworks.split(","))),
        )
        print(f"cluster {options.name} is ready after {time.monotonic() - before:.1f} s", file=sys.stderr)
        print(cluster.kubeconfig)
        if cluster.plan.node:
            print(f"the quick start on it:  make demo KUBECONFIG={cluster.kubeconfig}", file=sys.stderr)
    elif options.what == "stop":
        for cluster in RealCluster.all():
            if options.all or cluster.plan.name == options.name:
                cluster.stop()
    elif options.what == "kubeconfig":
        found = RealCluster.find(options.name)
        if found is None:
            print(f"no cluster {options.name} runs", file=sys.stderr)
            return 1
        print(found.kubeconfig)
    else:
        for cluster in RealCluster.all():
            facts = dataclasses.asdict(cluster.plan)
            chosen = {key: facts[key] for key in ("operator", "node", "simulated")}
            print(json.dumps({"name": cluster.plan.name} | chosen | cluster.state(), indent=1))
    return 0
