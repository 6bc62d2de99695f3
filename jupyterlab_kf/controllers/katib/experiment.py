"""The Experiment: asks for assignments, makes trials of them, sums up, and knows when the study is over.

Conditions, reasons, messages, counts and the optimal trial are Katib's. Where Katib has a known fault (more trials than
the budget when metrics are missing, an exhausted space that hangs, a best value that is not a number), what is
documented is done; docs/differences.md has the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Patch, SetStatus, View
from jupyterlab_kf.controllers.katib import status as conditions
from jupyterlab_kf.controllers.katib import suggestion as suggestions
from jupyterlab_kf.controllers.katib import template
from jupyterlab_kf.controllers.katib.defaults import PARALLEL
from jupyterlab_kf.controllers.support import (
    condition,
    emitter,
    is_true,
    name,
    namespace,
    notes,
    owner_reference,
    terminating,
    uid,
)
from jupyterlab_kf.model import Obj, format_time, labels, meta

NUMBER: Final = "jupyterlab-kf.io/number"
"""Annotation of a Trial: its place among the suggestions, from 0."""
MAX_REACHED: Final = "ExperimentMaxTrialsReached"
STOPPED: Final = "ExperimentStopped"
CHECKPOINTS: Final = "5Gi"
_SOURCE: Final = "experiment-controller"
_LISTS: Final[Mapping[str, tuple[str, str]]] = {
    "Killed": ("killedTrialList", "trialsKilled"),
    "Failed": ("failedTrialList", "trialsFailed"),
    "Succeeded": ("succeededTrialList", "trialsSucceeded"),
    "EarlyStopped": ("earlyStoppedTrialList", "trialsEarlyStopped"),
    "Running": ("runningTrialList", "trialsRunning"),
    "MetricsUnavailable": ("metricsUnavailableTrialList", "trialMetricsUnavailable"),
    "Pending": ("pendingTrialList", "trialsPending"),
}
"""State of a trial to the fields of ``status`` that list and count it."""
_FAILED: Final = ("Failed", "MetricsUnavailable")
_ENDED: Final = ("Succeeded", "Failed", "Killed", "EarlyStopped", "MetricsUnavailable")


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings an Experiment closer to its end."""
    return [] if terminating(obj) else _Reaction(obj, view, now).run()


def restartable(experiment: Mapping[str, Any]) -> bool:
    """Whether a completed Experiment may go on: with a greater budget, or when it is not to be stopped any more."""
    done = condition(experiment.get("status") or {}, "Succeeded") or {}
    policy = (experiment.get("spec") or {}).get("resumePolicy")
    return (
        done.get("status") == "True"
        and done.get("reason") in (MAX_REACHED, STOPPED)
        and policy in ("LongRunning", "FromVolume")
    )


