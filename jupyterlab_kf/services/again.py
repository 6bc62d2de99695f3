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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final

from jupyterlab_kf import kinds, names, settings
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import NotFoundError, UsageError
from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.model import Obj, labels, meta
from jupyterlab_kf.profiles import Hardware, Use, choose, pod_template
from jupyterlab_kf.services import notebooks
from jupyterlab_kf.services.hardware import catalogue
from jupyterlab_kf.services.plans import Plan, Request, kind_of, make

_SERVER_FIELDS: Final = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "ownerReferences"}
)
_LARGEST: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """The code that a job runs. Empty when it was not made here.

    Attributes:
        name: of the file that is started.
        text: what it has.
        files: the names of all.
        call: the function of it that is called with the parameters; empty for scripts, cells and notebooks.
    """

    name: str = ""
    text: str = ""
    files: tuple[str, ...] = ()
    call: str = ""

    def alone(self, params: Iterable[str]) -> str:
        """The text with the call of its function, whose arguments are variables then."""
        given = ", ".join(f"{name}={name}" for name in params)
        return f"{self.text.rstrip()}\n\n\n{self.call}({given})\n" if self.call else self.text


async def source(client: Client, job: Obj) -> Source:
    """The code of a job, read from the ConfigMaps that it runs."""
    instructions, text, parts = await _shipped(client, job)
    if text:  # the archive is on a volume
        files = tuple(training.provenance(job).get("files") or ())
        return Source(_main(instructions), text, files, _call(instructions))
    return _unpacked(parts, instructions)


async def instructions(client: Client, job: Obj) -> dict[str, Any]:
    """What the launcher of a job is told; empty when it was not made here."""
    text, _, _ = await _shipped(client, job)
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


async def beside(client: Client, job: Obj) -> dict[str, bytes]:
    """The files that a job has beside the one that it runs.

    Raises:
        UsageError: they are on a volume, where only the cluster's pods read them.
    """
    instructions, text, parts = await _shipped(client, job)
    main = PurePosixPath(_main(instructions))
    if text and len(training.provenance(job).get("files") or ()) > 1:
        raise UsageError("the files of this job are on a volume", hint="run it again, or start from its notebook")
    found: dict[str, bytes] = {}
    for name, content in _members(parts):
        path = PurePosixPath(name)
        if path != main and not path.is_absolute() and ".." not in path.parts:
            found[name] = content
    return found


async def _shipped(client: Client, job: Obj) -> tuple[str, str, list[str]]:
    """What travels with a job: its instructions, its program where that is apart, and the parts of the archive."""
    instructions, text, parts = "{}", "", dict[str, str]()
    for name in _referenced(job, "configMap", "name"):
        try:
            found = await client.get(kinds.CONFIG_MAP, meta(job)["namespace"], name)
        except NotFoundError:
            continue
        instructions = (found.get("data") or {}).get("job.json") or instructions
        text = (found.get("data") or {}).get(training.SOURCE_KEY) or text
        binary = found.get("binaryData") or {}
        parts |= {key: str(value) for key, value in binary.items() if key.startswith(training.CODE_KEY)}
    return instructions, text, [parts[key] for key in sorted(parts)]


def _main(instructions: str) -> str:
    return str(json.loads(instructions).get("main") or "")


def _call(instructions: str) -> str:
    return str(json.loads(instructions).get("call") or "")


def _members(parts: Sequence[str]) -> list[tuple[str, bytes]]:
    """The files of an archive; none of one that is another's, or larger than what we ship."""
    if not parts:
        return []
    try:
        packed = b"".join(base64.b64decode(part) for part in parts)
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
            return [
                (entry.name, stream.read())
                for entry in tar.getmembers()
                if entry.isfile() and entry.size <= _LARGEST and (stream := tar.extractfile(entry)) is not None
            ]
    except (ValueError, binascii.Error, tarfile.TarError, EOFError, OSError):
        return []


