"""Where trials' output is on this machine: the metrics collector's source over the node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.kubelet import Kubelet
from jupyterlab_kf.model import Obj, meta

_LONGEST_PAGE: Final = 4 * 2**20


class NodeOutputs:
    """Logs, files on volumes, and ports of this node's pods."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    def log(self, pod: Obj, container: str) -> AsyncIterator[bytes]:
        """The container's log, followed to its end."""
        head = meta(pod)
        return self._kubelet.logs(head["namespace"], head["name"], container, follow=True, timestamps=True)

    def file(self, pod: Obj, container: str, path: str) -> Path:
        """The file in the folder that stands for the volume it is on; without a volume the path itself."""
        spec = pod.get("spec") or {}
        mounts = [
            mount
            for one in spec.get("containers") or ()
            if one.get("name") == container
            for mount in one.get("volumeMounts") or ()
            if f"{path.rstrip('/')}/".startswith(f"{mount['mountPath'].rstrip('/')}/")
        ]
        if not mounts:
            return Path(path)
        mount = max(mounts, key=lambda one: len(one["mountPath"]))
        inside = path.rstrip("/")[len(mount["mountPath"].rstrip("/")) :].lstrip("/")
        return self._volume(pod, mount["name"]) / str(mount.get("subPath") or "") / inside

    def _volume(self, pod: Obj, name: str) -> Path:
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            claim = volume.get("persistentVolumeClaim")
            if volume.get("name") == name and claim:
                found = self._kubelet.commons.registry.get(
                    kinds.PERSISTENT_VOLUME_CLAIM, meta(pod)["namespace"], claim["claimName"]
                )
                return self._kubelet.commons.claims_dir / str((found.get("spec") or {}).get("volumeName") or "")
        return self._kubelet.commons.pods_dir / str(meta(pod)["uid"]) / "volumes" / name

    async def page(self, pod: Obj, port: int, path: str) -> str:
        """What the pod's port answers, wherever it really listens.

        Raises:
            OSError: nobody listens.
            ValueError: the answer is an error.
        """
        return await _fetch(*self._kubelet.address(meta(pod)["namespace"], meta(pod)["name"], port), path)


async def _fetch(host: str, port: int, path: str) -> str:
    """The body of a plain GET."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: text/plain\r\n\r\n".encode())
        await writer.drain()
        data = await reader.read(_LONGEST_PAGE)
        while more := await reader.read(_LONGEST_PAGE):
            data += more
    finally:
        writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise ValueError(f"answered {head[:40]!r}")
    return body.decode(errors="replace")
