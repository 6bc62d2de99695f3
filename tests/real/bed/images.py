"""Container images for the real node, made from what this machine has; nothing is pulled.

An image is an archive in the OCI layout with one layer, the same bytes for the same content. The Python image holds
the Python that runs this (its tree without site-packages), numpy, a shell and the libraries that they load, and answers
to the names of the images that jobs here ask for.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import provision

import jupyterlab_kf

_HERE = Path(__file__)
_LOCK = _HERE.parent.parent / "manifests" / "image.lock"
PAUSE = "docker.io/kf/pause:1"
PYTHON = "docker.io/library/python:3"
# What the operator is told to use in place of an image that would have to be pulled.
DELIVERY = "docker.io/kf/kubectl-delivery:1"
# The init container of PyTorchJob workers wants nslookup from this one.
_ALPINE = "docker.io/library/alpine:3.10"
_APPLETS = (
    *("cat", "cp", "date", "df", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls", "mkdir"),
    *("mktemp", "nc", "ps", "rm", "seq", "sleep", "sort", "tail", "test", "touch", "true", "wc", "wget"),
)
_EXCLUDED = "test tests __pycache__ idlelib tkinter turtledemo site-packages dist-packages"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_PATH = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


PYTHON_ENVIRONMENT = {"LD_LIBRARY_PATH": "/usr/local/lib", "PYTHONUNBUFFERED": "1"}


def standard(binaries: Path) -> tuple[Path, ...]:
    """The archives every node starts with: what holds pods, a Python, and what an MPIJob's launcher begins with."""

    def make_pause(target: Path) -> None:
        with tempfile.TemporaryDirectory() as root:
            shutil.copy2(binaries / "pause", root)
            pack(target, Path(root), [PAUSE], entrypoint=["/pause"])

    def make_delivery(target: Path) -> None:
        with tempfile.TemporaryDirectory() as text:
            root = Path(text)
            _skeleton(root)
            _shell(root)
            shutil.copy2(binaries / "kubectl", root / "usr" / "bin")
            _libraries(root)
            command = ["cp /bin/kubectl /opt/kube/kubectl"]
            pack(target, root, [DELIVERY], entrypoint=["/bin/sh", "-c"], default=command)

    pause = provision._made(f"real-image-pause-{binaries.name}", [_HERE], make_pause)
    delivery = provision._made(f"real-image-delivery-{binaries.name}", [_HERE], make_delivery)
    return pause, delivery, _python("python", _LOCK, [PYTHON, _ALPINE])


def framework(name: str) -> Path:
    """The image that jobs of a framework ask for, with the packages that the embedded cluster gives them."""
    lock = Path(jupyterlab_kf.__file__).parent / "embedded" / "locks" / f"{name}.txt"
    if not lock.exists():
        raise provision.MissingError(f"there is no lock of packages for an image {name}")
    return _python(name, lock, [f"docker.io/jupyterlab-kf/{name}:1"])


def _python(name: str, lock: Path, names: list[str]) -> Path:
    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory() as root:
            python_tree(Path(root), lock)
            pack(target, Path(root), names, default=["python3"], environment=PYTHON_ENVIRONMENT)

    version = ".".join(map(str, sys.version_info[:3]))
    return provision._made(f"real-image-{name}-{version}", [_HERE, lock], make)


