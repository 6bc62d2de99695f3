"""The files that a job wrote to its output folder, brought back.

A pod of a moment's life mounts the job's volume and writes what is asked for to its log, packed and in slices that a
node's log keeps; everything is checked by its digest before a file is touched, and the pod is removed whatever
happens. It works with what every cluster grants a user: pods and their logs. No port, no exec, no storage client.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import KubeflowError, UsageError, WaitTimeoutError
from jupyterlab_kf.manifests import pods, training
from jupyterlab_kf.model import Obj, Ref, meta

CHUNK: Final = 6 * 1024 * 1024
"""Bytes a pod sends: as base64 they stay below the 10 MiB at which nodes rotate logs."""
_AT_ONCE: Final = 4
_START_TIMEOUT: Final = 300.0


@dataclass(frozen=True, slots=True)
class ResultFile:
    """One file of a job's output folder."""

    path: str
    size: int
    sha256: str

    def __str__(self) -> str:
        return self.path


async def listing(client: Client, job: Obj) -> list[ResultFile]:
    """The files in a job's output folder, by path.

    Raises:
        UsageError: the job has no output folder.
    """
    lines = await _read(client, job, ["list"])
    if not lines or lines[-1] != "kf-end":
        raise KubeflowError("the list of result files is not complete", hint="try again", ref=Ref.of(job))
    found = (json.loads(line.removeprefix("kf-file ")) for line in lines if line.startswith("kf-file "))
    return [ResultFile(str(entry["path"]), int(entry["size"]), str(entry["sha256"])) for entry in found]


async def fetch(client: Client, job: Obj, folder: Path) -> list[Path]:
    """Bring the files into a folder; answers their paths. Files that are there are replaced.

    Raises:
        UsageError: the job has no output folder.
        KubeflowError: what arrived is not what was sent.
    """
    parts = [await _part(client, job, 0)]
    total, digest = int(parts[0][1]["total"]), str(parts[0][1]["sha256"])
    few = asyncio.Semaphore(_AT_ONCE)

    async def further(offset: int) -> tuple[bytes, dict[str, Any]]:
        async with few:
            return await _part(client, job, offset)

    parts += await asyncio.gather(*(further(offset) for offset in range(CHUNK, total, CHUNK)))
    if any(end["sha256"] != digest for _, end in parts):
        raise KubeflowError(
            "the result files changed while they were read", hint="try again when the job is done", ref=Ref.of(job)
        )
    content = b"".join(part for part, _ in parts)
    if len(content) != total or hashlib.sha256(content).hexdigest() != digest:
        raise KubeflowError("the result files arrived damaged", hint="try again", ref=Ref.of(job))
    return await asyncio.to_thread(_unpack, content, folder)


async def _part(client: Client, job: Obj, offset: int) -> tuple[bytes, dict[str, Any]]:
    return _slice(await _read(client, job, ["send", "--offset", str(offset), "--limit", str(CHUNK)]), job)


def _slice(lines: Sequence[str], job: Obj) -> tuple[bytes, dict[str, Any]]:
    if not lines or not lines[-1].startswith("kf-end "):
        said = lines[-1][:200] if lines else "nothing"
        raise KubeflowError(f"the result files did not arrive; the last line was: {said}", ref=Ref.of(job))
    end = json.loads(lines[-1].removeprefix("kf-end "))
    part = b"".join(base64.b64decode(line.removeprefix("kf-data ")) for line in lines if line.startswith("kf-data "))
    if hashlib.sha256(part).hexdigest() != end["part"]:
        raise KubeflowError("a part of the result files arrived damaged", hint="try again", ref=Ref.of(job))
    return part, end


def _unpack(content: bytes, folder: Path) -> list[Path]:
    """Unpack beside the target first, then move file by file: what is there is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    with tempfile.TemporaryDirectory(prefix=".kf-", dir=folder) as temporary:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
            members = [entry for entry in tar.getmembers() if entry.isfile()]
            tar.extractall(temporary, members=members, filter="data")
        for entry in members:
            target = folder / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(temporary) / entry.name).replace(target)
            done.append(target)
    return done


async def _read(client: Client, job: Obj, arguments: list[str]) -> list[str]:
    """The lines that a reader pod writes, which is gone afterwards."""
    head = meta(job)
    space = str(head["namespace"])
    if not training.output_claim_of(job):
        raise UsageError(
            f"{Ref.of(job)} has no output folder",
            hint="give one with --output DIR when the job is made",
            ref=Ref.of(job),
        )
    mark = uuid.uuid4().hex[:8]
    name = names.with_suffix(str(head["name"]), f"reader-{mark}")
    pod = training.reader_pod(job, name, arguments)
    pod["metadata"]["labels"][names.LABEL_SUBMISSION] = mark
    try:
        await client.create(kinds.POD, pod, namespace=space)
        await _ended(client, space, name)
        return [line async for line in client.logs(space, name)]
    finally:
        await asyncio.shield(client.delete(kinds.POD, space, name, grace=0))


async def _ended(client: Client, namespace: str, name: str) -> None:
    pause, waited = 0.03, 0.0
    while waited < _START_TIMEOUT:
        pod = await client.get(kinds.POD, namespace, name)
        phase = (pod.get("status") or {}).get("phase")
        if phase == "Succeeded":
            return
        if phase == "Failed":
            ended = pods.terminated(pods.main_status(pod))
            lines = [line async for line in client.logs(namespace, name, tail=5)]
            raise KubeflowError(
                f"the results could not be read (exit code {ended.get('exitCode')}): {' '.join(lines)}",
                ref=Ref("Pod", name, namespace),
            )
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 1.3, 1.0)
    stuck = pods.replica(pod, "reader", 0)
    raise WaitTimeoutError(
        f"the pod that reads the results did not run within {_START_TIMEOUT:.0f} s: {stuck.reason} {stuck.message}",
        ref=Ref("Pod", name, namespace),
    )
