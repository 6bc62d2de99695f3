"""The life of a training job, the same for every framework: create replicas, watch them, restart or end them, clean up.

One :class:`_Reaction` looks at one job once. It decides in a fixed order (finished? invalid? suspended? failed? over a
limit? succeeded? otherwise: bring pods and services in line) and collects actions; the status comes first, so that
after a crash the verdict is known before anything that it was based on is deleted. Where this differs from the
operator on purpose, docs/differences.md says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Patch, Requeue, SetStatus, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.support import (
    FINISHED,
    emitter,
    exit_code,
    finished_at,
    is_owned,
    name,
    notes,
    owner_reference,
    phase,
    restarts,
    running_since,
    terminating,
    uid,
)
from jupyterlab_kf.controllers.training.framework import (
    GANG_MINIMUM,
    GANG_SIZE,
    ROLE_LABEL,
    TYPE_LABEL,
    Count,
    Framework,
    Role,
    count,
    index_of,
)
from jupyterlab_kf.controllers.training.problems import MANAGERS, aggregate
from jupyterlab_kf.controllers.training.status import JobStatus
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, labels

ANNOTATION_RESTARTS = f"{names.DOMAIN}/restarts"
"""JSON on the job: how often replicas were restarted by pods that are gone, and the uids already counted."""

_RETRYABLE = 128
_LONGEST_DELAY = 300.0
_NAME_TAKEN_DELAY = 5.0
_MOMENT = 5.0
"""Seconds that replicas have to end after their leader has succeeded."""


def controller(framework: Framework, *more: Kind) -> Controller:
    """The controller of a kind; ``more`` are kinds it owns beside pods and services."""
    return Controller(
        name=framework.source,
        kind=framework.kind,
        react=partial(react, framework),
        owns=(kinds.POD, kinds.SERVICE, *more),
    )


def react(framework: Framework, obj: Obj, view: View, now: float) -> list[Action]:
    """What brings a job closer to its goal."""
    manager = ((obj.get("spec") or {}).get("runPolicy") or {}).get("managedBy")
    if terminating(obj) or manager not in (None, MANAGERS[0]):
        return []
    return _Reaction(framework, obj, view, now).run()


def retryable(code: int | None) -> bool:
    """Whether restartPolicy ExitCode restarts after that exit code. An unknown code is not the program's fault."""
    return code is None or code >= _RETRYABLE


def restart_delay(done: int) -> float:
    """Seconds between a failure and the next start, after so many restarts: none at first, then doubling."""
    return 0.0 if done <= 0 else min(2.0 ** (min(done, 16) - 1), _LONGEST_DELAY)


