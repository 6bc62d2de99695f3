"""The init container that fetches a model before its server starts, and the volume that both share. Pure."""

from __future__ import annotations

from typing import Final

from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.controllers.seldon import names, pods
from jupyterlab_kf.controllers.seldon.options import Options
from jupyterlab_kf.model import Obj

_CLAIM: Final = "pvc://"
_CLAIM_VOLUME: Final = "kfserving-pvc-source"
_CLAIM_PATH: Final = "/mnt/pvc"
_REQUESTS: Final = {"cpu": "100m", "memory": "100Mi"}
_LIMITS: Final = {"cpu": "1", "memory": "1Gi"}


def inject(made: Obj, container: str, source: str, *, options: Options, secret: str = "", image: str = "") -> None:
    """Let a model be fetched for a container of a Deployment; nothing when it has no model.

    Args:
        made: the Deployment.
        container: whose model it is.
        source: where the model is: ``pvc://claim/path``, ``s3://bucket/path``, a path.
        options: the installation.
        secret: a Secret with the credentials for the source, as variables.
        image: another initializer than the installation's.
    """
    if not source:
        return
    user = pods.container(made, container)
    if user is None:
        raise ComponentError(f"there is no container {container} that a model could be fetched for")
    volume = names.cut(f"{container}-provision-location")
    title = names.cut(f"{container}-model-initializer")
    pod = pods.pod_of(made)
    if any(one["name"] == title for one in pod.get("initContainers") or ()):
        _mount(user, volume, names.MODEL_PATH)
        return
    volumes: list[Obj] = pod.setdefault("volumes", [])
    mounts: list[Obj] = []
    if source.startswith(_CLAIM):
        claim, _, path = source.removeprefix(_CLAIM).partition("/")
        volumes.append({"name": _CLAIM_VOLUME, "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": _CLAIM_VOLUME, "mountPath": _CLAIM_PATH, "readOnly": True})
        _mount(user, _CLAIM_VOLUME, _CLAIM_PATH)
        source = f"{_CLAIM_PATH}/{path}"
    volumes.append({"name": volume, "emptyDir": {}})
    mounts.append({"name": volume, "mountPath": names.MODEL_PATH})
    _mount(user, volume, names.MODEL_PATH)
    first: Obj = {
        "name": title,
        "image": image or options.initializer,
        "imagePullPolicy": "IfNotPresent",
        "args": [source, names.MODEL_PATH],
        "volumeMounts": mounts,
        **pods.FILE,
        "resources": {"limits": dict(_LIMITS), "requests": dict(_REQUESTS)},
    }
    if secret := secret or options.secret:
        first["envFrom"] = [{"secretRef": {"name": secret}}]
    pod.setdefault("initContainers", []).append(first)


def _mount(container: Obj, volume: str, path: str) -> None:
    mounts = container.setdefault("volumeMounts", [])
    if not any(one["name"] == volume for one in mounts):
        mounts.append({"name": volume, "mountPath": path, "readOnly": True})
