"""batch/v1 Job: parallelism and completions, Indexed or not, retries with back-off, deadline, suspension, time to live.

Conditions, reasons and events are those of Kubernetes 1.36: a verdict is announced first (SuccessCriteriaMet,
FailureTarget) and becomes final (Complete, Failed) when no pod runs any more. Finished pods are counted while they
exist and never counted down; there are no tracking finalizers, so that no pod can be left behind that nobody releases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Requeue, SetStatus, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.support import (
    BURST,
    active,
    condition,
    emitter,
    finished_at,
    generated_names,
    is_true,
    name,
    namespace,
    notes,
    owner_reference,
    phase,
    ready,
    restarts,
    terminating,
    uid,
)
from jupyterlab_kf.controllers.workloads import failures
from jupyterlab_kf.controllers.workloads.indexes import format_indexes, parse_indexes
from jupyterlab_kf.model import Obj, format_time, labels, parse_time

INDEX = "batch.kubernetes.io/job-completion-index"
_SOURCE = "job-controller"
_OWN_MANAGER = "kubernetes.io/job-controller"
_FIRST_DELAY, _LONGEST_DELAY = 10.0, 600.0
_BACKOFF_LIMIT = 6
_FINAL = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}
_NOT_HONOURED = ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy")
_REACHED = "Reached expected number of succeeded pods"


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings a Job closer to its goal."""
    spec = obj.get("spec") or {}
    if terminating(obj) or spec.get("managedBy") not in (None, _OWN_MANAGER):
        return []
    return _Reaction(obj, view, now).run()


