"""Claims as folders of this machine: bound at once, as by a dynamic provisioner, and deleted with the object."""

from __future__ import annotations

import logging

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Emit
from jupyterlab_kf.embedded.kubelet.commons import Commons
from jupyterlab_kf.embedded.store import Change
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.model import Obj, Ref, meta

_log = logging.getLogger("jupyterlab_kf.embedded.kubelet")


def adopt(commons: Commons) -> None:
    """Bind what was claimed while no node ran."""
    for claim in commons.registry.view.list(kinds.PERSISTENT_VOLUME_CLAIM):
        _bind(commons, claim)


def follow(commons: Commons, change: Change) -> None:
    """What a change of a claim means for its folder."""
    if change.type == "DELETED":
        commons.reclaim(commons.claim_folder(change.obj))
    else:
        _bind(commons, change.obj)


def _bind(commons: Commons, claim: Obj) -> None:
    live = commons.registry.view.get(
        kinds.PERSISTENT_VOLUME_CLAIM, str(meta(claim)["namespace"]), str(meta(claim)["name"])
    )
    if live is None or (live.get("status") or {}).get("phase") == "Bound":
        return
    folder = commons.claim_folder(live)
    folder.mkdir(parents=True, exist_ok=True)
    spec = live.get("spec") or {}
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
    status = {"phase": "Bound", "accessModes": spec.get("accessModes") or [], "capacity": {"storage": size}}
    try:
        live = commons.registry.update(
            kinds.PERSISTENT_VOLUME_CLAIM, {**live, "spec": {**spec, "volumeName": folder.name}}
        )
        commons.registry.update(kinds.PERSISTENT_VOLUME_CLAIM, {**live, "status": status}, subresource="status")
    except ApiError as error:
        _log.warning("the claim %s could not be bound: %s", meta(claim).get("name"), error)
        return
    about = Ref.of({**live, "kind": "PersistentVolumeClaim"})
    message = f"Successfully provisioned volume {folder.name}: it is the folder {folder}"
    commons.registry.record(Emit(about, "v1", "Normal", "ProvisioningSucceeded", message, "kubelet"))