class _Reaction:
    """One look at one job."""

    def __init__(self, framework: Framework, obj: Obj, view: View, now: float) -> None:
        self.fw, self.obj, self.view, self.now = framework, obj, view, now
        self.job = framework.read(obj)
        self.status = JobStatus(obj.get("status"), now)
        self.emit = emitter(framework.kind, obj, framework.source)
        self.pods = view.owned(kinds.POD, self.job.uid)
        self.pods_by_role: dict[str, list[Obj]] = {}
        for pod in self.pods:
            self.pods_by_role.setdefault(labels(pod).get(TYPE_LABEL, ""), []).append(pod)
        self.actions: list[Action] = []

    def _of(self, role: Role) -> list[Obj]:
        return self.pods_by_role.get(role.lower, [])

    def run(self) -> list[Action]:
        self._greet()
        problems = [] if self.status.finished else self.fw.validate(self.obj)
        if problems:
            text = f"{self.fw.kind.kind} failed validation because {aggregate(problems)}"
            self._fail("FailedValidation", text, warning=True)
        elif self.status.finished:
            pass
        elif self.job.policy.get("suspend"):
            self._suspend()
        else:
            self._live()
        if self.status.finished:
            self._clean_up()
        return self._answer()

    def _answer(self) -> list[Action]:
        if self.status.value == (self.obj.get("status") or {}):
            return self.actions
        kind, job = self.fw.kind, self.job
        return [SetStatus(kind, job.namespace, job.name, job.uid, self.status.value), *self.actions]

    def _reason(self, word: str) -> str:
        return f"{self.fw.kind.kind}{word}"

    def _greet(self) -> None:
        if self.status.value.get("conditions"):
            return
        self.status.set("Created", self._reason("Created"), f"{self.fw.kind.kind} {self.job.name} is created.")
        self.actions += [
            self.emit.warning("Unsupported", f"{field} is not supported by this cluster and has no effect")
            for field in self.fw.unsupported(self.job)
        ]

    # --- the end ------------------------------------------------------------------------------------------------

    def _succeed(self) -> None:
        text = self.fw.succeeded_message(self.job)
        self.status.complete()
        self.status.set("Succeeded", self._reason("Succeeded"), text)
        self.actions.append(self.emit.normal(self._reason("Succeeded"), text))

    def _fail(self, word: str, text: str, *, warning: bool = False) -> None:
        self.status.complete()
        self.status.set("Failed", self._reason(word), text)
        say = self.emit.warning if warning else self.emit.normal
        self.actions.append(say(self._reason(word), text))

    def _clean_up(self) -> None:
        """Apply cleanPodPolicy, tell the truth about what still runs, and delete the job when its time has come."""
        policy = self.job.policy["cleanPodPolicy"]
        if policy == "None" and self.status.has("Failed"):
            policy = "Running"  # peers of a failed replica would wait for it for ever
        kept = [p for p in self.pods if policy == "None" or (policy == "Running" and phase(p) in FINISHED)]
        spared = {uid(p) for p in kept}
        self._delete_pods(p for p in self.pods if uid(p) not in spared)
        for type_, counts in list(self.status.counts.items()):
            lower = type_.lower()
            role = next((r for r in self.job.roles.values() if r.lower == lower), None)
            still = count([p for p in self._of(role) if uid(p) in spared]).active if role else 0
            ended = max(0, counts.get("active", 0) - still) if self.status.has("Succeeded") else 0
            ended = ended if self.fw.ending_is_success else 0
            self.status.count(
                type_,
                active=still,
                succeeded=counts.get("succeeded", 0) + ended,
                failed=counts.get("failed", 0),
                selector=counts.get("selector", ""),
            )
        self._expire()

    def _expire(self) -> None:
        ttl, ended = self.job.policy.get("ttlSecondsAfterFinished"), self.status.time("completionTime")
        if ttl is None or ended is None:
            return
        if self.now < ended + ttl:
            self.actions.append(Requeue(ended + ttl))
            return
        job = self.job
        self.actions.append(Delete(self.fw.kind, job.namespace, job.name, job.uid))
        self.actions.append(self.emit.normal("SuccessfulDeleteJob", f"Deleted job: {job.name}"))

    def _delete_pods(self, pods: Iterable[Obj]) -> None:
        services = {name(s): s for s in self.view.owned(kinds.SERVICE, self.job.uid)}
        for pod in pods:
            if not terminating(pod):
                self._delete_pod(pod)
            if name(pod) in services:
                self._delete_service(services[name(pod)])

    def _delete_pod(self, pod: Obj) -> None:
        self.actions.append(Delete(kinds.POD, self.job.namespace, name(pod), uid(pod)))
        self.actions.append(self.emit.normal("SuccessfulDeletePod", f"Deleted pod: {name(pod)}"))

    def _delete_service(self, service: Obj) -> None:
        if terminating(service):
            return
        self.actions.append(Delete(kinds.SERVICE, self.job.namespace, name(service), uid(service)))
        self.actions.append(self.emit.normal("SuccessfulDeleteService", f"Deleted service: {name(service)}"))

    # --- the pause ----------------------------------------------------------------------------------------------

    def _suspend(self) -> None:
        for pod in self.pods:
            if not terminating(pod):
                self._delete_pod(pod)
        for service in self.view.owned(kinds.SERVICE, self.job.uid):
            self._delete_service(service)
        for counts in self.status.counts.values():
            counts.pop("active", None)
        text = f"{self.fw.kind.kind} {self.job.name} is suspended."
        if self.status.has("Running"):
            self.status.set("Running", self._reason("Suspended"), text, status=False)
        if self.status.set("Suspended", self._reason("Suspended"), text):
            self.actions.append(self.emit.normal(self._reason("Suspended"), text))

    def _resume(self) -> None:
        text = f"{self.fw.kind.kind} {self.job.name} is resumed."
        self.status.set("Suspended", self._reason("Resumed"), text, status=False)
        self.status.start(again=True)
        self.actions.append(self.emit.normal(self._reason("Resumed"), text))

    # --- the work -----------------------------------------------------------------------------------------------

    def _live(self) -> None:
        if self.status.has("Suspended"):
            self._resume()
        self.status.start()
        counts = {role.type: count(self._of(role)) for role in self.job.roles.values()}
        self._count(counts)
        failing = self._failing()
        if self._fail_for_good(counts) or self._over_the_backoff_limit([pod for _, pod in failing]):
            return
        if self.fw.succeeded(self.job, counts, self.pods):
            self._conclude(counts)
        elif not self._over_the_deadline():
            self._restart(failing)
            self.actions += self.fw.beside(self.job, self.view, self.pods)
            self._replicas()
            leader = self.fw.leader(self.job)
            if not failing and leader in counts and counts[leader].active:
                self.status.set("Running", self._reason("Running"), self.fw.running_message(self.job))
            self._watch_deadline()

    def _conclude(self, counts: dict[str, Count]) -> None:
        """The leader has succeeded: hear the others out before that is the job's success.

        Whoever is about to end gets a moment, so that a failure is not overlooked and no log is cut off; so does
        whoever is about to begin, since a leader with little to do may be done before its peers are up. Whoever was
        started again since then waits for a leader that is gone, and is not waited for.
        """
        led = self.job.roles.get(self.fw.leader(self.job))
        succeeded = [p for p in self._of(led) if phase(p) == "Succeeded"] if led else []
        ended = max((finished_at(p) or 0.0 for p in succeeded), default=0.0)
        waits = False
        for role in self.job.roles.values():
            decides, states = self.fw.decides(self.job, role), [self._after(role, p, ended) for p in self._of(role)]
            lost = states.count("lost")
            if decides and lost:
                self._fail("Failed", self.fw.failed_message(self.job, role, max(lost, counts[role.type].failed)))
                return
            if role.restart == "Always" or not self.fw.ends(self.job, role) or not {"runs", "starts"} & {*states}:
                continue
            waits = waits or (decides and "runs" in states) or self.now < ended + _MOMENT
        if not waits:
            self._succeed()
        elif self.now < ended + _MOMENT:
            self.actions.append(Requeue(ended + _MOMENT))
        elif not self._over_the_deadline():
            self._watch_deadline()

    def _after(self, role: Role, pod: Obj, ended: float) -> str:
        """What a pod is when its leader has succeeded: it ``runs``, it ``starts``, it is ``lost``, or none of these."""
        if terminating(pod):
            return ""
        if phase(pod) == "Pending":
            return "starts" if (pod.get("spec") or {}).get("nodeName") else ""
        if phase(pod) != "Running":
            return "lost" if phase(pod) == "Failed" else ""
        since = running_since(pod, self._container(role))
        return "" if since is None else "lost" if restarts(pod) and since >= ended else "runs"

    def _count(self, counts: dict[str, Count]) -> None:
        for role in self.job.roles.values():
            stored, new = self.status.counts.get(role.type, {}), counts[role.type]
            pairs = sorted(self.fw.selector(self.job, role).items()) if self.fw.selectors else ()
            self.status.count(
                role.type,
                active=new.active,
                succeeded=new.succeeded,
                failed=new.failed,
                selector=",".join(f"{key}={value}" for key, value in pairs),
            )
            if new.succeeded + new.failed > stored.get("succeeded", 0) + stored.get("failed", 0):
                self._tell_exit_codes(role)
        for type_ in set(self.fw.always_counted) - set(self.job.roles):
            self.status.count(type_, active=0, succeeded=0, failed=0)
        self.status.forget(set(self.status.counts) - {*self.job.roles, *self.fw.always_counted})

    def _tell_exit_codes(self, role: Role) -> None:
        for pod in self._of(role):
            code = exit_code(pod, self._container(role)) if phase(pod) in FINISHED else None
            if code is not None:
                text = f"Pod: {self.job.namespace}.{name(pod)} exited with code {code}"
                self.actions.append(self.emit.normal("ExitedWithCode", text))

    def _container(self, role: Role) -> str:
        del role
        return str(self.job.spec.get("mainContainer") or self.fw.container)

    def _permanent(self, role: Role, pod: Obj) -> bool:
        if role.restart == "ExitCode":
            return not retryable(exit_code(pod, self._container(role)))
        return role.restart == "Never"

    def _failed(self, role: Role) -> list[Obj]:
        return [p for p in self._of(role) if phase(p) == "Failed" and not terminating(p)]

    def _failing(self) -> list[tuple[Role, Obj]]:
        """Pods that failed and are to be replaced."""
        roles = self.job.roles.values()
        return [(r, p) for r in roles for p in self._failed(r) if not self._permanent(r, p)]

    def _fail_for_good(self, counts: dict[str, Count]) -> bool:
        for role in self.job.roles.values():
            if self.fw.tolerates(self.job, role) or not any(self._permanent(role, p) for p in self._failed(role)):
                continue
            if role.restart == "ExitCode":
                text = f'job "{self.job.name}" is failing because "{role.type}" replica(s) failed.'
                self._fail("Failed", text, warning=True)
            else:
                self._fail("Failed", self.fw.failed_message(self.job, role, counts[role.type].failed))
            return True
        return False

    # --- limits and restarts ------------------------------------------------------------------------------------

    def _history(self) -> tuple[int, list[str]]:
        """Restarts by pods that are gone or going, and the uids of those of them that are still there."""
        text = notes(self.obj).get(ANNOTATION_RESTARTS)
        value: dict[str, Any] = json.loads(text) if text else {}
        return int(value.get("count", 0)), [str(u) for u in value.get("pods", ())]

    def _over_the_backoff_limit(self, failing: Sequence[Obj]) -> bool:
        limit = self.job.policy.get("backoffLimit")
        if limit is None:
            return False
        past, counted = self._history()
        in_place = sum(restarts(p) for p in self.pods if uid(p) not in counted)
        new = any(uid(p) not in counted for p in failing)
        if (in_place and past + in_place >= max(limit, 1)) or (new and past + in_place >= limit):
            text = f"Job {self.job.name} has failed because it has reached the specified backoff limit"
            self._fail("Failed", text)
            return True
        return False

    def _over_the_deadline(self) -> bool:
        deadline = self._deadline()
        if deadline is not None and self.now >= deadline:
            text = f"Job {self.job.name} has failed because it was active longer than specified deadline"
            self._fail("Failed", text)
            return True
        return False

    def _deadline(self) -> float | None:
        seconds, start = self.job.policy.get("activeDeadlineSeconds"), self.status.time("startTime")
        return None if seconds is None or start is None else start + seconds

    def _watch_deadline(self) -> None:
        deadline = self._deadline()
        if deadline is not None:
            self.actions.append(Requeue(deadline))

    def _restart(self, failing: Sequence[tuple[Role, Obj]]) -> None:
        past, counted = self._history()
        due: list[Obj] = []
        for role, pod in failing:
            text = f"job {self.job.name} is restarting because {role.type} replica(s) failed."
            if self.status.set("Restarting", self._reason("Restarting"), text):
                self.actions.append(self.emit.warning(self._reason("Restarting"), text))
            when = (finished_at(pod) or 0.0) + restart_delay(past)
            if uid(pod) in counted or when <= self.now:
                due.append(pod)
            else:
                self.actions.append(Requeue(when))
        new = [p for p in due if uid(p) not in counted]
        if new:
            there = {uid(p) for p in self.pods}
            value = {
                "count": past + sum(1 + restarts(p) for p in new),
                "pods": [u for u in counted if u in there] + [uid(p) for p in new],
            }
            patch = {"metadata": {"annotations": {ANNOTATION_RESTARTS: json.dumps(value)}}}
            job = self.job
            self.actions.append(Patch(self.fw.kind, job.namespace, job.name, job.uid, patch))
        for pod in due:
            self._delete_pod(pod)

    # --- replicas -----------------------------------------------------------------------------------------------

    def _replicas(self) -> None:
        services = self.view.owned(kinds.SERVICE, self.job.uid) if self.fw.services else []
        wanted: set[str] = set()
        for role in self.job.roles.values():
            wanted |= {self.fw.pod_name(self.job, role, index) for index in range(role.count)}
            have = {index_of(pod) for pod in self._of(role)}
            if self.fw.may_start(self.job, role, self.pods):
                for index in range(role.count):
                    if index not in have:
                        self._create_pod(role, index)
            if self.fw.services:
                self._create_services(role, {name(s) for s in services})
        for pod in self.pods:
            if name(pod) not in wanted and not terminating(pod):
                self._delete_pod(pod)
        for service in services:
            if name(service) not in wanted:
                self._delete_service(service)

    def _create_pod(self, role: Role, index: int) -> None:
        pod_name = self.fw.pod_name(self.job, role, index)
        if self._is_taken(kinds.POD, pod_name):
            return
        pod = self._new_pod(role, index, pod_name)
        self.fw.dress(self.job, role, index, pod)
        if (role.template.get("spec") or {}).get("restartPolicy"):
            text = "Restart policy in pod template will be overwritten by restart policy in replica spec"
            self.actions.append(self.emit.warning("SetPodTemplateRestartPolicy", text))
        self.actions.append(Create(kinds.POD, pod))
        self.actions.append(self.fw.created(self.emit, role, pod_name))

    def _new_pod(self, role: Role, index: int, pod_name: str) -> Obj:
        job, template = self.job, role.template
        size, minimum = self.fw.gang(job, role)
        master = {ROLE_LABEL: "master"} if self.fw.is_master(job, role, index) else {}
        spec = copied(template.get("spec") or {})
        spec["restartPolicy"] = "Never" if role.restart == "ExitCode" else role.restart
        gang = {GANG_SIZE: str(size), GANG_MINIMUM: str(minimum)}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod_name,
                "namespace": job.namespace,
                "labels": {**labels(template), **self.fw.labels(job, role, index), **master},
                "annotations": {**notes(template), **gang},
                "ownerReferences": [owner_reference(self.fw.kind, self.obj)],
            },
            "spec": spec,
        }

    def _create_services(self, role: Role, have: set[str]) -> None:
        containers = (role.template.get("spec") or {}).get("containers") or []
        ports = next((c.get("ports") or [] for c in containers if c.get("name") == self.fw.container), [])
        for index in range(role.count):
            service = self.fw.pod_name(self.job, role, index)
            if service in have or self._is_taken(kinds.SERVICE, service):
                continue
            selector = self.fw.labels(self.job, role, index)
            obj: Obj = {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    "name": service,
                    "namespace": self.job.namespace,
                    "labels": selector,
                    "ownerReferences": [owner_reference(self.fw.kind, self.obj)],
                },
                "spec": {
                    "clusterIP": "None",
                    "selector": dict(selector),
                    "ports": [{"name": p.get("name", ""), "port": p["containerPort"]} for p in ports],
                },
            }
            self.actions.append(Create(kinds.SERVICE, obj))
            self.actions.append(self.emit.normal("SuccessfulCreateService", f"Created service: {service}"))

    def _is_taken(self, kind: Kind, wanted: str) -> bool:
        """Whether another's object has the name. One that is on its way out wakes us when it is gone."""
        other = self.view.get(kind, self.job.namespace, wanted)
        if other is None:
            return False
        if not is_owned(other, self.job.uid) and not terminating(other):
            text = f'Error creating: {kind.resource} "{wanted}" already exists'
            self.actions.append(self.emit.warning(f"FailedCreate{kind.kind}", text))
        self.actions.append(Requeue(self.now + _NAME_TAKEN_DELAY))
        return True
