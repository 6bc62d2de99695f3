"""Volumes as folders: what a kubelet would mount, laid out under the pod's own folder.

Synchronous and blocking: the node calls it in a thread with everything already looked up. A volume whose source is not
there raises :class:`MountError` with a kubelet's message, and the node tries again when it appears. Kinds of volumes
that a folder cannot stand for are refused with the same error, never left out.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf.embedded.addresses import rewrite_hostfile
from jupyterlab_kf.embedded.kubelet.environment import ConfigError, Sources, field_value, resource_value
from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.model import Obj, meta

DEFAULT_MODE: Final = 0o644


class MountError(KubeflowError):
    """A volume cannot be set up; the message is that of the FailedMount event."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What volumes are made of."""

    sources: Sources
    config_map: Callable[[str], Obj | None]
    secret: Callable[[str], Obj | None]
    claim: Callable[[str], Path | None]
    """The folder of a bound claim by its name; None if there is no such claim."""
    known_host: Callable[[str], bool]
    """Whether a name in an MPI hostfile is a pod of this cluster."""
    token: Callable[[], str] = str
    """By what a pod's account is known here; nothing where there is no API server."""


def lay_out(pod: Obj, folder: Path, cluster: Cluster) -> dict[str, Path]:
    """Every volume of the pod as a folder (or, for some hostPaths, a file), by name.

    Raises:
        MountError: one of them cannot be set up yet, or ever.
    """
    result = {}
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        name = str(volume["name"])
        try:
            result[name] = _one(volume, folder / name, pod, cluster)
        except (MountError, ConfigError, OSError) as error:
            said = error.message if isinstance(error, KubeflowError) else str(error)
            raise MountError(f'MountVolume.SetUp failed for volume "{name}" : {said}') from error
    return result


def _one(volume: Mapping[str, Any], folder: Path, pod: Obj, cluster: Cluster) -> Path:
    if claim := volume.get("persistentVolumeClaim"):
        place = cluster.claim(str(claim["claimName"]))
        if place is None:
            raise MountError(f'persistentvolumeclaim "{claim["claimName"]}" not found')
        place.mkdir(parents=True, exist_ok=True)
        return place
    if host := volume.get("hostPath"):
        return _host_path(host)
    folder.mkdir(parents=True, exist_ok=True)
    if "emptyDir" in volume:
        return folder
    source = volume if "projected" not in volume else None
    parts = [source] if source else (volume["projected"] or {}).get("sources") or ()
    mode = _mode(volume)
    wanted: dict[str, tuple[bytes, int]] = {}
    for part in parts:
        wanted |= _content(part, pod, cluster, mode)
    _write_all(folder, wanted)
    return folder


def _mode(volume: Mapping[str, Any]) -> int:
    for kind in ("configMap", "secret", "downwardAPI", "projected"):
        mode = (volume.get(kind) or {}).get("defaultMode")
        if mode is not None:
            return int(mode)
    return DEFAULT_MODE


def _host_path(host: Mapping[str, Any]) -> Path:
    place, kind = Path(str(host["path"])), str(host.get("type") or "")
    if kind == "DirectoryOrCreate":
        place.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        place.touch()
    checks = {"Directory": place.is_dir, "File": place.is_file, "Socket": place.is_socket}
    if kind and not checks.get(kind, place.exists)():
        raise MountError(f"hostPath type check failed: {place} is not a {kind.lower() or 'path'}")
    return place