def _unpacked(parts: Sequence[str], instructions: str) -> Source:
    if not parts:
        return Source()
    try:
        main = _main(instructions)
        packed = b"".join(base64.b64decode(part) for part in parts)
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
            members = tar.getmembers()
            entry = next((member for member in members if member.name == main and member.isfile()), None)
            stream = tar.extractfile(entry) if entry is not None and entry.size <= _LARGEST else None
            text = stream.read().decode(errors="replace") if stream is not None else ""
    except (ValueError, binascii.Error, tarfile.TarError, EOFError, OSError):  # another's archive is not our business
        return Source()
    return Source(main, text, tuple(sorted(member.name for member in members)), _call(instructions))


def as_plan(job: Obj, code: Source) -> Plan:
    """The plan that would make a job like this one, to be shown as a cell or as Python.

    Raises:
        UsageError: it cannot be said in the words of :func:`jupyterlab_kf.train`.
    """
    row = frameworks.of_kind(str(job.get("kind")))
    template = next(reversed(training.templates(job).values()), {}).get("spec") or {}
    container = (template.get("containers") or [{}])[0]
    record = training.provenance(job)
    counts = training.counts(job)
    image = str(container.get("image") or "")
    ours = {"PYTHONUNBUFFERED", "KF_WORK", "KF_OUTPUT", "KF_ARCHIVE"}
    hardware = _hardware(record)
    # What the profile gives by itself is not said again.
    given = pod_template({"spec": {"containers": [{}]}}, hardware)["spec"]["containers"][0] if hardware else {}
    mounted = training.mounts_of(job)
    ours |= {one.variable for one in mounted}
    environment = [entry for entry in container.get("env") or () if entry not in (given.get("env") or ())]
    usual = given.get("image") or (row.image if row else "")
    framework = row.name if row else "pytorch"
    params = record.get("params") or {}
    request = Request(
        code=code.alone(params) or "# the code of this job is in its image\n",
        framework=framework,
        **_layout(framework, counts, job),
        **_conduct(job),
        name=str(meta(job).get("name")),
        namespace=str(meta(job).get("namespace")),
        **_resources(container.get("resources") or {}, given.get("resources") or {}, hardware),
        env={e["name"]: e["value"].replace("$$", "$") for e in environment if "value" in e and e["name"] not in ours},
        args=tuple(record.get("args") or ()),
        params=params or None,
        files=tuple(name for name in code.files if name != code.name),
        filename=notebooks.notebook_of(code.name) or "cell.py",
        image=None if image == usual else image or None,
        install=record.get("install") or False,
        output=record.get("output"),
        volumes=[str(one) for one in mounted],
    )
    # Whether what travelled along is still there is for whoever runs the copy to find.
    planned = make(
        replace(request, files=()), namespace=str(meta(job).get("namespace")), submission=uuid.uuid4().hex[:12]
    )
    return replace(planned, request=request)


def _hardware(record: Mapping[str, Any]) -> Hardware | None:
    """The profile that the job was made with, as it is here and now; None where there is none of that name."""
    slug = record.get("profile")
    if not isinstance(slug, str):
        return None
    try:
        return choose(catalogue().usable(slug, Use.TRAINING))
    except UsageError:  # it was another machine's; the amounts are in the job
        return None


def _resources(found: Mapping[str, Any], given: Mapping[str, Any], hardware: Hardware | None) -> dict[str, Any]:
    """``profile``, and ``cpu``, ``memory`` and ``gpu`` where they are not what the profile gives."""

    def amounts(resources: Mapping[str, Any], name: str) -> tuple[str | None, str | None]:
        return tuple((resources.get(key) or {}).get(name) for key in ("requests", "limits"))  # type: ignore[return-value]

    said: dict[str, Any] = {"profile": hardware.profile.slug if hardware else None}
    said |= {
        name: amounts(found, name)[0] for name in ("cpu", "memory") if amounts(found, name) != amounts(given, name)
    }
    kind = hardware.profile.accelerators[0].resource if hardware and hardware.profile.accelerators else pods.GPU
    if amounts(found, kind) != amounts(given, kind):
        count = str(amounts(found, kind)[0] or 0)
        said["gpu"] = int(count) if count.isdigit() else None
    return said


