"""What is put together before a kernel is made: cluster, hardware, image, folder and owner, from settings and a wish.

Refuses what the profiles do not allow, before anything is created.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf import kinds, names, settings
from jupyterlab_kf.cluster import connection, shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.manifests.kernels import Kernel, Orders
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.profiles import Choice, Hardware, Use, choose
from jupyterlab_kf.services import hardware, session
from jupyterlab_kf.services.session import Session
from jupyterlab_kf.settings import Pod, Settings, Workspace

IMAGE: Final = "quay.io/jupyter/scipy-notebook:latest"
"""Where neither the profile nor the hub names one."""
_NEVER: Final = ("JPY_PARENT_PID", "PYTHONEXECUTABLE")
"""What holds only for a process of the same machine."""
_HERE: Final = ("KF_CONTEXT", "KF_DATA_DIR", "KF_CACHE_DIR", "KF_PROFILES", "KUBECONFIG")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a kernel spec and whoever starts the kernel say.

    Attributes:
        profile: the slug of the hardware profile; empty takes the default one.
        choice: what is set within the profile.
        context: another cluster than the one in use.
        env: the environment that a kernel on the same machine would get.
        always: names in it that the kernel spec sets.
    """

    profile: str = ""
    choice: Choice = field(default_factory=Choice)
    context: str = ""
    namespace: str = ""
    account: str = ""
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    always: frozenset[str] = frozenset()
    cwd: str = ""


def chosen(wish: Wish) -> Session:
    """The session that the kernel is started in. Reads files, and may start the cluster of this machine."""
    if not wish.context and not wish.namespace:
        found = session.current()
    else:
        options = settings.load()
        found = Session(options, connection.choose(options, wish.context), namespace=wish.namespace)
    _ = found.client, found.namespace
    return found


def hardware_of(wish: Wish) -> Hardware:
    """The checked hardware.

    Raises:
        UsageError: there is no such profile for kernels, or the choice is not within it.
    """
    known = hardware.catalogue()
    default = known.default(Use.KERNEL)
    slug = wish.profile or (default.slug if default else "")
    return choose(known.usable(slug, Use.KERNEL), wish.choice)


async def kernel(client: Client, wish: Wish, namespace: str, options: Settings, *, kept: bool = False) -> Kernel:
    """The kernel as it is to be made, under a name that nobody has.

    One that is ``kept`` outlives the pod of its server, and ends by itself when no server comes back for it.
    """
    hard = hardware_of(wish)
    base = names.slug(f"kernel-{hard.profile.slug}", limit=40)
    workspace = options.workspace
    own = options.pod if options.pod and options.pod.namespace == namespace else None
    pod = await _own_pod(client, own) if own else None
    owner = (own.name, own.uid) if own and pod and not kept else None
    mounts = shared_volumes(pod, workspace, hard) if pod else ()
    named = {one.variable: one.path for one in mounts if not workspace or one.claim != workspace.claim}
    return Kernel(
        name=names.with_suffix(base, secrets.token_hex(4), limit=52),
        namespace=namespace,
        hardware=hard,
        image=hard.image or (options.image if pod else "") or IMAGE,
        notebook=wish.env.get("JPY_SESSION_NAME", ""),
        env={"KF_NAMESPACE": namespace, **named},
        mounts=mounts,
        account=wish.account or (own.account if own and pod else ""),
        owner=owner,
    )


def known(made: Obj, hard: Hardware) -> Kernel:
    """A kernel that was made before, by its Job."""
    (container,) = made["spec"]["template"]["spec"]["containers"]
    head = meta(made)
    return Kernel(name=head["name"], namespace=head["namespace"], hardware=hard, image=container["image"])


def orders(
    wish: Wish,
    connected: Mapping[str, Any],
    options: Settings,
    *,
    alone_for: float,
    alone_busy_for: float,
    token: str = "",
) -> Orders:
    """What the kernel is told; its token is a new one unless it was told already."""
    here = settings.inherited({})
    known = {name: value for name, value in here.items() if name in _HERE}
    return Orders(
        connection=connected,
        token=token or secrets.token_hex(32),
        argv=wish.argv,
        env=environment(wish),
        cwd=wish.cwd,
        here={"path": str(options.data_dir), "env": {"KF_DATA_DIR": str(options.data_dir), **known}},
        alone_for=alone_for,
        alone_busy_for=max(alone_for, alone_busy_for),
    )


def environment(wish: Wish) -> dict[str, str]:
    """What of the environment goes along: what somebody set for this kernel, not what the notebook server has.

    A server's environment has its own secrets, and paths that mean nothing in another image.
    """
    here = settings.inherited({})
    return {
        name: value
        for name, value in wish.env.items()
        if (name in wish.always or here.get(name) != value) and name not in _NEVER
    }


def shared_volumes(pod: Obj, workspace: Workspace | None, hard: Hardware) -> tuple[pods.Mount, ...]:
    """The volumes of the server's pod, at the same places: the workspace and the data volumes. Pure.

    Where the kernel's profile has a volume of its own at the same place, it is the profile's.
    """
    found = pods.mounted(pod)
    if workspace and all(one.claim != workspace.claim for one in found):
        found = (pods.Mount(workspace.claim, str(workspace.folder)), *found)
    own = {one.mount_path.rstrip("/") for one in hard.profile.volumes}
    return tuple(one for one in found if one.path.rstrip("/") not in own)


async def _own_pod(client: Client, own: Pod) -> Obj | None:
    """The pod that we run in, if this cluster has it: an owner that is elsewhere would end the kernel at once."""
    try:
        found = await client.list(kinds.POD, own.namespace, fields=f"metadata.name={own.name}", shape=shapes.OBJECT)
    except KubeflowError:  # not ours to see: the kernel ends by itself instead
        return None
    return next((one for one in found if meta(one).get("uid") == own.uid), None)
