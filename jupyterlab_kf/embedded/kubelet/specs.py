"""From a container of a manifest to what its supervisor is told: argv, environment, folder, limits.

Pure but for the disk: whether a working directory exists, and links where one volume is mounted inside another.
Everything the machine cannot give as written (a mount, a cluster name, an ssh server) is replaced by what it can give,
and said in a note that becomes an event.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from jupyterlab_kf.embedded import addresses
from jupyterlab_kf.embedded.addresses import Endpoint
from jupyterlab_kf.embedded.images import Environment, Images, clean_environment
from jupyterlab_kf.embedded.kubelet import environment as env_rules
from jupyterlab_kf.embedded.kubelet import listening, ports
from jupyterlab_kf.embedded.kubelet.environment import ConfigError, Mount, Sources, expand
from jupyterlab_kf.embedded.kubelet.processes import MARKER
from jupyterlab_kf.embedded.kubelet.whereabouts import Whereabouts
from jupyterlab_kf.embedded.volumes import MountError, inside, nest
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.quantities import parse

MACHINE_OWN: Final = ("/dev/shm",)  # noqa: S108  shared memory is the machine's: a folder on disk would not do
SERVICES: Final = "KF_SERVICES"
"""Where a process finds the addresses behind Services."""
Note = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What was made for a pod before its containers: address and volumes."""

    folder: Path
    address: Endpoint
    volumes: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Guide:
    """What a pod is told beside what its manifest says."""

    hosts: Mapping[str, Endpoint] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: str = ""
    """A folder that comes first in the path of Python's modules."""


class Node(Protocol):
    """What is asked of the node."""

    guide: Callable[[Obj], Guide]
    images: Images
    api_address: tuple[str, int] | None
    whereabouts: Whereabouts

    def sources(self, pod: Obj) -> Sources:
        """Where environment values come from."""

    def resolver(self, pod: Obj) -> addresses.Resolver:
        """What host names mean to this pod."""

    def address_of(self, pod: Obj) -> Endpoint:
        """The pod's address and its ports that are elsewhere than declared."""


def host_name(pod: Obj) -> str:
    """What the pod believes its host is called."""
    return str((pod.get("spec") or {}).get("hostname") or meta(pod).get("name"))


def container_spec(
    node: Node, plan: Plan, pod: Obj, container: Mapping[str, Any], environment: Environment
) -> tuple[dict[str, Any], list[Note]]:
    """The supervisor's spec, and notes (reason, message) about what was replaced.

    Raises:
        ConfigError: the container refers to what is not there, or says nothing to run.
    """
    notes: list[Note] = []
    declared = env_rules.declared(container, pod, node.sources(pod))
    argv = _runnable(_words(container, environment, declared), container, environment, notes)
    mounts = _mounts(plan, container, declared)
    _nested(mounts, notes)
    own = plan.folder / "work" / str(container["name"])
    own.mkdir(parents=True, exist_ok=True)
    cwd = str(own)
    if wanted := container.get("workingDir"):
        cwd = env_rules.rewrite_paths(str(wanted), mounts)
        if not Path(cwd).is_dir():
            mounts = [*mounts, Mount(str(wanted).rstrip("/"), str(own))]
            cwd = str(own)
    moved = [mount for mount in mounts if mount.path != mount.real]
    rewritten = {key: env_rules.rewrite_paths(value, moved) for key, value in declared.items()}
    argv = [env_rules.rewrite_paths(word, moved) for word in argv]
    _say_mounts(moved, notes)
    resolve = node.resolver(pod)
    rewritten = addresses.rewrite_env(rewritten, resolve)
    argv = addresses.rewrite_args(argv, resolve)
    place = node.address_of(pod)
    if ports.moved(place) and not ports.is_replica(pod):  # a replica is told by its own Service's name
        rewritten, argv = listening.tell(rewritten, argv, container, place)
    env = _environment(node, plan, pod, container, environment=environment, declared=rewritten)
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    grace = (pod.get("spec") or {}).get("terminationGracePeriodSeconds")
    spec: dict[str, Any] = {"argv": argv, "env": env, "cwd": cwd, "grace": 30 if grace is None else grace}
    spec["limits"] = {"memory": int(parse(limit))} if limit else {}
    spec["image"] = str(container.get("image", ""))
    return spec, notes


