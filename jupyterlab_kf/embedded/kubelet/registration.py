"""The Node object and its lease: what the cluster knows of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.embedded.kubelet import machine
from jupyterlab_kf.embedded.kubelet.commons import Commons
from jupyterlab_kf.errors import AlreadyExistsError
from jupyterlab_kf.model import Obj, format_micro_time, meta

LEASE_NAMESPACE: Final = "kube-node-lease"
LEASE_SECONDS: Final = 40.0
SHARED_ADDRESS: Final = f"{names.DOMAIN}/shared-address"


def register(commons: Commons) -> None:
    """Make the Node, or bring it up to date, and begin its lease."""
    now = time.time()
    have = commons.registry.view.get(kinds.NODE, "", commons.node)
    if have is None:
        metadata: Obj = {"name": commons.node, "labels": machine.node_labels(commons.node)}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}}
        with contextlib.suppress(AlreadyExistsError):
            have = commons.registry.create(kinds.NODE, node)
    have = commons.registry.get(kinds.NODE, "", commons.node)
    said = {names.ANNOTATION_TELLS_PACKAGES: "true"}
    if commons.shared_address:
        said[SHARED_ADDRESS] = "pods share 127.0.0.1; their ports are given out"
    known = meta(have).get("annotations") or {}
    if known | said != known:
        head = {**meta(have), "annotations": {**known, **said}}
        have = commons.registry.update(kinds.NODE, {**have, "metadata": head})
    status = machine.node_status(commons.node, commons.settings.cluster_dir, now, have.get("status") or {})
    commons.registry.update(kinds.NODE, {**have, "status": status}, subresource="status")
    _renew_lease(commons, now)


def _renew_lease(commons: Commons, now: float) -> None:
    spec = {
        "holderIdentity": commons.node,
        "leaseDurationSeconds": int(LEASE_SECONDS * 3),
        "renewTime": format_micro_time(now),
    }
    have = commons.registry.view.get(kinds.LEASE, LEASE_NAMESPACE, commons.node)
    if have is None:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": commons.node}}
        commons.registry.create(kinds.LEASE, {**lease, "spec": spec}, namespace=LEASE_NAMESPACE)
    else:
        commons.registry.update(kinds.LEASE, {**have, "spec": spec})


async def renew(commons: Commons) -> None:
    """Renew the lease for as long as the node lives."""
    while True:
        await asyncio.sleep(LEASE_SECONDS)
        _renew_lease(commons, time.time())
