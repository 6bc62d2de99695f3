"""Whether kernels of before still run: what the clusters say that they were started on."""

from __future__ import annotations

from collections.abc import Iterable

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import connection, shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.manifests import kernels
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.services.kernels.kept import Kept
from jupyterlab_kf.services.session import Session
from jupyterlab_kf.settings import Settings


def look(options: Settings, found: Iterable[Kept]) -> dict[str, bool | None]:
    """Which kernels still have a pod, by their ids; None where no cluster says so now.

    Starts no cluster, and waits some seconds at most.
    """
    places: dict[tuple[str, str], list[Kept]] = {}
    for one in found:
        places.setdefault(one.place, []).append(one)
    said: dict[str, bool | None] = {}
    for place, several in places.items():
        alive = _alive(options, *place)
        for one in several:
            said[one.kernel_id] = None if alive is None else meta(one.state["job"])["name"] in alive
    return said


def _alive(options: Settings, context: str, namespace: str) -> set[str] | None:
    """The names of the kernels in a namespace whose pods have not ended."""

    async def ask(client: Client) -> list[Obj]:
        return await client.list(kinds.POD, namespace, selector=kernels.LABEL_KERNEL, shape=shapes.OBJECT)

    try:
        session = Session(options, connection.choose(options, context))
    except KubeflowError:  # its configuration is not there now
        return None
    pods = session.glance(ask)
    if pods is None:
        return None
    running = [pod for pod in pods if kernels.ended(pod) is None and not meta(pod).get("deletionTimestamp")]
    return {str(meta(pod)["labels"][kernels.LABEL_KERNEL]) for pod in running}
