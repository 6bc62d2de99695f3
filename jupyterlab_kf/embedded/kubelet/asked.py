"""What may be asked about a pod's containers (`logs`, `exec`), and a kubelet's words where there is no answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from jupyterlab_kf.embedded.kubelet import logs, states
from jupyterlab_kf.errors import ApiError, InvalidError
from jupyterlab_kf.model import Obj, meta


async def nothing() -> AsyncIterator[bytes]:
    """A log without a line."""
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece


def container_name(pod: Obj, container: str) -> str:
    """The container that is meant.

    Raises:
        ApiError: with a kubelet's words: there is none of that name, or there are several.
    """
    every = [str(c["name"]) for c in states.containers(pod)]
    init = [str(c["name"]) for c in states.init_containers(pod)]
    name = meta(pod).get("name")
    if container:
        if container not in every + init:
            raise bad_request(f"container {container} is not valid for pod {name}")
        return container
    default = (meta(pod).get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in every:
        return str(default)
    if len(every) == 1:
        return every[0]
    more = f" or one of the init containers: [{' '.join(init)}]" if init else ""
    raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(every)}]{more}")


def bad_request(message: str) -> ApiError:
    """A refusal with code 400."""
    return InvalidError(message, code=400, reason="BadRequest")


def why_waiting(pod: Obj, container: str) -> str:
    """The reason that a container's status gives for its waiting."""
    status = pod.get("status") or {}
    for group in ("containerStatuses", "initContainerStatuses"):
        for entry in status.get(group) or ():
            if entry.get("name") == container:
                return str(((entry.get("state") or {}).get("waiting") or {}).get("reason") or "ContainerCreating")
    return "ContainerCreating"


def last_words(path: Path, limit: int) -> str:
    """The end of a log, for a container that asked for it as its termination message."""
    try:
        with path.open("rb") as file:
            offset, _ = logs.tail_offset(file, 80)
            file.seek(offset)
            lines = file.read().split(b"\n")
    except OSError:
        return ""
    text = b"".join(map(logs.Renderer(logs.Wanted()), lines))
    return text[-limit:].decode(errors="replace")
