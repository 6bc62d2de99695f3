"""Who holds requests for what sleeps: what it is told in a file, and its Deployment.

The program is ``jupyterlab_kf.runtime.activator``. It is a pod of its own beside Envoy's: it outlives the daemon, and
is started again by the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import sleep, support
from jupyterlab_kf.controllers.istio import Destination, World, path_of
from jupyterlab_kf.controllers.istio.clusters import held_at
from jupyterlab_kf.controllers.istio.world import Mesh
from jupyterlab_kf.controllers.workloads.sleeping import ACTIVATOR
from jupyterlab_kf.embedded.apiserver.options import MERGE_PATCH
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.model import Obj

FILE: Final = "sleepers.json"
IMAGE: Final = "jupyterlab-kf/activator"
_CREDENTIALS: Final = "/var/run/kf"
_GRACE: Final = 15


def watched(world: World, destinations: Iterable[Destination]) -> Obj:
    """What the activator is told: for each socket whom to wake, and the file that says where it is once it is awake."""
    mesh, found = Mesh(world, world.place), {}
    for to in destinations:
        sleeper = mesh.sleeper(to)
        wish = sleep.of(sleeper) if sleeper is not None else None
        if sleeper is not None and wish is not None:
            found[held_at(world.place, to)] = {
                "namespace": support.namespace(sleeper),
                "deployment": support.name(sleeper),
                "replicas": wish.replicas,
                "endpoints": path_of(world.place, "eds", to.cluster),
            }
    return {"sleepers": found}


def ensure(registry: Registry, folder: Path) -> None:
    """The activator's Deployment, made where it is missing; the folder that it is told follows the cluster's."""
    wanted = deployment(folder)
    have = registry.view.get(kinds.DEPLOYMENT, *ACTIVATOR)
    if have is None:
        registry.create(kinds.DEPLOYMENT, wanted, namespace=ACTIVATOR[0])
        return
    containers = have["spec"]["template"]["spec"]["containers"]
    args = wanted["spec"]["template"]["spec"]["containers"][0]["args"]
    if containers[0].get("args") != args:
        patch = {"spec": {"template": {"spec": {"containers": [{**containers[0], "args": args}, *containers[1:]]}}}}
        registry.patch(kinds.DEPLOYMENT, *ACTIVATOR, patch, MERGE_PATCH)


def deployment(folder: Path) -> Obj:
    """The activator as a Deployment.

    Args:
        folder: where Envoy's configuration lies, and :data:`FILE`.
    """
    namespace, name = ACTIVATOR
    labels = {"app": name}
    mount = {"name": "credentials", "mountPath": _CREDENTIALS, "readOnly": True}
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources = [{"serviceAccountToken": {"path": "token"}}, {"configMap": authority}]
    container = {
        "name": "activator",
        "image": IMAGE,
        "args": [f"{folder}/{FILE}"],
        "env": [{"name": "KF_CREDENTIALS", "value": _CREDENTIALS}],
        "volumeMounts": [mount],
    }
    pod = {
        "terminationGracePeriodSeconds": _GRACE,
        "containers": [container],
        "volumes": [{"name": "credentials", "projected": {"sources": sources}}],
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        # Two at once would want the same sockets.
        "strategy": {"type": "Recreate"},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
