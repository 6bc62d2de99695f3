"""Plays the table of cases to a real operator and writes down what it makes of them.

A wave of cases is played at once in one namespace, step by step: after each step nothing may change for a while before
the state is written down. Nobody schedules or runs the pods; the script says what befalls them, by patches of their
status. What differs from run to run (uids, times, the hash in generated names) is left out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

from bed.api import Api, ApiStatusError, Obj
from bed.cases import ALL, FIELDS, Case, Step

NAMESPACE = "default"
# An operator may write twenty times a second, and drops events when more than it can write are waiting.
_WAVE = 16
_QUIET_SECONDS = 2.0
_PATIENCE_SECONDS = 40.0
_RESTLESS_SECONDS = 20.0
_RESTLESS_PODS = 5
# Told when the operator looks again before it has heard of what it has just made or said.
RACES = re.compile(r"already exists$|^MPIJob \S+/\S+ is running$")
_JOB_NAME = "training.kubeflow.org/job-name"
_NOW = "2026-01-01T00:00:00Z"
_HELD = "test.jupyterlab-kf.io/held"
_MADE = (
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("batch/v1", "Job"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
)


class Recorder:
    """One playing of cases to the operator behind an API server.

    Args:
        api: calls on it.
        cases: by name, each once.
        quiet: seconds without a write after which it has done what it does.
        wave: how many cases are played at once.
    """

    def __init__(self, api: Api, cases: Iterable[Case], *, quiet: float = _QUIET_SECONDS, wave: int = _WAVE) -> None:
        self._api, self._quiet, self._wave = api, quiet, wave
        served = {version: api.resources(version) for version, _ in _MADE}
        self._watched = tuple((version, kind) for version, kind in _MADE if f"{kind.lower()}s" in served[version])
        self._cases = {case.name: case for case in cases}
        self._seen: dict[str, set[str]] = {name: set() for name in self._cases}
        self._instances: dict[str, dict[str, int]] = {name: {} for name in self._cases}
        self._last: dict[str, dict[str, Obj]] = {name: {} for name in self._cases}
        self._earlier: set[str] = set()
        self._states: dict[str, list[Obj]] = {name: [] for name in self._cases}

    def play(self) -> dict[str, Obj]:
        """Case -> its kind, spec, script, and the state after its creation and after each step."""
        names = list(self._cases)
        # Events outlive what they are about, and other jobs may have had these names.
        self._earlier = {event["metadata"]["uid"] for event in self._api.list("v1", "Event", NAMESPACE)}
        for start in range(0, len(names), self._wave):
            self._play_wave({name: self._cases[name] for name in names[start : start + self._wave]})
        return {
            name: {
                "version": case.version,
                "kind": case.kind,
                "spec": case.spec,
                "script": list(case.script),
                "states": self._states[name],
            }
            for name, case in self._cases.items()
        }

    def _play_wave(self, cases: dict[str, Case]) -> None:
        for case in cases.values():
            self._api.create(manifest(case))
        self._settle()
        self._write_down(cases)
        for number in range(max(len(case.script) for case in cases.values())):
            playing = {name: case for name, case in cases.items() if number < len(case.script)}
            for case in playing.values():
                self._befall(case, case.script[number])
            time.sleep(max(case.script[number].get("wait", 0) for case in playing.values()))
            self._settle()
            while late := [case for case in playing.values() if case.script[number] == ALL and self._waiting(case)]:
                for case in late:  # pods that were made when others ran
                    self._befall(case, ALL)
                self._settle()
            self._write_down(playing)
        for case in cases.values():
            self._api.delete(case.version, case.kind, case.name, NAMESPACE)

    def refusals(self, cases: Iterable[Case]) -> dict[str, Obj]:
        """Case -> the code, reason and words that it is refused with; an accepted one is told as None."""
        answers: dict[str, Obj] = {}
        for case in cases:
            answer: Obj | None = None
            try:
                place = f"{self._api.place(case.version, case.kind, '', NAMESPACE)}?fieldValidation=Strict&dryRun=All"
                self._api.request("POST", place.replace("/?", "?"), manifest(case))
            except ApiStatusError as error:
                answer = {"code": error.code, "reason": error.reason, "message": error.message}
            answers[f"{case.kind}/{case.name}"] = {"spec": case.spec, "refusal": answer}
        return answers

    def restless(self, cases: Iterable[Case]) -> dict[str, Obj]:
        """Case -> whether its pods are made and deleted again and again; each is deleted after a look at it."""
        answers: dict[str, Obj] = {}
        for case in cases:
            self._api.create(manifest(case))
            uids: set[str] = set()
            deadline = time.monotonic() + _RESTLESS_SECONDS
            while time.monotonic() < deadline and len(uids) <= _RESTLESS_PODS:
                uids |= {pod["metadata"]["uid"] for pod in self._pods(case.name)}
                time.sleep(0.05)
            self._api.delete(case.version, case.kind, case.name, NAMESPACE)
            answers[case.name] = {"kind": case.kind, "spec": case.spec, "restless": len(uids) > _RESTLESS_PODS}
        return answers

    def _waiting(self, case: Case) -> bool:
        return any(pod["status"]["phase"] == "Pending" for pod in self._pods(case.name))

    def _settle(self) -> None:
        """Until nothing has been written for a while."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        before, since = self._versions(), time.monotonic()
        while time.monotonic() - since < self._quiet and time.monotonic() < deadline:
            time.sleep(0.25)
            if (now := self._versions()) != before:
                before, since = now, time.monotonic()

    def _versions(self) -> frozenset[tuple[str, str]]:
        jobs = {(case.version, case.kind) for case in self._cases.values()}
        kinds = [("v1", "Pod"), ("v1", "Event"), *self._watched, *jobs]
        found = [item["metadata"] for version, kind in kinds for item in self._api.list(version, kind, NAMESPACE)]
        return frozenset((item["uid"], item["resourceVersion"]) for item in found)

    def _befall(self, case: Case, step: Step) -> None:
        ((what, value),) = step.items()
        if what == "patch":
            self._api.merge(case.version, case.kind, case.name, value, NAMESPACE)
        elif what in ("delete", "hold", "end"):
            # Held: a pod that nobody runs would be gone at once, and an operator sees or misses that it was being
            # deleted as it happens.
            held = {"metadata": {"finalizers": None if what == "end" else [_HELD]}}
            for role in value:
                self._api.merge("v1", "Pod", f"{case.name}-{role}", held, NAMESPACE)
                if what == "delete":
                    self._api.delete("v1", "Pod", f"{case.name}-{role}", NAMESPACE)
        elif what != "wait":
            # Of a launcher that was made anew, the last one.
            pods = {plain(pod["metadata"]["name"]).removeprefix(f"{case.name}-"): pod for pod in self._pods(case.name)}
            for role in pods if value == ["*"] else value:
                pod = pods.get(role)
                if pod is not None and pod["status"]["phase"] not in ("Succeeded", "Failed"):
                    status = _status(pod, case, what, value[role] if isinstance(value, dict) else 0)
                    self._api.merge("v1", "Pod", pod["metadata"]["name"], {"status": status}, NAMESPACE)

    def _pods(self, name: str) -> list[Obj]:
        pods = self._api.list("v1", "Pod", NAMESPACE, labels=f"{_JOB_NAME}={name}")
        return sorted(pods, key=lambda pod: (plain(pod["metadata"]["name"]), pod["metadata"]["creationTimestamp"]))

    def _write_down(self, cases: Iterable[str]) -> None:
        told = self._api.list("v1", "Event", NAMESPACE)
        events = [event for event in told if event["metadata"]["uid"] not in self._earlier]
        made = {kind: self._api.list(version, kind, NAMESPACE) for version, kind in self._watched}
        for name in cases:
            current = self._made(name, made)
            state: Obj = {"status": self._job_status(name), "pods": self._pod_states(name)}
            state["new"] = {key: value for key, value in current.items() if self._last[name].get(key) != value}
            state["gone"] = sorted(set(self._last[name]) - set(current))
            self._last[name] = current
            state["events"] = _events(name, events)
            self._states[name].append(state)

    def _job_status(self, name: str) -> Obj | None:
        try:
            case = self._cases[name]
            return job_status(self._api.get(case.version, case.kind, name, NAMESPACE))
        except ApiStatusError:
            return None

    def _pod_states(self, name: str) -> dict[str, Obj]:
        """Pod -> its phase, and how many pods of that name there have been."""
        states: dict[str, Obj] = {}
        for pod in self._pods(name):
            uid, pod_name = pod["metadata"]["uid"], plain(pod["metadata"]["name"])
            if uid not in self._seen[name]:
                self._seen[name].add(uid)
                self._instances[name][pod_name] = self._instances[name].get(pod_name, 0) + 1
            states[pod_name] = {"phase": pod["status"]["phase"], "instance": self._instances[name][pod_name]}
        return states

    def _made(self, name: str, made: dict[str, list[Obj]]) -> dict[str, Obj]:
        """Everything the job owns, by kind and name, in the form in which it is compared."""
        found = {f"Pod/{plain(pod['metadata']['name'])}": pod_facts(pod) for pod in self._pods(name)}
        for kind, items in made.items():
            for item in items:
                if any(owner["name"] == name for owner in item["metadata"].get("ownerReferences", ())):
                    found[f"{kind}/{item['metadata']['name']}"] = facts(kind, item)
        return found