class _Reaction:
    """One look at one Job."""

    def __init__(self, obj: Obj, view: View, now: float) -> None:
        self.obj, self.now = obj, now
        self.spec: Obj = obj.get("spec") or {}
        self.status: Obj = copied(obj.get("status") or {})
        self.pods = view.owned(kinds.POD, uid(obj))
        self.emit = emitter(kinds.JOB, obj, _SOURCE)
        self.actions: list[Action] = []
        self.alive = [p for p in self.pods if active(p)]
        self.indexed = self.spec.get("completionMode") == "Indexed"
        self.completions: int | None = self.spec.get("completions")
        given = self.spec.get("parallelism")
        self.parallelism = 1 if given is None else int(given)

    def run(self) -> list[Action]:
        if self._final():
            self._expire()
            return self.actions
        if not self.obj.get("status"):
            self._greet()
        self._start_or_suspend()
        self._tally()
        if not self._verdict():
            self._decide()
            if self._verdict() == "FailureTarget":  # what is ended with the job has failed
                self._raise("failed", int(self.status.get("failed") or 0) + len(self.alive))
        if self._verdict():
            self._delete(self.alive)
            self._finish()
        elif self.spec.get("suspend"):
            self._delete(self.alive)
        else:
            self._scale()
            self._watch_deadline()
        return self._answer()

    def _greet(self) -> None:
        rules = (self.spec.get("podFailurePolicy") or {}).get("rules") or ()
        found = [f"spec.{f}" for f in _NOT_HONOURED if self.spec.get(f) is not None]
        found += ["spec.podFailurePolicy action FailIndex"] if any(r["action"] == "FailIndex" for r in rules) else []
        self.actions += [
            self.emit.warning("Unsupported", f"{field} is not supported by this cluster and has no effect")
            for field in found
        ]

    def _answer(self) -> list[Action]:
        self._count_states()
        if self.status == (self.obj.get("status") or {}):
            return self.actions
        return [SetStatus(kinds.JOB, namespace(self.obj), name(self.obj), uid(self.obj), self.status), *self.actions]

    # --- conditions ---------------------------------------------------------------------------------------------

    def _set(self, type_: str, reason: str, message: str, *, status: bool = True) -> bool:
        text = "True" if status else "False"
        current = condition(self.status, type_)
        if current is not None and (current["status"], current.get("reason")) == (text, reason):
            return False
        stamp = format_time(self.now)
        new = {
            "type": type_,
            "status": text,
            "lastProbeTime": stamp,
            "lastTransitionTime": stamp,
            "reason": reason,
            "message": message,
        }
        kept = [c for c in self.status.get("conditions") or () if c["type"] != type_]
        self.status["conditions"] = [*kept, new]
        return True

    def _final(self) -> bool:
        return any(is_true(self.status, type_) for type_ in _FINAL.values())

    def _verdict(self) -> str:
        return next((t for t in _FINAL if is_true(self.status, t)), "")

    def _start_or_suspend(self) -> None:
        if self.spec.get("suspend"):
            if self._set("Suspended", "JobSuspended", "Job suspended"):
                self.actions.append(self.emit.normal("Suspended", "Job suspended"))
            self.status.pop("startTime", None)
            return
        if is_true(self.status, "Suspended"):
            self._set("Suspended", "JobResumed", "Job resumed", status=False)
            self.actions.append(self.emit.normal("Resumed", "Job resumed"))
        self.status.setdefault("startTime", format_time(self.now))

    def _finish(self) -> None:
        """Make the verdict final, once nothing runs any more."""
        verdict = self._verdict()
        if any(phase(p) not in ("Succeeded", "Failed") for p in self.pods):
            return
        why = condition(self.status, verdict) or {}
        self._set(_FINAL[verdict], why["reason"], why["message"])
        if verdict == "SuccessCriteriaMet":
            self.status["completionTime"] = format_time(self.now)
            self.actions.append(self.emit.normal("Completed", "Job completed"))
        else:
            self.actions.append(self.emit.warning(why["reason"], why["message"]))
        ttl = self.spec.get("ttlSecondsAfterFinished")
        if ttl is not None:
            self.actions.append(Requeue(self.now + ttl))

    def _expire(self) -> None:
        ttl = self.spec.get("ttlSecondsAfterFinished")
        if ttl is None:
            return
        found = [condition(self.status, type_) for type_ in _FINAL.values() if is_true(self.status, type_)]
        ended = parse_time((found[0] or {}).get("lastTransitionTime")) or self.now
        if self.now >= ended + ttl:
            self.actions.append(Delete(kinds.JOB, namespace(self.obj), name(self.obj), uid(self.obj)))
        else:
            self.actions.append(Requeue(ended + ttl))

    # --- counting -----------------------------------------------------------------------------------------------

    def _failed(self) -> list[Obj]:
        return [p for p in self.pods if phase(p) == "Failed"]

    def _tally(self) -> None:
        done = [p for p in self.pods if phase(p) == "Succeeded"]
        counted = [p for p in self._failed() if failures.action(self.spec, p) != "Ignore"]
        self._raise("failed", len(counted))
        if not self.indexed:
            self._raise("succeeded", len(done))
            return
        limit = self.completions or 0
        indexes = parse_indexes(self.status.get("completedIndexes", "")) | {_index(p) for p in done}
        indexes = {i for i in indexes if 0 <= i < limit}
        if indexes:
            self.status["completedIndexes"] = format_indexes(indexes)
            self.status["succeeded"] = len(indexes)

    def _raise(self, field: str, number: int) -> None:
        number = max(number, int(self.status.get(field) or 0))
        if number:
            self.status[field] = number

    def _count_states(self) -> None:
        doomed = {a.uid for a in self.actions if isinstance(a, Delete)}
        alive = [p for p in self.alive if uid(p) not in doomed]
        ending = [p for p in self.pods if terminating(p) and phase(p) not in ("Succeeded", "Failed")]
        numbers = {"active": len(alive), "ready": sum(map(ready, alive)), "terminating": len(ending)}
        for field, number in numbers.items():
            if number or field in ("ready", "terminating"):
                self.status[field] = number
            else:
                self.status.pop(field, None)
        self.status.setdefault("uncountedTerminatedPods", {})

    # --- the verdict --------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        succeeded, failed = int(self.status.get("succeeded") or 0), int(self.status.get("failed") or 0)
        policy = failures.failing_pod(self.spec, self._failed())
        limit = self.spec.get("backoffLimit")
        limit = _BACKOFF_LIMIT if limit is None else int(limit)
        deadline = self._deadline()
        if self._complete(succeeded):
            self._set("SuccessCriteriaMet", "CompletionsReached", _REACHED)
        elif policy is not None:
            self._set("FailureTarget", "PodFailurePolicy", policy)
        elif failed > limit or self._restarted_too_often(limit):
            self._set("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif deadline is not None and self.now >= deadline and not self.spec.get("suspend"):
            self._set("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")

    def _complete(self, succeeded: int) -> bool:
        if self.completions is None:
            return succeeded > 0 and not self.alive
        return succeeded >= self.completions

    def _restarted_too_often(self, limit: int) -> bool:
        template = (self.spec.get("template") or {}).get("spec") or {}
        if template.get("restartPolicy") != "OnFailure":
            return False
        total = sum(restarts(p) for p in self.alive)
        return total > 0 and total >= limit

    def _deadline(self) -> float | None:
        seconds, start = self.spec.get("activeDeadlineSeconds"), parse_time(self.status.get("startTime"))
        return None if seconds is None or start is None else start + seconds

    def _watch_deadline(self) -> None:
        deadline = self._deadline()
        if deadline is not None:
            self.actions.append(Requeue(deadline))

    # --- pods ---------------------------------------------------------------------------------------------------

    def _scale(self) -> None:
        wanted = self._wanted()
        surplus = len(self.alive) - wanted
        if surplus > 0:
            ranked = sorted(self.alive, key=lambda p: (phase(p) == "Running", ready(p), name(p)))
            self._delete(ranked[:surplus])
            return
        ending = sum(1 for p in self.pods if terminating(p) and phase(p) not in ("Succeeded", "Failed"))
        missing = -surplus - (ending if self.spec.get("podReplacementPolicy") == "Failed" else 0)
        if missing <= 0:
            return
        when = self._next_start()
        if when > self.now:
            self.actions.append(Requeue(when))
        elif self.indexed:
            self._create_indexed(min(missing, BURST))
        else:
            self._create_plain(min(missing, BURST))

    def _wanted(self) -> int:
        succeeded = int(self.status.get("succeeded") or 0)
        if self.completions is None:
            return len(self.alive) if succeeded else self.parallelism
        return min(self.parallelism, max(0, self.completions - succeeded))

    def _next_start(self) -> float:
        """When the next pod may start: failures in a row make it wait longer and longer."""
        done = [(finished_at(p), phase(p)) for p in self.pods if phase(p) in ("Succeeded", "Failed")]
        ends = sorted((at, what) for at, what in done if at is not None)
        in_a_row = 0
        for _, what in reversed(ends):
            if what == "Succeeded":
                break
            in_a_row += 1
        if not in_a_row:
            return 0.0
        return ends[-1][0] + min(_FIRST_DELAY * 2.0 ** min(in_a_row - 1, 16), _LONGEST_DELAY)

    def _create_plain(self, count: int) -> None:
        start = int(self.status.get("succeeded") or 0) + int(self.status.get("failed") or 0)
        for pod in generated_names(name(self.obj), uid(self.obj), map(name, self.pods), start, count):
            self._create(self._new_pod(pod))

    def _create_indexed(self, count: int) -> None:
        done = parse_indexes(self.status.get("completedIndexes", ""))
        busy = done | {_index(p) for p in self.alive}
        free = list(islice((i for i in range(self.completions or 0) if i not in busy), count))
        taken = [name(p) for p in self.pods]
        for index in free:
            tries = sum(1 for p in self.pods if _index(p) == index)
            base = f"{name(self.obj)}-{index}"
            (pod_name,) = generated_names(base, uid(self.obj), taken, tries, 1)
            self._create(self._new_pod(pod_name, index))

    def _new_pod(self, pod_name: str, index: int | None = None) -> Obj:
        template = self.spec.get("template") or {}
        spec: Obj = copied(template.get("spec") or {})
        own = {
            "batch.kubernetes.io/controller-uid": uid(self.obj),
            "batch.kubernetes.io/job-name": name(self.obj),
            "controller-uid": uid(self.obj),
            "job-name": name(self.obj),
        }
        metadata: Obj = {
            "name": pod_name,
            "namespace": namespace(self.obj),
            "labels": {**labels(template), **own},
            "annotations": dict(notes(template)),
            "ownerReferences": [owner_reference(kinds.JOB, self.obj)],
        }
        if index is not None:
            metadata["labels"][INDEX] = metadata["annotations"][INDEX] = str(index)
            spec.setdefault("hostname", f"{name(self.obj)}-{index}")
            _tell_index(spec)
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _create(self, pod: Obj) -> None:
        self.actions.append(Create(kinds.POD, pod))
        self.actions.append(self.emit.normal("SuccessfulCreate", f"Created pod: {name(pod)}"))

    def _delete(self, pods: Iterable[Obj]) -> None:
        for pod in pods:
            self.actions.append(Delete(kinds.POD, namespace(pod), name(pod), uid(pod)))
            self.actions.append(self.emit.normal("SuccessfulDelete", f"Deleted pod: {name(pod)}"))


def _index(pod: Obj) -> int:
    text = notes(pod).get(INDEX, "")
    return int(text) if text.isdecimal() else -1


def _tell_index(spec: Obj) -> None:
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    variable: dict[str, Any] = {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}
    groups: Sequence[str] = ("initContainers", "containers")
    for container in (c for group in groups for c in spec.get(group) or ()):
        if not any(e.get("name") == variable["name"] for e in container.get("env") or ()):
            container["env"] = [*(container.get("env") or ()), variable]


CONTROLLER = Controller(name=_SOURCE, kind=kinds.JOB, react=react, owns=(kinds.POD,))