def _layout(framework: str, counts: Mapping[str, int], job: Obj) -> dict[str, Any]:
    """``elastic`` or ``workers=n`` where that says it all, else ``replicas``."""
    row = frameworks.framework(framework)
    workers = counts.get("worker", 0) + (1 if row.leads else 0)
    policy = (job.get("spec") or {}).get("elasticPolicy") or {}
    if {"minReplicas", "maxReplicas"} <= policy.keys():
        elastic = (policy["minReplicas"], policy["maxReplicas"])
        return {"elastic": elastic, "workers": counts.get("worker", 0)}
    if dict(frameworks.layout(row, workers=workers or None)) == dict(counts):
        return {"workers": workers}
    return {"replicas": dict(counts)}


def _conduct(job: Obj) -> dict[str, Any]:
    """How its processes run and end: what of that is not so by itself."""
    spec = job.get("spec") or {}
    master = spec.get("master") or {}  # of a ChainerJob, which has its rules there
    policy = {**master, **(spec.get("runPolicy") or {})}
    elastic = spec.get("elasticPolicy") or {}
    slots = spec.get("nprocPerNode") or spec.get("slotsPerWorker") or (master.get("mpiConfig") or {}).get("slots")
    limit = elastic.get("maxRestarts", policy.get("backoffLimit"))
    restart = _restart_policy(job)
    said = restart if restart != ("OnFailure" if limit else "Never") else None
    usual = 3 if elastic or said not in (None, "Never") else 0
    return {
        "nproc": int(slots) if slots and str(slots).isdigit() else 1,
        "restart": said,
        "retries": limit if limit != usual else None,
        "deadline": policy.get("activeDeadlineSeconds"),
        "ttl": policy.get("ttlSecondsAfterFinished"),
        "clean": policy.get("cleanPodPolicy") or "Running",
    }


def _restart_policy(job: Obj) -> str:
    """What its replicas say; a ChainerJob's say it in their template."""
    row = frameworks.of_kind(str(job.get("kind")))
    replicas = (job.get("spec") or {}).get(row.specs if row and row.specs else "") or {}
    said = [*replicas.values(), *((one.get("spec") or {}) for one in training.templates(job).values())]
    return next((str(one["restartPolicy"]) for one in said if one.get("restartPolicy")), "Never")


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
    _sign(again, settings.load().user)
    _rename(again.get("spec"), renamed)
    _move_results(again.get("spec"), training.results_folder(fresh, submission))
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
    for kind, source_, key, fresh in (
        (kinds.CONFIG_MAP, "configMap", "name", training.code_name),
        (kinds.PERSISTENT_VOLUME_CLAIM, "persistentVolumeClaim", "claimName", training.output_name),
    ):
        number = 0
        for found_name in _referenced(job, source_, key):
            found = await client.get(kind, space, found_name)
            if labels(found).get(names.LABEL_JOB) != old:
                continue  # not made for this job alone: both may use it
            copy = _bare(found)
            renamed[found_name] = fresh(name, submission, number)
            number += 1
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


def _sign(job: Obj, user: str) -> None:
    """Who runs it again is who it belongs to."""
    record = training.provenance(job)
    if user and record.get("user") != user:
        text = json.dumps(record | {"user": user}, sort_keys=True)
        job["metadata"]["annotations"] = {**(meta(job).get("annotations") or {}), names.ANNOTATION_PROVENANCE: text}


def _stem(name: str) -> str:
    """The name without the five characters that an earlier submission put at its end."""
    stem, _, end = name.rpartition("-")
    generated = len(end) == 5 and all(c in "0123456789abcdef" for c in end)  # noqa: PLR2004  as they are made
    return (stem if stem and generated else name)[: names.MAX_JOB_NAME - 6].rstrip("-")


def _referenced(job: Obj, source_: str, key: str) -> Iterator[str]:
    seen = set()
    for template in training.templates(job).values():
        for volume in (template.get("spec") or {}).get("volumes") or ():
            parts = (volume.get("projected") or {}).get("sources") or (volume,)
            for name in ((part.get(source_) or {}).get(key) for part in parts):
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


def _move_results(value: Any, folder: str) -> None:
    """Another folder for results on a volume that is shared with the job that was there before."""
    if isinstance(value, list):
        for item in value:
            _move_results(item, folder)
    elif isinstance(value, dict):
        shared, found, _ = str(value.get("value")).partition(f"/{training.RESULTS}/")
        if value.get("name") == "KF_OUTPUT" and found:
            value["value"] = f"{shared}/{folder}"
        for item in value.values():
            _move_results(item, folder)