def manifest(case: Case) -> Obj:
    """The job of a case."""
    metadata = {"name": case.name, "namespace": NAMESPACE}
    return {"apiVersion": case.version, "kind": case.kind, "metadata": metadata, "spec": case.spec}


def job_status(job: Obj | None) -> Obj | None:
    """What is compared of a job's status; None of a job that is gone."""
    if job is None:
        return None
    status: Obj = job.get("status", {})
    times = ("startTime", "completionTime")
    state: Obj = {"has": [key for key in times if status.get(key)]}
    replicas = status.get("replicaStatuses") or {}
    # The selector of a job that has ended comes and goes with how often the operator happened to look.
    state["replicaStatuses"] = {
        role: {key: value for key, value in counts.items() if key != "selector" or "completionTime" not in status}
        for role, counts in replicas.items()
    }
    fields = ("type", "status", "reason", "message")
    state["conditions"] = [{key: item.get(key) for key in fields} for item in status.get("conditions", ())]
    return state


def pod_facts(pod: Obj) -> Obj:
    """What the operator decides about a pod; what the API server fills in is left out."""
    metadata, spec = pod["metadata"], pod["spec"]
    owner = metadata["ownerReferences"][0]
    facts: Obj = {
        "labels": {
            key: value for key, value in metadata.get("labels", {}).items() if not key.endswith("controller-uid")
        },
        "annotations": metadata.get("annotations", {}),
        "owner": {key: owner.get(key) for key in ("kind", "name", "controller", "blockOwnerDeletion")},
        "restartPolicy": spec["restartPolicy"],
        "containers": [_container(item) for item in spec["containers"]],
        "initContainers": [_container(item) for item in spec.get("initContainers", ())],
    }
    for key in ("hostname", "subdomain", "hostNetwork", "setHostnameAsFQDN"):
        if key in spec:
            facts[key] = spec[key]
    if (account := spec.get("serviceAccountName", "default")) != "default":
        facts["serviceAccountName"] = account
    volumes = [item for item in spec.get("volumes", ()) if not item["name"].startswith("kube-api-access-")]
    if volumes:
        facts["volumes"] = volumes
    return facts


