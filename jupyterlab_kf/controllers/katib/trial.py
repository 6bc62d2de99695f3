"""The Trial: one job of the study, from its creation to its observation.

Conditions, reasons, messages and events are Katib's. The job may be of any kind the cluster serves; its end is found by
the template's expressions. Metrics come from the Trial's record (:mod:`.observations`), which whoever collects them
writes; a trial ends when its job has ended and the record is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Key, Requeue, SetStatus, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.katib import expressions, observations, stopping
from jupyterlab_kf.controllers.katib import status as conditions
from jupyterlab_kf.controllers.katib.template import checkpoint_of, marked
from jupyterlab_kf.controllers.support import (
    emitter,
    exit_code,
    is_true,
    name,
    namespace,
    notes,
    owner_reference,
    terminating,
    uid,
)
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, controller_of, format_time, labels, meta, parse_time
from jupyterlab_kf.suggestions.population import PARENT

_SOURCE: Final = "trial-controller"
_PATIENCE: Final = 10.0
"""Seconds that a failed job's last lines are waited for."""


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings a Trial closer to its observation."""
    return [] if terminating(obj) else _Reaction(obj, view, now).run()


class _Reaction:
    """One look at one Trial."""

    def __init__(self, obj: Obj, view: View, now: float) -> None:
        self.obj, self.view, self.now = obj, view, now
        self.spec: Mapping[str, Any] = obj.get("spec") or {}
        self.status: Obj = copied(obj.get("status") or {})
        self.emit = emitter(kinds.TRIAL, obj, _SOURCE)
        self.run_spec: Obj = self.spec.get("runSpec") or {}
        self.actions: list[Action] = []

    def run(self) -> list[Action]:
        if not is_true(self.status, "Created"):
            self.status.setdefault("startTime", format_time(self.now))
            self._mark("Created", "TrialCreated", "Trial is created")
        kind = self.view.served(str(self.run_spec.get("apiVersion")), str(self.run_spec.get("kind")))
        if kind is None:
            what = f"{self.run_spec.get('kind')} of {self.run_spec.get('apiVersion')}"
            self._finish("Failed", "TrialFailed", f"Trial has failed. This cluster serves no {what}")
            return self._answer()
        job = self.view.get(kind, namespace(self.obj), name(self.obj))
        if conditions.end_of(self.obj):
            self._observe()
            if job is not None and _is_ours(job, self.obj) and not terminating(job) and self._has_no_use(job):
                self._delete(kind, job)
        elif job is not None and not _is_ours(job, self.obj):
            what = f"{kind.kind} {name(job)} exists and is not this trial's"
            self._finish("Failed", "TrialFailed", f"Trial has failed. {what}")
        elif job is None:
            self._create(kind)
        else:
            self._follow(kind, job)
        return self._answer()

    def _answer(self) -> list[Action]:
        if self.status == (self.obj.get("status") or {}):
            return self.actions
        return [
            *self.actions,
            SetStatus(kinds.TRIAL, namespace(self.obj), name(self.obj), uid(self.obj), self.status),
        ]

    def _mark(self, type_: str, reason: str, message: str) -> bool:
        return conditions.mark(self.status, type_, reason, message, self.now)

    def _finish(self, type_: str, reason: str, message: str) -> bool:
        return conditions.finish(self.status, type_, reason, message, self.now)

    # --- the job

    def _create(self, kind: Kind) -> None:
        parent = labels(self.obj).get(PARENT, "")
        job = marked(
            self.run_spec,
            labels(self.obj),
            name(self.obj),
            container=str(self.spec.get("primaryContainerName")),
            collector=self.spec.get("metricsCollector") or {},
            checkpoint=checkpoint_of(self._experiment() or {}, name(self.obj), parent),
        )
        head = {**meta(job), "name": name(self.obj), "namespace": namespace(self.obj)}
        head["ownerReferences"] = [owner_reference(kinds.TRIAL, self.obj)]
        self.actions.append(Create(kind, {**job, "metadata": head}))
        self.actions.append(self.emit.normal("JobCreated", f"Job {name(self.obj)} has been created"))

    def _delete(self, kind: Kind, job: Obj) -> None:
        self.actions.append(Delete(kind, namespace(job), name(job), uid(job)))
        self.actions.append(self.emit.normal("JobDeleted", f"Job {name(job)} has been deleted"))

    def _follow(self, kind: Kind, job: Obj) -> None:
        failed = expressions.found(str(self.spec.get("failureCondition")), job)
        succeeded = None if failed is not None else expressions.found(str(self.spec.get("successCondition")), job)
        self._observe()
        if failed is not None:
            self._failed(job, failed)
        elif succeeded is not None:
            self._succeeded(job, succeeded)
        elif self._mark("Running", "TrialRunning", "Trial is running"):
            self.actions.append(self.emit.normal("JobRunning", f"Job {name(job)} is running"))
        elif experiment := self._experiment():
            self._end_before_its_time(kind, job, experiment)

    def _end_before_its_time(self, kind: Kind, job: Obj, experiment: Obj) -> None:
        if notes(experiment).get(conditions.STOP):
            self._finish("Killed", "TrialKilled", "Trial is killed: the experiment was stopped")
            self._delete(kind, job)
            return
        spec = experiment.get("spec") or {}
        if not spec.get("earlyStopping"):
            return
        why = stopping.verdict(spec, self.obj, self.view.owned(kinds.TRIAL, uid(experiment)))
        if why:
            self._finish("EarlyStopped", "TrialEarlyStopped", f"Trial is early stopped: {why}")
            self._delete(kind, job)

    def _has_no_use(self, job: Obj) -> bool:
        """Whether an ended trial's job goes: one that was ended before its time may not run on, retained or not."""
        if not self.spec.get("retainRun"):
            return True
        ends = (self.spec.get("failureCondition"), self.spec.get("successCondition"))
        over = any(expressions.found(str(end), job) is not None for end in ends)
        return not over and conditions.end_of(self.obj) in ("Killed", "EarlyStopped")

    def _observe(self) -> None:
        found = observations.observation(self.obj)
        if found is not None:
            self.status["observation"] = found

    def _experiment(self) -> Obj | None:
        owner = controller_of(self.obj)
        return self.view.get(kinds.EXPERIMENT, namespace(self.obj), str(owner["name"])) if owner else None

    # --- its end

    def _succeeded(self, job: Obj, found: Mapping[str, Any]) -> None:
        if not observations.record_of(self.obj).get("done"):
            return  # whoever collects wakes us
        if conditions.objective_value({**self.obj, "status": self.status}) is None:
            self.status["observation"] = observations.observation(self.obj) or self._unavailable()
            why = observations.missing(self.obj)
            message = _with_job(f"Metrics are not available: {why}", found)
            self._finish("MetricsUnavailable", _reason("MetricsUnavailable", found), message)
            self.actions.append(
                self.emit.warning("MetricsUnavailable", f"Metrics are not available for Job {name(job)}: {why}")
            )
            return
        self._finish("Succeeded", _reason("TrialSucceeded", found), _with_job("Trial has succeeded", found))
        self.actions.append(self.emit.normal("JobSucceeded", f"Job {name(job)} has succeeded"))

    def _unavailable(self) -> Obj:
        names = observations.names_of(self.spec.get("objective") or {})
        value = conditions.UNAVAILABLE
        return {"metrics": [{"name": one, "min": value, "max": value, "latest": value} for one in names]}

    def _failed(self, job: Obj, found: Mapping[str, Any]) -> None:
        record = observations.record_of(self.obj)
        since = parse_time(found.get("lastTransitionTime")) or self.now
        if not record.get("done") and self.now < since + _PATIENCE:
            self.actions.append(Requeue(since + _PATIENCE))
            return
        message = _with_job("Trial has failed", found)
        pods = self.view.owned(kinds.POD, uid(job))
        container = str(self.spec.get("primaryContainerName"))
        codes = [code for pod in pods if (code := exit_code(pod, container)) not in (None, 0)]
        if codes:
            message += f". Container {container} ended with exit code {codes[-1]}"
        tail = [str(line) for line in record.get("tail") or () if str(line).strip()]
        if tail:
            message += f": {tail[-1]}"
        self._finish("Failed", _reason("TrialFailed", found), message)
        details = " ".join(str(found[key]) for key in ("message", "reason") if found.get(key))
        self.actions.append(self.emit.normal("JobFailed", f"Job {name(job)} has failed. {details}".rstrip(". ")))


def _is_ours(job: Obj, trial: Obj) -> bool:
    return any(owner.get("uid") == uid(trial) for owner in meta(job).get("ownerReferences") or ())


def _with_job(message: str, found: Mapping[str, Any]) -> str:
    return f"{message}. Job message: {found['message']}" if found.get("message") else message


def _reason(reason: str, found: Mapping[str, Any]) -> str:
    return f"{reason}. Job reason: {found['reason']}" if found.get("reason") else reason


def _of_stopped(experiment: Obj, view: View) -> list[Key]:
    """A study that was stopped wakes its trials; other changes of it are no business of theirs."""
    if not notes(experiment).get(conditions.STOP):
        return []
    return [(namespace(trial), name(trial)) for trial in view.owned(kinds.TRIAL, uid(experiment))]


CONTROLLER: Final = Controller(
    name=_SOURCE, kind=kinds.TRIAL, react=react, watches={kinds.EXPERIMENT: _of_stopped}, owns_any=True
)