def pack(
    target: Path,
    root: Path,
    names: Iterable[str],
    *,
    entrypoint: Iterable[str] = (),
    default: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    programs: Mapping[str, Iterable[str]] | None = None,
    below: Path | None = None,
) -> None:
    """A folder as an image archive that answers to several names.

    Args:
        target: the archive.
        root: the folder.
        names: what the image answers to.
        entrypoint: what runs; ``default`` are its arguments.
        default: see there.
        environment: variables.
        programs: further names, each with an entrypoint of its own.
        below: the archive of an image whose layer lies below; the node must have it already.
    """
    entrypoints = {name: [*entrypoint] for name in names} | {name: [*one] for name, one in (programs or {}).items()}
    with tempfile.TemporaryFile(dir=target.parent) as layer, tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as to:
        digest, size = _write_layer(layer, root)
        under = _layers(below) if below else []
        layers = [*under, {"mediaType": _LAYER, "digest": f"sha256:{digest}", "size": size}]
        named, blobs = [], dict[str, bytes]()
        for name, words in entrypoints.items():
            configuration = {
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
                "os": "linux",
                "config": {
                    "Entrypoint": words or None,
                    "Cmd": list(default) or None,
                    "Env": [_PATH, *(f"{key}={value}" for key, value in (environment or {}).items())],
                },
                # No layer is compressed, so each is known by one digest.
                "rootfs": {"type": "layers", "diff_ids": [one["digest"] for one in layers]},
            }
            content = _json(configuration)
            manifest = _json(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST,
                    "config": _descriptor("application/vnd.oci.image.config.v1+json", content),
                    "layers": layers,
                }
            )
            named.append(_descriptor(MANIFEST, manifest) | {"annotations": {"io.containerd.image.name": name}})
            blobs |= {hashlib.sha256(blob).hexdigest(): blob for blob in (content, manifest)}
        for blob_digest, blob in blobs.items():
            _add(to, f"blobs/sha256/{blob_digest}", blob)
        _add(to, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(to, "index.json", _json({"schemaVersion": 2, "manifests": named}))
        info = tarfile.TarInfo(f"blobs/sha256/{digest}")
        info.size = size
        layer.seek(0)
        to.addfile(info, layer)


def manifests(archive: Path) -> dict[str, bytes]:
    """Each name that an archive's images answer to, and the manifest of its image."""
    with tarfile.open(archive) as read:

        def content(name: str) -> bytes:
            found = read.extractfile(name)
            assert found is not None
            return found.read()

        index = json.loads(content("index.json"))
        return {
            one["annotations"]["io.containerd.image.name"]: content(f"blobs/{one['digest'].replace(':', '/')}")
            for one in index["manifests"]
        }


def _layers(archive: Path) -> list[dict[str, object]]:
    layers: list[dict[str, object]] = json.loads(next(iter(manifests(archive).values())))["layers"]
    return layers


def python_tree(root: Path, lock: Path) -> None:
    """This Python, locked packages, a shell and the libraries they load, as a root file system."""
    _skeleton(root)
    prefix, version = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    local = root / "usr" / "local"
    shutil.copytree(prefix / "lib" / version, local / "lib" / version, symlinks=True, ignore=ignored)
    for library in prefix.glob("lib/libpython*.so*"):
        shutil.copy2(library, local / "lib", follow_symlinks=False)
    (local / "bin").mkdir()
    shutil.copy2(Path(sys.executable).resolve(), local / "bin" / version)
    for name in ("python3", "python"):
        (local / "bin" / name).symlink_to(version)
    install(lock, local)
    compiled(root)
    _shell(root)
    _libraries(root)


def compiled(root: Path) -> None:
    """Compile what Python programs of a root file system import: each container begins with the image as it is."""
    by = ["--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]  # the same bytes at any time and place
    where = str(root / "usr" / "local" / "lib")
    # What nobody imports may be no Python at all.
    words = [sys.executable, "-m", "compileall", "-q", "-q", "-j", "0", *by, "-x", "/tests?/", where]
    subprocess.run(words, check=False, stdin=subprocess.DEVNULL)


def install(lock: Path, prefix: Path) -> None:
    """Locked packages, for the Python that runs this."""
    install = ["pip", "install", "-q", "--require-hashes", "-r", str(lock), "--prefix", str(prefix)]
    provision._run([sys.executable, "-m", "uv", *install, "-p", sys.executable])


def _skeleton(root: Path) -> None:
    for folder in ("tmp", "proc", "sys", "dev", "etc", "root", "run", "var", "usr/bin", "usr/lib", "usr/lib64"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for link in ("bin", "lib", "lib64"):
        (root / link).symlink_to(f"usr/{link}")
    (root / "etc" / "nsswitch.conf").write_text("hosts: files dns\n")
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")


def _shell(root: Path) -> None:
    folder = root / "usr" / "bin"
    for name in ("bash", "busybox", "dash", "getent"):
        shutil.copy2(Path(shutil.which(name) or name).resolve(), folder / name)
    (folder / "sh").symlink_to("dash")
    for name in _APPLETS:
        (folder / name).symlink_to("busybox")
    # busybox's own nslookup fails when any search domain does not know the name; this one asks as programs do.
    (folder / "nslookup").write_text('#!/bin/sh\nexec getent ahostsv4 "$1"\n')
    (folder / "nslookup").chmod(0o755)


def _libraries(root: Path) -> None:
    """What the dynamic linker would load from this machine, at the same places, and the linker itself."""
    programs = [path for path in root.rglob("*.so*") if path.is_file()]
    programs += [path for path in (root / "usr").rglob("bin/*") if path.is_file() and not path.is_symlink()]
    answer = subprocess.run(["ldd", *map(str, programs)], check=False, capture_output=True, text=True).stdout
    found = set(re.findall(r"(?:=> |^\s+)(/(?:usr/)?lib\S*)", answer, flags=re.MULTILINE))
    for text in sorted(found):
        path = Path(text)
        place = root / "usr" / text.removeprefix("/usr").lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path.resolve(), place)


def ignored(_folder: str, names: list[str]) -> set[str]:
    """What of a Python's tree no image needs."""
    return {name for name in names if name in _EXCLUDED.split() or name.endswith(".a") or name.startswith("config-")}


class _Counter(io.RawIOBase):
    """Counts and hashes what is written through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # tarfile writes bytes
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)


def _write_layer(file: IO[bytes], root: Path) -> tuple[str, int]:
    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    counter = _Counter(file)
    with tarfile.open(fileobj=counter, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(root.iterdir()):
            archive.add(path, arcname=path.name, filter=plain)
    return counter.digest.hexdigest(), counter.size


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
