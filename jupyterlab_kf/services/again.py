"""A job that exists, taken up again: its code read back, it as a request, and the same job once more.

What a job ran travels with it (a ConfigMap that it owns), so any job made here can be run again or copied into a cell
by anybody who may read it. Jobs made elsewhere are run again from their manifest alone.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import NotFoundError
from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.model import Obj, labels, meta
from jupyterlab_kf.services.plans import Plan, Request, kind_of, make

_SERVER_FIELDS: Final = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "ownerReferences"}
)
_LARGEST: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """The code that a job runs: the file that is started, and the names of all. Empty when it was not made here."""

    name: str = ""
    text: str = ""
    files: tuple[str, ...] = ()


async def source(client: Client, job: Obj) -> Source:
    """The code of a job, read from the ConfigMap that it runs."""
    for name in _referenced(job, "configMap", "name"):
        try:
            found = await client.get(kinds.CONFIG_MAP, meta(job)["namespace"], name)
        except NotFoundError:
            continue
        packed = (found.get("binaryData") or {}).get("code.tar.gz")
        if packed:
            return _unpacked(packed, (found.get("data") or {}).get("job.json") or "{}")
    return Source()


def _unpacked(packed: str, instructions: str) -> Source:
    try:
        main = str(json.loads(instructions).get("main") or "")
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed)), mode="r:gz") as tar:
            members = tar.getmembers()
            entry = next((member for member in members if member.name == main and member.isfile()), None)
            stream = tar.extractfile(entry) if entry is not None and entry.size <= _LARGEST else None
            text = stream.read().decode(errors="replace") if stream is not None else ""
    except (ValueError, binascii.Error, tarfile.TarError, EOFError, OSError):  # another's archive is not our business
        return Source()
    return Source(main, text, tuple(sorted(member.name for member in members)))


def as_plan(job: Obj, code: Source) -> Plan:
    """The plan that would make a job like this one, to be shown as a cell or as Python.

    Raises:
        UsageError: it cannot be said in the words of :func:`jupyterlab_kf.train`.
    """
    row = frameworks.of_kind(str(job.get("kind")))
    template = next(reversed(training.templates(job).values()), {}).get("spec") or {}
    container = (template.get("containers") or [{}])[0]
    wanted = (container.get("resources") or {}).get("requests") or {}
    record = training.provenance(job)
    counts = training.counts(job)
    image = str(container.get("image") or "")
    ours = {"PYTHONUNBUFFERED", "KF_WORK", "KF_OUTPUT"}
    environment = container.get("env") or ()
    framework = row.name if row else "pytorch"
    layout = _layout(framework, counts)
    request = Request(
        code=code.text or "# the code of this job is in its image\n",
        framework=framework,
        **layout,
        name=str(meta(job).get("name")),
        namespace=str(meta(job).get("namespace")),
        cpu=wanted.get("cpu"),
        memory=wanted.get("memory"),
        gpu=int(wanted[pods.GPU]) if str(wanted.get(pods.GPU, "")).isdigit() else None,
        env={e["name"]: e["value"].replace("$$", "$") for e in environment if "value" in e and e["name"] not in ours},
        args=tuple(record.get("args") or ()),
        params=record.get("params") or None,
        image=None if row and image == row.image else image or None,
        output=record.get("output"),
    )
    return make(request, namespace=str(meta(job).get("namespace")), submission=uuid.uuid4().hex[:12])


def _layout(framework: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """``workers=n`` where that says it all, else ``replicas``."""
    row = frameworks.framework(framework)
    workers = counts.get("worker", 0) + (1 if row.leads else 0)
    if dict(frameworks.layout(row, workers=workers or None, replicas=None, elastic=None)) == dict(counts):
        return {"workers": workers}
    return {"replicas": dict(counts)}


async def rerun(client: Client, job: Obj, name: str = "") -> Obj:
    """The same job once more under another name, with copies of what it needs; answers it as the server has it."""
    submission = uuid.uuid4().hex[:12]
    old, space = str(meta(job)["name"]), str(meta(job)["namespace"])
    fresh = names.check_job_name(name) if name else f"{_stem(old)}-{submission[:5]}"
    copies, renamed = await _beside(client, job, fresh, submission)
    again = _bare(job)
    again["metadata"] |= {"name": fresh, "namespace": space}
    again["metadata"]["labels"] = {**labels(job), names.LABEL_SUBMISSION: submission}
    policy = (again.get("spec") or {}).get("runPolicy")
    if isinstance(policy, dict):
        policy.pop("suspend", None)
    _rename(again.get("spec"), renamed)
    made = []
    try:
        for copy in copies:
            made.append(await client.create(kind_of(copy), copy, namespace=space))  # noqa: PERF401  what was made is undone
        job = await client.create(kind_of(again), again, namespace=space)
    except BaseException:
        gone = (client.delete(kind_of(one), space, meta(one)["name"], uid=meta(one)["uid"]) for one in made)
        await asyncio.shield(asyncio.gather(*gone))
        raise
    patch = training.owner_patch(job)
    await asyncio.gather(*(client.patch(kind_of(one), space, meta(one)["name"], patch) for one in made))
    return job


async def _beside(client: Client, job: Obj, name: str, submission: str) -> tuple[list[Obj], dict[str, str]]:
    """Copies of the code and an empty volume like the job's, and the names that change."""
    space, old = str(meta(job)["namespace"]), str(meta(job)["name"])
    copies: list[Obj] = []
    renamed: dict[str, str] = {}
    for kind, source_, key, word in (
        (kinds.CONFIG_MAP, "configMap", "name", "code"),
        (kinds.PERSISTENT_VOLUME_CLAIM, "persistentVolumeClaim", "claimName", "output"),
    ):
        for found_name in _referenced(job, source_, key):
            found = await client.get(kind, space, found_name)
            if labels(found).get(names.LABEL_JOB) != old:
                continue  # not made for this job alone: both may use it
            copy = _bare(found)
            renamed[found_name] = names.with_suffix(name, f"{word}-{submission[:6]}")
            marks = {**labels(found), names.LABEL_JOB: name, names.LABEL_SUBMISSION: submission}
            copy["metadata"] |= {"name": renamed[found_name], "namespace": space, "labels": marks}
            copy.get("spec", {}).pop("volumeName", None)
            copies.append(copy)
    return copies, renamed


