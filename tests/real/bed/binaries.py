"""The programs of a real cluster, built once from their Go modules and kept in the cache folder.

Each set is keyed by the content of its go.mod, go.sum and sources, so a changed version builds again and nothing else
does. An operator's own manifests (CRDs, rights, webhooks) are kept beside its program as JSON, read from the same
module: they cannot be of another version than the program, and no copy of them lies in this repository.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import provision
import yaml

HERE = Path(__file__).parent.parent
MODULES = HERE / "go"
# Built again for images: without cgo, so that it runs on any root file system.
_KUBECTL = HERE.parent / "tools" / "kubectl"
KUBERNETES_VERSION = "v1.36.3"
TRAINING_OPERATOR_VERSION = "1.8.1"
MPI_OPERATOR_VERSION = "0.6.0"

_VERSION = "k8s.io/component-base/version"
_KUBERNETES_FLAGS = f"-X {_VERSION}.gitVersion={KUBERNETES_VERSION} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"
# CSafeLoader is ten times as fast, and the CRDs are half a megabyte each.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def control_plane() -> Path:
    """A folder with etcd, kube-apiserver, kube-controller-manager and kube-scheduler."""
    commands = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")

    def make(target: Path) -> None:
        packages = ["go.etcd.io/etcd/server/v3", *(f"k8s.io/kubernetes/cmd/{name}" for name in commands)]
        _go_build("kubernetes", target, packages, flags=_KUBERNETES_FLAGS)
        (target / "server").rename(target / "etcd")

    return provision._made("real-control-plane", _sources("kubernetes"), make)


def node() -> Path:
    """A folder with what a real node runs: kubelet, kube-proxy, cluster DNS, and what goes into images."""

    def make(target: Path) -> None:
        packages = ["k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/cmd/kube-proxy"]
        _go_build("kubernetes", target, packages, flags=_KUBERNETES_FLAGS)
        _go_build("node", target, ["./dns", "./pause"])
        _go_build(_KUBECTL, target, ["."])

    return provision._made("real-node", [*_sources("kubernetes"), *_sources("node"), *_sources(_KUBECTL)], make)


def training_operator() -> Path:
    """A folder with the training operator and its manifests."""
    module = "github.com/kubeflow/training-operator"

    def make(target: Path) -> None:
        _go_build("training-operator", target, [f"{module}/cmd/training-operator.v1"])
        (target / "training-operator.v1").rename(target / "training-operator")
        base = _module_folder("training-operator", module) / "manifests" / "base"
        _keep(target / "crds.json", sorted((base / "crds").glob("kubeflow.org_*.yaml")))
        _keep(target / "rights.json", sorted((base / "rbac").glob("*.yaml")))
        _keep(target / "webhooks.json", [base / "webhook" / "manifests.yaml"])

    return provision._made("real-training-operator", _sources("training-operator"), make)


def mpi_operator() -> Path:
    """A folder with the MPI operator (MPIJob v2beta1) and its manifests."""
    module = "github.com/kubeflow/mpi-operator"

    def make(target: Path) -> None:
        _go_build("mpi-operator", target, [f"{module}/cmd/mpi-operator"])
        base = _module_folder("mpi-operator", module) / "manifests" / "base"
        _keep(target / "crds.json", [base / "kubeflow.org_mpijobs.yaml"])
        names = ("service-account", "cluster-role", "cluster-role-binding")
        _keep(target / "rights.json", [base / f"{name}.yaml" for name in names])

    return provision._made("real-mpi-operator", _sources("mpi-operator"), make)


def kwok() -> Path:
    """A folder with KWOK, which plays nodes and their pods, and the stages it plays them by."""
    module = "sigs.k8s.io/kwok"

    def make(target: Path) -> None:
        _go_build("kwok", target, [f"{module}/cmd/kwok"])
        stages = _module_folder("kwok", module) / "kustomize" / "stage"
        for name in (
            "node/fast/node-initialize",
            "node/heartbeat/node-heartbeat",
            "pod/fast/pod-ready",
            "pod/fast/pod-complete",
            "pod/fast/pod-delete",
        ):
            shutil.copyfile(stages / f"{name}.yaml", target / f"{name.rpartition('/')[2]}.yaml")

    return provision._made("real-kwok", _sources("kwok"), make)


def objects(path: Path) -> list[dict[str, Any]]:
    """The objects of a YAML file, or of a JSON list that :func:`_keep` wrote."""
    text = path.read_text()
    found = json.loads(text) if path.suffix == ".json" else list(yaml.load_all(text, Loader=_LOADER))
    return [item for item in found if item]


def _keep(target: Path, sources: Iterable[Path]) -> None:
    target.write_text(json.dumps([item for source in sources for item in objects(source)]))


def _sources(module: str | Path) -> list[Path]:
    folder = MODULES / module
    return [folder / "go.mod", folder / "go.sum", *sorted(folder.rglob("*.go"))]


def _go_build(module: str | Path, target: Path, packages: list[str], *, flags: str = "") -> None:
    go = shutil.which("go")
    if go is None:
        raise provision.MissingError(f"no go on the PATH: {module} is not built, and the tests on it are skipped")
    # Static programs: what runs on the node's own root file system must not look for this machine's libraries.
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    target.mkdir(exist_ok=True)
    # All cores, but politely: a cold build takes minutes, and people work beside it. KF_BUILD_CORES asks for fewer.
    workers = os.environ.get("KF_BUILD_CORES") or str(os.cpu_count() or 1)
    command = [go, "build", "-trimpath", "-p", workers, "-ldflags", f"-s -w {flags}", "-o", f"{target}{os.sep}"]
    nice = [found, "-n", "10"] if (found := shutil.which("nice")) else []
    provision._run([*nice, *command, *packages], cwd=MODULES / module, env=environment)


def _module_folder(module: str, path: str) -> Path:
    done = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", path],
        check=True,
        cwd=MODULES / module,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return Path(done.stdout.strip())
