"""ChainerJob v1alpha1 on modern terms: a batch Job for the master, pods for the worker sets, one hostfile.

The operator's last release asked for APIs that are gone, and fetched programs from the network at start. What a user
sees is kept: names, labels, variables, and that the status is the master Job's. Worker sets are pods of ours instead
of StatefulSets, and the hostfile is in the ConfigMap instead of being put together by an init container.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Patch, SetStatus, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.support import (
    emitter,
    is_owned,
    is_true,
    name,
    namespace,
    notes,
    owner_reference,
    phase,
    terminating,
    uid,
)
from jupyterlab_kf.controllers.training.framework import GANG_MINIMUM, GANG_SIZE, add_env
from jupyterlab_kf.controllers.training.mpi import mount
from jupyterlab_kf.controllers.training.problems import (
    Problem,
    containers_of,
    job_name,
    not_supported,
    replicas,
    required,
)
from jupyterlab_kf.model import Obj, format_time, labels

NAME_LABEL = "chainerjob.kubeflow.org/name"
ROLE_LABEL = "chainerjob.kubeflow.org/role"
SET_LABEL = "chainerjob.kubeflow.org/workersetname"
ASSETS_SUFFIX = "-assets"

_CONTAINER = "chainer"
_SOURCE = "chainer-operator"
_HOSTFILE = "hostfile"
_PATH = "/kubeflow/chainer-operator/generated"
_VOLUME = "chainer-operator-volume-generated"
_ENVIRONMENT = (
    ("KUBECTL_DIR", "/kubeflow/chainer-operator/kube"),
    ("OMPI_MCA_orte_keep_fqdn_hostnames", "t"),
    ("OMPI_MCA_orte_default_hostfile", f"{_PATH}/{_HOSTFILE}"),
    ("PRTE_MCA_prte_default_hostfile", f"{_PATH}/{_HOSTFILE}"),
)
_ENDED = ("Complete", "Failed")


def validate(obj: Obj) -> list[Problem]:
    """What no ChainerJob controller could run."""
    spec = obj.get("spec") or {}
    problems = job_name(obj)
    backend = spec.get("backend") or "mpi"
    if backend != "mpi":
        problems.append(not_supported("spec.backend", backend, ("mpi",)))
    if spec.get("master") is None:
        problems.append(required("spec.master", "must be required"))
    parts = {"spec.master": spec.get("master")}
    parts |= {f"spec.workerSets[{n}]": value for n, value in (spec.get("workerSets") or {}).items()}
    for path, part in parts.items():
        if part is None:
            continue
        problems += replicas(path, part)
        where, found = f"{path}.template.spec.containers", containers_of(part)
        named = [c for c in found if c.get("name") == _CONTAINER or (len(found) == 1 and not c.get("name"))]
        if not named:
            problems.append(required(where, f"must have at least one container with name {_CONTAINER}"))
        problems += [
            required(f"{where}[{i}].image", "must be required") for i, c in enumerate(found) if not c.get("image")
        ]
    return problems


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings a ChainerJob closer to its goal."""
    if terminating(obj):
        return []
    status, job_name_ = obj.get("status") or {}, f"{name(obj)}-master"
    if any(is_true(status, type_) for type_ in _ENDED):
        return _remove(view.owned(kinds.POD, uid(obj)))
    problems = validate(obj)
    if problems:
        return _refuse(obj, "; ".join(f"{path}: {text}" for path, text in problems), now)
    actions = _assets(obj, view)
    workers = view.owned(kinds.POD, uid(obj))
    master = view.get(kinds.JOB, namespace(obj), job_name_)
    if master is not None and not is_owned(master, uid(obj)):
        text = f'Resource "{job_name_}" already exists and is not managed by ChainerJob'
        return [emitter(kinds.CHAINER_JOB, obj, _SOURCE).warning("ErrResourceExists", text)]
    mirrored: Mapping[str, Any] = (master or {}).get("status") or {}
    if any(is_true(mirrored, type_) for type_ in _ENDED):
        actions += _remove(workers)
    else:
        actions += _workers(obj, workers)
    if master is None and _all_run(obj, workers):
        actions.append(Create(kinds.JOB, _master(obj)))
    if mirrored and mirrored != status:
        actions.insert(0, SetStatus(kinds.CHAINER_JOB, namespace(obj), name(obj), uid(obj), dict(mirrored)))
    return actions


def _refuse(obj: Obj, text: str, now: float) -> list[Action]:
    stamp = format_time(now)
    failed = {
        "type": "Failed",
        "status": "True",
        "reason": "FailedValidation",
        "message": text,
        "lastProbeTime": stamp,
        "lastTransitionTime": stamp,
    }
    status = {**(obj.get("status") or {}), "conditions": [failed]}
    return [
        SetStatus(kinds.CHAINER_JOB, namespace(obj), name(obj), uid(obj), status),
        emitter(kinds.CHAINER_JOB, obj, _SOURCE).warning("FailedValidation", text),
    ]


def _sets(obj: Obj) -> dict[str, Mapping[str, Any]]:
    return dict(sorted(((obj.get("spec") or {}).get("workerSets") or {}).items()))