def facts(kind: str, item: Obj) -> Obj:
    """What the operator decides about any other object."""
    labels = item["metadata"].get("labels", {})
    found: Obj = {"labels": {key: value for key, value in labels.items() if not key.endswith("controller-uid")}}
    if kind == "Service":
        spec = item["spec"]
        found |= {
            key: spec[key] for key in ("clusterIP", "ports", "selector", "publishNotReadyAddresses") if key in spec
        }
    if kind == "Secret":  # its keys are random
        return found | {"type": item["type"], "data": sorted(item["data"])}
    if kind == "Job":
        left_out = ("selector", "template", "manualSelector")
        found["spec"] = {key: value for key, value in item["spec"].items() if key not in left_out}
        found["conditions"] = [[one["type"], one["status"]] for one in item.get("status", {}).get("conditions", ())]
    for key in ("data", "rules", "roleRef", "subjects"):
        if key in item:
            found[key] = item[key]
    if kind == "HorizontalPodAutoscaler":
        found["spec"] = item["spec"]
    return found


def _container(item: Obj) -> Obj:
    kept = ("name", "image", "command", "args", "env", "ports", "resources", "workingDir")
    found = {key: item[key] for key in kept if item.get(key)}
    mounts = [mount for mount in item.get("volumeMounts", ()) if "serviceaccount" not in mount["mountPath"]]
    return found | ({"volumeMounts": mounts} if mounts else {})


def _events(name: str, events: list[Obj]) -> list[list[str]]:
    """Kinds of events on the job so far; their number and order are the operator's mood."""
    found = {
        (item["type"], item["reason"], plain(item["message"]))
        for item in events
        if item["involvedObject"]["name"] == name and not RACES.search(item["message"])
    }
    return [list(item) for item in sorted(found)]


def plain(text: str) -> str:
    """Without what is made up anew each time: uids, and the ends of the names of a launcher Job's pods."""
    without_uids = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", text)
    return re.sub(r"(?<=-launcher)-[a-z0-9]{5}\b", "", without_uids)


def _status(pod: Obj, case: Case, what: str, value: int) -> Obj:
    """The status that a kubelet would report."""
    if what == "evict":
        return {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    wanted = FIELDS[case.kind][1]
    containers: list[Obj] = []
    for item in pod["spec"]["containers"]:
        ended = what == "exit" and (item["name"] == wanted or value == 0)
        state: dict[str, Any] = {"running": {"startedAt": _NOW}}
        if ended:
            reason = "Completed" if value == 0 else "Error"
            state = {"terminated": {"exitCode": value, "reason": reason, "startedAt": _NOW, "finishedAt": _NOW}}
        containers.append(
            {
                "name": item["name"],
                "image": item["image"],
                "imageID": "",
                "ready": not ended,
                "restartCount": value if what == "restarts" and item["name"] == wanted else 0,
                "state": state,
            }
        )
    phase = "Running" if what != "exit" else "Succeeded" if value == 0 else "Failed"
    ready = "True" if phase == "Running" else "False"
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": _NOW}]
    return {"phase": phase, "startTime": _NOW, "conditions": conditions, "containerStatuses": containers}