class _Reaction:
    """One look at one Experiment."""

    def __init__(self, obj: Obj, view: View, now: float) -> None:
        self.obj, self.view, self.now = obj, view, now
        self.spec: Obj = obj.get("spec") or {}
        self.status: Obj = dict(obj.get("status") or {})  # what is below is replaced, never changed
        self.emit = emitter(kinds.EXPERIMENT, obj, _SOURCE)
        self.trials = sorted(view.owned(kinds.TRIAL, uid(obj)), key=_order)
        self.suggestion = view.get(kinds.SUGGESTION, namespace(obj), name(obj))
        self.actions: list[Action] = []
        self.counts: dict[str, list[str]] = {}

    def run(self) -> list[Action]:
        if not is_true(self.status, "Created"):
            self.status.setdefault("startTime", format_time(self.now))
            self._mark("Created", "ExperimentCreated", "Experiment is created")
        goal = self._sum_up()
        if conditions.completed(self.obj) and self._goes_on():
            conditions.drop(self.status, "Succeeded", "Failed")
            self.status.pop("completionTime", None)
            self._mark("Restarting", "ExperimentRestarting", "Experiment is restarted")
        if not conditions.completed({"status": self.status}):
            if notes(self.obj).get(conditions.STOP):
                self._stop()
            elif self.trials:
                self._conclude(goal=goal)
        if not conditions.completed({"status": self.status}):
            self._balance()
        return self._answer()

    def _answer(self) -> list[Action]:
        if self.status == (self.obj.get("status") or {}):
            return self.actions
        write = SetStatus(kinds.EXPERIMENT, namespace(self.obj), name(self.obj), uid(self.obj), self.status)
        return [write, *self.actions]

    def _mark(self, type_: str, reason: str, message: str) -> None:
        conditions.mark(self.status, type_, reason, message, self.now)

    def _finish(self, type_: str, reason: str, message: str) -> None:
        if conditions.finish(self.status, type_, reason, message, self.now):
            event = self.emit.warning if type_ == "Failed" else self.emit.normal
            self.actions.append(event(reason, message))

    def _goes_on(self) -> bool:
        most = self.spec.get("maxTrialCount")
        return (
            restartable(self.obj)
            and (most is None or most > len(self.trials))
            and not notes(self.obj).get(conditions.STOP)
        )

    # --- the sum

    def _sum_up(self) -> bool:
        """Lists, counts and the optimal trial; True when the goal is reached."""
        self.counts = {state: [] for state in _LISTS}
        best: Obj | None = None
        best_value = 0.0
        sign = -1.0 if self._objective().get("type") == "maximize" else 1.0
        for trial in self.trials:
            state = _state(trial)
            self.counts[state].append(name(trial))
            # What was ended by somebody has no result, as on Katib, which reads no metrics of it.
            if state not in _ENDED or state == "Killed":
                continue
            value = conditions.objective_value(trial)
            if value is not None and (best is None or sign * value < sign * best_value):
                best, best_value = trial, value
        self.status["trials"] = len(self.trials)
        for state, (listed, counted) in _LISTS.items():
            names = self.counts[state]
            self.status.pop(listed, None)
            self.status.pop(counted, None)
            if names:
                self.status[listed] = names
                self.status[counted] = len(names)
        if best is None:
            self.status.pop("currentOptimalTrial", None)
            return False
        self.status["currentOptimalTrial"] = {
            "bestTrialName": name(best),
            "parameterAssignments": best["spec"].get("parameterAssignments") or [],
            "observation": {"metrics": best["status"]["observation"]["metrics"]},
        }
        goal = conditions.number(self._objective().get("goal"))
        return goal is not None and sign * best_value <= sign * goal

    def _objective(self) -> Mapping[str, Any]:
        return self.spec.get("objective") or {}

    def _count(self, *states: str) -> int:
        return sum(len(self.counts[state]) for state in states)

    def _conclude(self, *, goal: bool) -> None:
        failed, most_failed = self._count(*_FAILED), self.spec.get("maxFailedTrialCount")
        most = self.spec.get("maxTrialCount")
        if goal:
            self._finish(
                "Succeeded", "ExperimentGoalReached", "Experiment has succeeded because Objective goal has reached"
            )
        elif most_failed is not None and failed and failed >= most_failed:
            message = "Experiment has failed because max failed count has reached"
            self._finish("Failed", "ExperimentFailed", f"{message}. {self._last_failure()}")
        elif most is not None and self._count(*_ENDED) >= most:
            self._finish("Succeeded", MAX_REACHED, "Experiment has succeeded because max trial count has reached")
        else:
            self._mark("Running", "ExperimentRunning", "Experiment is running")

    def _last_failure(self) -> str:
        """The latest failed trial, and why."""
        for trial in reversed(self.trials):
            end = conditions.end_of(trial)
            if end in _FAILED:
                found = condition(trial.get("status") or {}, end) or {}
                return f"Last: {name(trial)}: {found.get('message')}"
        return ""

    def _stop(self) -> None:
        self._finish("Succeeded", STOPPED, "Experiment has ended because it was stopped")

    # --- trials

    def _balance(self) -> None:
        """As many running trials as the budget and the parallelism allow."""
        parallel = int(self.spec.get("parallelTrialCount") or PARALLEL)
        active = self._count("Pending", "Running")
        if active > parallel:
            newest = [trial for trial in reversed(self.trials) if not conditions.end_of(trial)]
            for trial in newest[: active - parallel]:
                self._delete(trial)
            return
        most = self.spec.get("maxTrialCount")
        wanted = parallel if most is None else min(int(most) - self._count(*_ENDED), parallel)
        if wanted > active:
            self._add(wanted - active)
        elif not active:
            self._end_with_suggestions()

    def _delete(self, trial: Obj) -> None:
        if not terminating(trial):
            self.actions.append(Delete(kinds.TRIAL, namespace(trial), name(trial), uid(trial)))

    def _add(self, count: int) -> None:
        requests = len(self.trials) + count
        checkpoint = template.checkpoint_of(self.obj, "", "")
        if checkpoint and self.view.get(kinds.PERSISTENT_VOLUME_CLAIM, namespace(self.obj), checkpoint.claim) is None:
            self.actions.append(Create(kinds.PERSISTENT_VOLUME_CLAIM, self._new_claim(checkpoint.claim)))
        if self.suggestion is None:
            self.actions.append(Create(kinds.SUGGESTION, self._new_suggestion(requests)))
            return
        status = self.suggestion.get("status") or {}
        if is_true(status, "Failed"):
            why = (condition(status, "Failed") or {}).get("message")
            self._finish("Failed", "ExperimentFailed", f"Suggestion has failed. {why}")
            return
        have = {name(trial) for trial in self.trials}
        suggested = status.get("suggestions") or ()
        waiting = [(place, one) for place, one in enumerate(suggested) if one.get("name") not in have]
        for place, one in waiting[:count]:
            self._create(place, one)
        if not waiting and not self._count("Pending", "Running"):
            self._end_with_suggestions()
        if (self.suggestion.get("spec") or {}).get("requests") != requests and not suggestions.ended(status):
            patch = {"spec": {"requests": requests}}
            self.actions.append(
                Patch(kinds.SUGGESTION, namespace(self.obj), name(self.obj), uid(self.suggestion), patch)
            )

    def _end_with_suggestions(self) -> None:
        why = suggestions.ended((self.suggestion or {}).get("status") or {})
        if why:
            message = f"Experiment has succeeded because suggestion service has reached the end: {why}"
            self._finish("Succeeded", "ExperimentSuggestionEndReached", message)

    def _new_claim(self, claim: str) -> Obj:
        """The volume for checkpoints, as Katib's configuration asks for it; it goes when the study does."""
        kind = kinds.PERSISTENT_VOLUME_CLAIM
        owner = owner_reference(kinds.EXPERIMENT, self.obj)
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": CHECKPOINTS}}}
        head = {"name": claim, "namespace": namespace(self.obj), "ownerReferences": [owner]}
        return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": head, "spec": spec}

    def _new_suggestion(self, requests: int) -> Obj:
        spec = {
            "algorithm": self.spec.get("algorithm"),
            "requests": requests,
            "resumePolicy": self.spec.get("resumePolicy"),
        }
        if self.spec.get("earlyStopping"):
            spec["earlyStopping"] = self.spec["earlyStopping"]
        head: Obj = {
            "name": name(self.obj),
            "namespace": namespace(self.obj),
            "ownerReferences": [owner_reference(kinds.EXPERIMENT, self.obj)],
        }
        if labels(self.obj):
            head["labels"] = dict(labels(self.obj))
        kind = kinds.SUGGESTION
        return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": head, "spec": spec}

    def _create(self, place: int, one: Mapping[str, Any]) -> None:
        trial_template: Obj = self.spec.get("trialTemplate") or {}
        values = {p["name"]: p["value"] for p in one.get("parameterAssignments") or ()}
        try:
            text = template.text_of(trial_template, self._config_maps(trial_template))
            job = template.rendered(trial_template, text, str(one["name"]), namespace(self.obj), values)
        except template.TemplateError as error:
            self._finish("Failed", "ExperimentFailed", f"Experiment has failed because of its trial template: {error}")
            return
        spec = {
            "objective": self._objective(),
            "parameterAssignments": list(one.get("parameterAssignments") or ()),
            "runSpec": job,
            "retainRun": bool(trial_template.get("retain")),
            "metricsCollector": self.spec.get("metricsCollectorSpec"),
            "primaryPodLabels": trial_template.get("primaryPodLabels"),
            "primaryContainerName": trial_template.get("primaryContainerName"),
            "successCondition": trial_template.get("successCondition"),
            "failureCondition": trial_template.get("failureCondition"),
        }
        kind = kinds.TRIAL
        own = {**labels(self.obj), template.LABEL_EXPERIMENT: name(self.obj), **(one.get("labels") or {})}
        self.actions.append(
            Create(
                kind,
                {
                    "apiVersion": kind.api_version,
                    "kind": kind.kind,
                    "metadata": {
                        "name": one["name"],
                        "namespace": namespace(self.obj),
                        "labels": own,
                        "annotations": {NUMBER: str(place)},
                        "ownerReferences": [owner_reference(kinds.EXPERIMENT, self.obj)],
                    },
                    "spec": {key: value for key, value in spec.items() if value is not None},
                },
            )
        )

    def _config_maps(self, trial_template: Obj) -> dict[tuple[str, str], Obj | None]:
        source = trial_template.get("configMap")
        if not source:
            return {}
        where = str(source.get("configMapNamespace")), str(source.get("configMapName"))
        return {where: self.view.get(kinds.CONFIG_MAP, *where)}


def _state(trial: Mapping[str, Any]) -> str:
    end = conditions.end_of(trial)
    return end or ("Running" if is_true(trial.get("status") or {}, "Running") else "Pending")


def _order(trial: Obj) -> tuple[int, str, str]:
    text = notes(trial).get(NUMBER, "")
    place = int(text) if text.isdecimal() else 0
    return place, str(meta(trial).get("creationTimestamp") or ""), name(trial)


CONTROLLER: Final = Controller(name=_SOURCE, kind=kinds.EXPERIMENT, react=react, owns=(kinds.TRIAL, kinds.SUGGESTION))
