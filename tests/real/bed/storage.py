"""The default StorageClass and who makes its volumes, as a cloud's provisioner makes disks: folders of the real node.

Most clusters have one. A provisioner from a Go module would start a pod of a pulled image for each folder, so this is
one of our own: it watches claims of its class and creates local volumes for them, and removes what was released.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from bed.api import Api, ApiStatusError, Obj
from bed.plan import NODE_NAME, Plan

CLASS = "standard"
PROVISIONER = "real.jupyterlab-kf.io/folders"
_EVERY = 0.3
_KIND = ("v1", "PersistentVolume")


def storage_class() -> Obj:
    """The class; claims that name none are given it by the API server."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def command(plan: Plan) -> list[str]:
    """The provisioner's command line."""
    return [sys.executable, "-m", "bed.storage", str(plan.folder / "plan.json")]


def volume(claim: Obj, folder: Path) -> Obj:
    """The volume for a claim: a folder of the real node's."""
    head = claim["metadata"]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{head['uid']}",
            "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
        },
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": head["name"],
                "namespace": head["namespace"],
                "uid": head["uid"],
            },
        },
    }


def once(api: Api, root: Path) -> None:
    """Make what is claimed, remove what was released."""
    for claim in api.list("v1", "PersistentVolumeClaim", ""):
        if claim["spec"].get("storageClassName") != CLASS or claim["spec"].get("volumeName"):
            continue
        folder = root / claim["metadata"]["uid"]
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        try:
            api.create(volume(claim, folder))
        except ApiStatusError as error:
            if error.reason != "AlreadyExists":
                raise
    for made in api.list(*_KIND):
        if made["spec"].get("storageClassName") == CLASS and made.get("status", {}).get("phase") in (
            "Released",
            "Failed",
        ):
            api.delete(*_KIND, made["metadata"]["name"])
            shutil.rmtree(made["spec"]["local"]["path"], ignore_errors=True)


def main() -> int:
    """Until it is killed; an API server that is away is waited for."""
    plan = Plan.read(Path(sys.argv[1]))
    api = Api(plan.component_kubeconfig("storage"))
    while True:
        try:
            once(api, plan.folder / "volumes")
        except (OSError, ApiStatusError) as error:
            print(f"storage: {error}", flush=True)
        time.sleep(_EVERY)


if __name__ == "__main__":
    sys.exit(main())