def _words(container: Mapping[str, Any], environment: Environment, declared: Mapping[str, str]) -> list[str]:
    """The command line: the container's own, or what its image brings."""
    command = [expand(str(word), declared) for word in container.get("command") or ()]
    arguments = [expand(str(word), declared) for word in container.get("args") or ()]
    return environment.programs.words(command, arguments)


def _runnable(argv: list[str], container: Mapping[str, Any], environment: Environment, notes: list[Note]) -> list[str]:
    if environment.nothing:
        return ["true"]
    if not argv:
        raise ConfigError(
            f"no command specified: the image {container.get('image', '')!r} is a name only on this node, so container "
            f"{container['name']} needs a command"
        )
    if argv[0].rpartition("/")[2] == "sshd":
        notes.append(("CommandReplaced", "no ssh server is needed on one machine: the container sleeps instead"))
        return ["sleep", "infinity"]
    return argv


def _mounts(plan: Plan, container: Mapping[str, Any], declared: Mapping[str, str]) -> list[Mount]:
    result = []
    for mount in container.get("volumeMounts") or ():
        path = str(mount["mountPath"]).rstrip("/") or "/"
        if path in MACHINE_OWN or path == "/":
            continue
        if mount["name"] not in plan.volumes:
            raise ConfigError(f"volume {mount['name']} is not in the pod")
        real = plan.volumes[mount["name"]]
        below = str(mount.get("subPath") or expand(str(mount.get("subPathExpr") or ""), declared))
        if below:
            try:
                real = inside(real, below.rstrip("/"))
            except MountError as error:
                raise ConfigError(
                    f"failed to prepare subPath of volumeMount {mount['name']}: {error.message}"
                ) from error
            if not real.exists():
                real.mkdir(parents=True)
        result.append(Mount(path, str(real)))
    return result


def _nested(mounts: Sequence[Mount], notes: list[Note]) -> None:
    """A volume that is mounted inside another one is seen there, too, by programs that list the outer one's folder."""
    for mount in mounts:
        around = [one for one in mounts if mount.path.startswith(f"{one.path}/")]
        outer = max(around, key=lambda one: len(one.path), default=None)
        if outer is None or not Path(outer.real).is_dir():
            continue
        if not nest(Path(outer.real), mount.path.removeprefix(f"{outer.path}/"), Path(mount.real)):
            said = f"{mount.path} shows files that the volume at {outer.path} has there; its own are at {mount.real}"
            notes.append(("MountHidden", said))


def _say_mounts(moved: Sequence[Mount], notes: list[Note]) -> None:
    if moved:
        pairs = ", ".join(f"{mount.path} is {mount.real}" for mount in moved)
        notes.append(
            (
                "MountPathRewritten",
                f"nothing can be mounted for a process, so environment, arguments and working directory say: {pairs}",
            )
        )


@functools.lru_cache(maxsize=64)
def _base(bins: tuple[Path, ...]) -> dict[str, str]:
    """What every process of an environment gets; the node's own environment does not change while it runs."""
    return clean_environment(os.environ, bins)


def _environment(
    node: Node,
    plan: Plan,
    pod: Obj,
    container: Mapping[str, Any],
    *,
    environment: Environment,
    declared: Mapping[str, str],
) -> dict[str, str]:
    bins = (environment.bin, node.images.default / "bin")
    env = dict(_base(bins))
    env["VIRTUAL_ENV"] = str(environment.prefix)
    env["HOSTNAME"] = host_name(pod)
    env[SERVICES] = str(node.whereabouts.folder)
    guide = node.guide(pod)
    env |= guide.environment
    if node.api_address:
        host, port = node.api_address
        env |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
        env |= {"KUBERNETES_SERVICE_PORT_HTTPS": str(port), "KUBERNETES_PORT": f"tcp://{host}:{port}"}
    env |= env_rules.machine_defaults(
        declared,
        pod_ip=plan.address.ip,
        root=hasattr(os, "geteuid") and os.geteuid() == 0,
        linux=sys.platform.startswith("linux"),
    )
    env |= env_rules.thread_default(container)
    path = declared.get("PATH")
    env |= declared
    if path:
        env["PATH"] = os.pathsep.join(dict.fromkeys([*map(str, bins), *path.split(os.pathsep)]))
    if guide.modules:
        env["PYTHONPATH"] = os.pathsep.join([guide.modules, *filter(None, [env.get("PYTHONPATH")])])
    env[MARKER] = str(meta(pod)["uid"])
    return env