def _content(part: Mapping[str, Any], pod: Obj, cluster: Cluster, mode: int) -> dict[str, tuple[bytes, int]]:
    """The files of one source: path inside the volume to content and mode."""
    if "configMap" in part:
        source = part["configMap"]
        found = cluster.config_map(str(source.get("name", "")))
        files = _chosen(source, _config_files(found) if found else None, "configmap", pod, mode)
        return {path: (_localised(path, content, cluster), bits) for path, (content, bits) in files.items()}
    if "secret" in part:
        source = part["secret"]
        found = cluster.secret(str(source.get("secretName") or source.get("name") or ""))
        return _chosen(source, _secret_files(found) if found else None, "secret", pod, mode)
    if "downwardAPI" in part:
        return _downward(part["downwardAPI"], pod, cluster.sources, mode)
    if "serviceAccountToken" in part and (token := cluster.token()):
        # There is one account on one machine, its owner's: pods run as that person anyway.
        path = str(part["serviceAccountToken"].get("path") or "token")
        return {path: (token.encode(), mode & 0o600)}
    kind = next((key for key in part if key != "name"), "nothing")
    raise MountError(f"volumes of kind {kind} cannot be had on this node")


def _config_files(found: Obj) -> dict[str, bytes]:
    text = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _secret_files(found: Obj) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}


def _chosen(
    source: Mapping[str, Any], files: dict[str, bytes] | None, word: str, pod: Obj, mode: int
) -> dict[str, tuple[bytes, int]]:
    optional = bool(source.get("optional"))
    name = source.get("secretName") or source.get("name") or ""
    if files is None:
        if optional:
            return {}
        raise MountError(f'{word} "{name}" not found')
    items = source.get("items")
    if not items:
        return {key: (content, mode) for key, content in files.items()}
    result = {}
    for item in items:
        if item["key"] not in files:
            if optional:
                continue
            raise MountError(
                f'{word} "{meta(pod).get("namespace")}/{name}" references non-existent config key: {item["key"]}'
            )
        result[str(item["path"])] = (files[item["key"]], int(item.get("mode") or mode))
    return result


def _localised(path: str, content: bytes, cluster: Cluster) -> bytes:
    """A hostfile that names this cluster's pods tells mpirun about this machine instead."""
    if path.rpartition("/")[2] != "hostfile":
        return content
    return rewrite_hostfile(content.decode(errors="surrogateescape"), cluster.known_host).encode(
        errors="surrogateescape"
    )


def _downward(source: Mapping[str, Any], pod: Obj, sources: Sources, mode: int) -> dict[str, tuple[bytes, int]]:
    result = {}
    for item in source.get("items") or ():
        if item.get("fieldRef"):
            value = field_value(str(item["fieldRef"]["fieldPath"]), pod, sources)
        else:
            value = resource_value(item["resourceFieldRef"], {}, pod, sources)
        result[str(item["path"])] = (value.encode(), int(item.get("mode") or mode))
    return result


def _write_all(folder: Path, wanted: Mapping[str, tuple[bytes, int]]) -> None:
    """Write the files that changed; each one is replaced in one step, so that a reader never sees half."""
    for path, (content, mode) in wanted.items():
        target = inside(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            if target.read_bytes() == content and target.stat().st_mode & 0o777 == mode:
                continue
        temporary = target.with_name(f".{target.name}.tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        temporary.rename(target)


def inside(folder: Path, path: str) -> Path:
    """A path below a folder.

    Raises:
        MountError: it leads out of it.
    """
    if path.startswith("/") or ".." in path.split("/"):
        raise MountError(f"the path {path!r} must be relative and without '..'")
    return folder / path


def nest(outer: Path, path: str, inner: Path) -> bool:
    """Show a volume at a path inside another one's folder, by a link; False where something else is there.

    An empty folder gives way, as what a kubelet leaves where it mounted something; a link is of an earlier pod.
    """
    place = outer / path
    if not place.parent.resolve().is_relative_to(outer.resolve()):  # by a link that a program has made
        return False
    if place.is_symlink():
        if place.readlink() == inner:
            return True
        place.unlink(missing_ok=True)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            place.rmdir()
        place.symlink_to(inner)
    except OSError:  # files are there, or another pod was quicker
        return place.is_symlink() and place.readlink() == inner
    return True


def reclaim(folder: Path) -> None:
    """Delete what a volume or pod left; somebody else deleting the same is fine."""
    shutil.rmtree(folder, ignore_errors=True)