def _bare(obj: Obj) -> Obj:
    """A copy without what the server added."""
    copy = deepcopy({key: value for key, value in obj.items() if key != "status"})
    copy["metadata"] = {key: value for key, value in copy["metadata"].items() if key not in _SERVER_FIELDS}
    return copy


def _stem(name: str) -> str:
    """The name without the five characters that an earlier submission put at its end."""
    stem, _, end = name.rpartition("-")
    generated = len(end) == 5 and all(c in "0123456789abcdef" for c in end)  # noqa: PLR2004  as they are made
    return (stem if stem and generated else name)[: names.MAX_JOB_NAME - 6].rstrip("-")


def _referenced(job: Obj, source_: str, key: str) -> Iterator[str]:
    seen = set()
    for template in training.templates(job).values():
        for volume in (template.get("spec") or {}).get("volumes") or ():
            name = (volume.get(source_) or {}).get(key)
            if name and name not in seen:
                seen.add(name)
                yield str(name)


def _rename(value: Any, renamed: Mapping[str, str]) -> None:
    """Volumes that are named anew, wherever in a manifest they stand."""
    if isinstance(value, list):
        for item in value:
            _rename(item, renamed)
    elif isinstance(value, dict):
        for source_, key in (("configMap", "name"), ("persistentVolumeClaim", "claimName")):
            volume = value.get(source_)
            if isinstance(volume, dict) and volume.get(key) in renamed:
                volume[key] = renamed[volume[key]]
        for item in value.values():
            _rename(item, renamed)
