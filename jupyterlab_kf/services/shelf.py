"""Code that is too large to stay in ConfigMaps, put onto a shared volume where the job's pods find it by its SHA-256.

A pod writes it there, whom temporary ConfigMaps bring it, so that this needs no right that training does not need:
no exec, no port, no proxy. The notebook's own volume is written directly. What is there already is not sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jupyterlab_kf import kinds, names, settings
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import BundleError, KubeflowError
from jupyterlab_kf.manifests import errands as erranding
from jupyterlab_kf.manifests import training
from jupyterlab_kf.manifests.training import TrainingSpec
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services import errands
from jupyterlab_kf.services.bundle import size as in_words

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Parcel:
    """Packed code on its way to a volume.

    Attributes:
        spec: the job that will run it.
        job: the same as a manifest.
        launcher: the text of the launcher, by which a pod writes it.
        content: the packed code.
    """

    spec: TrainingSpec
    job: Obj
    launcher: str
    content: bytes


def choose(spec: TrainingSpec, size: int, largest: str) -> str:
    """The claim that keeps packed code of that many bytes: one of the job's own, else the notebook's.

    Raises:
        BundleError: there is none, or it is more than code; says which files are the ``largest``.
    """
    packed = f"the code is {in_words(size)} when packed"
    if size > training.ARCHIVE_LIMIT:
        raise _too_much(packed, largest)
    own = settings.load().workspace
    claim = next((one.claim for one in spec.volumes if not one.read_only), own.claim if own else "")
    if not claim:
        raise BundleError(
            f"{packed}; {in_words(training.MAPS_LIMIT)} travel without a volume. Largest: {largest}",
            hint="leave data out of --files, or say on which volume it may be put: --volume CLAIM "
            "(kubectl get pvc lists the claims that there are)",
        )
    return claim


def refuse(guess: int, largest: str) -> None:
    """Refuse what is far too much before it is packed, which may take minutes; ``guess`` is its size then.

    Raises:
        BundleError: it would be more than twice what is carried.
    """
    if guess > 2 * training.ARCHIVE_LIMIT:
        raise _too_much(f"the code would be about {in_words(guess)} when packed", largest)


def _too_much(packed: str, largest: str) -> BundleError:
    return BundleError(
        f"{packed}; {in_words(training.ARCHIVE_LIMIT)} are carried at most. Largest: {largest}",
        hint="that is data: leave it out of --files, and read it from a volume (--volume CLAIM). A model of that size "
        "is served from a bucket or a volume: the modelUri of a SeldonDeployment",
    )


async def deliver(client: Client, parcel: Parcel) -> None:
    """Have the code on the volume, whole, when this returns.

    Raises:
        KubeflowError: it could not be written; tells why. What is half written has another name.
    """
    spec, own = parcel.spec, settings.load().workspace
    if own is not None and own.claim == spec.shelf:
        await asyncio.to_thread(_write, own.folder / training.SHELF, parcel)
        return
    pieces = training.pieces({}, parcel.content)
    carrying = replace(spec, name=names.with_suffix(spec.name, "store"), code_pieces=len(pieces) + 1)
    first, *others = training.code_maps(carrying, {"launch.py": parcel.launcher}, [b"", *pieces])
    made: list[Obj] = []
    few = asyncio.Semaphore(_AT_ONCE)

    async def create(one: Obj) -> None:
        one["metadata"]["labels"][names.LABEL_JOB] = spec.name
        async with few:
            made.append(await client.create(kinds.CONFIG_MAP, one, namespace=spec.namespace))

    try:
        await create(first)
        if await _told(client, parcel, [meta(first)["name"]], 0):
            return
        await asyncio.gather(*(create(one) for one in others))
        if not await _told(client, parcel, [str(meta(one)["name"]) for one in (first, *others)], 1):
            raise KubeflowError("the code did not arrive on the volume", hint="try again", ref=Ref.of(parcel.job))
    finally:
        await asyncio.shield(_remove(client, made, few))


async def _told(client: Client, parcel: Parcel, config_maps: Sequence[str], attempt: int) -> bool:
    """Whether the code is on the volume, after a pod with these ConfigMaps has looked and done what it could."""
    spec = parcel.spec
    name = names.with_suffix(spec.name, f"store-{spec.submission[:6]}-{attempt}")
    pod = erranding.keeper(
        parcel.job, name, spec.submission, claim=spec.shelf, digest=spec.archive, config_maps=config_maps
    )
    lines = await errands.run(client, pod)
    if lines[-1:] not in (["kf-have"], ["kf-missing"]):
        raise KubeflowError(
            f"the volume {spec.shelf} could not be looked at: {' '.join(lines[-3:])}", ref=Ref.of(parcel.job)
        )
    return lines[-1] == "kf-have"


async def _remove(client: Client, made: Sequence[Obj], few: asyncio.Semaphore) -> None:
    async def delete(one: Obj) -> None:
        async with few:
            head = meta(one)
            await client.delete(kinds.CONFIG_MAP, str(head["namespace"]), str(head["name"]), uid=str(head["uid"]))

    await asyncio.gather(*(delete(one) for one in made))


def _write(folder: Path, parcel: Parcel) -> None:
    target = folder / f"{parcel.spec.archive}.tar.gz"
    with contextlib.suppress(FileNotFoundError):
        if hashlib.sha256(target.read_bytes()).hexdigest() == parcel.spec.archive:
            return
    folder.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=folder, prefix=".")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(parcel.content)
            file.flush()
            os.fsync(number)
            os.fchmod(number, 0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