def _replicas(worker_set: Mapping[str, Any]) -> int:
    count = worker_set.get("replicas")
    return 1 if count is None else int(count)


def _slots(part: Mapping[str, Any]) -> int:
    given = (part.get("mpiConfig") or {}).get("slots")
    if given is not None:
        return int(given)
    limits = [(c.get("resources") or {}).get("limits") or {} for c in containers_of(part)]
    return next((int(found["nvidia.com/gpu"]) for found in limits if "nvidia.com/gpu" in found), 1)


def _pod_names(obj: Obj) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Every worker pod's name, with its set's name and spec."""
    base = f"{name(obj)}-workerset"
    return {f"{base}-{n}-{i}": (n, s) for n, s in _sets(obj).items() for i in range(_replicas(s))}


def _assets(obj: Obj, view: View) -> list[Action]:
    sets = _sets(obj)
    if not sets:
        return []
    wanted = f"{name(obj)}{ASSETS_SUFFIX}"
    lines = [f"{name(obj)}-master slots={_slots(obj['spec']['master'])}"]
    lines += [f"{pod} slots={_slots(worker_set)}" for pod, (_, worker_set) in _pod_names(obj).items()]
    data = {_HOSTFILE: "".join(f"{line}\n" for line in lines)}
    stored = view.get(kinds.CONFIG_MAP, namespace(obj), wanted)
    if stored is not None:
        if stored.get("data") == data:
            return []
        return [Patch(kinds.CONFIG_MAP, namespace(obj), wanted, uid(stored), {"data": data})]
    metadata = _metadata(obj, wanted, {NAME_LABEL: name(obj)})
    return [Create(kinds.CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})]


def _metadata(obj: Obj, named: str, labelled: Mapping[str, str]) -> Obj:
    return {
        "name": named,
        "namespace": namespace(obj),
        "labels": dict(labelled),
        "ownerReferences": [owner_reference(kinds.CHAINER_JOB, obj)],
    }


def _template(obj: Obj, part: Mapping[str, Any], own: Mapping[str, str]) -> Obj:
    """A pod template with what makes its containers members of the job."""
    template = part.get("template") or {}
    spec = copied(template.get("spec") or {})
    found = spec.get("containers") or []
    if len(found) == 1 and not found[0].get("name"):
        found[0]["name"] = _CONTAINER
    if _sets(obj):
        for container in found:
            add_env(container, *_ENVIRONMENT)
        files = {"configMap": {"name": f"{name(obj)}{ASSETS_SUFFIX}"}}
        mount(spec, _VOLUME, _PATH, files)
        for container in found[1:]:
            container["volumeMounts"] = [
                *(container.get("volumeMounts") or ()),
                {"name": _VOLUME, "mountPath": _PATH},
            ]
    metadata = {"labels": {**labels(template), **own}, "annotations": dict(notes(template))}
    return {"metadata": metadata, "spec": spec}


def _master(obj: Obj) -> Obj:
    part = obj["spec"]["master"]
    own = {NAME_LABEL: name(obj), ROLE_LABEL: "master"}
    template = _template(obj, part, own)
    template["spec"].setdefault("restartPolicy", "OnFailure")
    template["spec"].setdefault("hostname", f"{name(obj)}-master")
    spec = {"completions": 1, "parallelism": 1, "template": template}
    spec |= {f: part[f] for f in ("backoffLimit", "activeDeadlineSeconds") if part.get(f) is not None}
    metadata = _metadata(obj, f"{name(obj)}-master", {**labels(obj), **own})
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _workers(obj: Obj, pods: list[Obj]) -> list[Action]:
    names, have = _pod_names(obj), {name(pod) for pod in pods}
    actions = _remove([p for p in pods if name(p) not in names or phase(p) in ("Failed", "Succeeded")])
    for named, (set_name, worker_set) in names.items():
        if named in have:
            continue
        own = {NAME_LABEL: name(obj), ROLE_LABEL: "workerset", SET_LABEL: set_name}
        template = _template(obj, worker_set, own)
        first = template["spec"]["containers"][0]
        if not first.get("command") and not first.get("args"):
            first["command"], first["args"] = ["sleep"], ["365d"]
        template["spec"].update(hostname=named, restartPolicy="Always")
        gang = {GANG_SIZE: str(len(names)), GANG_MINIMUM: str(len(names))}
        metadata = _metadata(obj, named, template["metadata"]["labels"])
        metadata["annotations"] = {**template["metadata"]["annotations"], **gang}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        actions.append(Create(kinds.POD, pod))
    return actions


def _all_run(obj: Obj, pods: list[Obj]) -> bool:
    running = {name(p) for p in pods if phase(p) == "Running" and not terminating(p)}
    return running >= set(_pod_names(obj))


def _remove(pods: list[Obj]) -> list[Action]:
    return [Delete(kinds.POD, namespace(p), name(p), uid(p)) for p in pods if not terminating(p)]


CONTROLLER = Controller(
    name=_SOURCE,
    kind=kinds.CHAINER_JOB,
    react=react,
    owns=(kinds.POD, kinds.JOB, kinds.CONFIG_MAP),
)
