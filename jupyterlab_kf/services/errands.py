"""Runs a pod of a moment's life and answers what it said; the pod is gone afterwards, whatever happens."""

from __future__ import annotations

import asyncio
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import KubeflowError, WaitTimeoutError
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.model import Obj, Ref, meta

_START_TIMEOUT: Final = 300.0


async def run(client: Client, pod: Obj) -> list[str]:
    """The lines that a pod writes until it has succeeded.

    Raises:
        KubeflowError: it failed; tells its last lines.
        WaitTimeoutError: it did not run; tells what the cluster says about that.
    """
    space, name = str(meta(pod)["namespace"]), str(meta(pod)["name"])
    try:
        await client.create(kinds.POD, pod, namespace=space)
        await _ended(client, space, name)
        return [line async for line in client.logs(space, name)]
    finally:
        await asyncio.shield(client.delete(kinds.POD, space, name, grace=0))


async def _ended(client: Client, namespace: str, name: str) -> None:
    pause, waited = 0.03, 0.0
    ref = Ref("Pod", name, namespace)
    while waited < _START_TIMEOUT:
        pod = await client.get(kinds.POD, namespace, name)
        phase = (pod.get("status") or {}).get("phase")
        if phase == "Succeeded":
            return
        if phase == "Failed":
            ended = pods.terminated(pods.main_status(pod))
            lines = [line async for line in client.logs(namespace, name, tail=5)]
            raise KubeflowError(
                f"the pod that was to reach the volume failed (exit code {ended.get('exitCode')}): {' '.join(lines)}",
                ref=ref,
            )
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 1.3, 1.0)
    stuck = pods.replica(pod, "errand", 0)
    raise WaitTimeoutError(
        f"the pod that was to reach the volume did not run within {_START_TIMEOUT:.0f} s: "
        f"{stuck.reason} {stuck.message}",
        ref=ref,
    )
