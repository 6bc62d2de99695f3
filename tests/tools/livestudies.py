"""A study that is fed by hand: on an API server without controllers, so that ten thousand trials cost no process."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any, Protocol

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.katib.observations import ANNOTATION
from jupyterlab_kf.embedded.registry import Registry

NAMESPACE = "default"
BATCH = 100
"""Trials that are written at a time: in between, the server answers."""
EPOCHS = 12
_NUMBER = "jupyterlab-kf.io/number"
_LABEL = "katib.kubeflow.org/experiment"


class Serving(Protocol):
    """An API server in another thread."""

    @property
    def registry(self) -> Registry: ...

    def call(self, function: Any) -> Any: ...


class LiveStudy:
    """A study of eight parameters: trials that ran are there from the start, some run and report."""

    def __init__(self, served: Serving, name: str, *, trials: int, running: int = 8, parameters: int = 8) -> None:
        self.served, self.name = served, name
        self.running: list[int] = []
        self._made = 0
        self._parallel = running
        self._chance = random.Random(7)
        self._parameters = [f"p{n}" for n in range(parameters)]
        self._begun = time.time() - trials * 2
        served.call(self._experiment)
        for first in range(0, trials - running, BATCH):
            count = min(BATCH, trials - running - first)
            served.call(lambda count=count: [self._trial(ended=True) for _ in range(count)])
        served.call(lambda: [self._trial(ended=False) for _ in range(running)])

    def report(self, number: int, value: float) -> None:
        """A running trial reports."""
        self.served.call(lambda: self._told(number, value))

    def turn(self) -> int:
        """The oldest running trial ends, and another one begins; answers the number of that one."""
        return int(self.served.call(self._turned))

    def lively(self, count: int) -> Iterator[None]:
        """So many changes, as a study makes them: reports, and now and then an end and a beginning."""
        for n in range(count):
            if n % 10 == 9:
                self.turn()
            else:
                self.report(self.running[n % len(self.running)], self._chance.uniform(0.1, 1))
            yield

    # On the server's thread

    def _experiment(self) -> None:
        space = [
            {"name": one, "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}
            for one in self._parameters
        ]
        given = [{"name": one, "reference": one} for one in self._parameters]
        made = self.served.registry.create(
            kinds.EXPERIMENT,
            {
                "apiVersion": "kubeflow.org/v1beta1",
                "kind": "Experiment",
                "metadata": {"name": self.name, "namespace": NAMESPACE},
                "spec": {
                    "objective": {"type": "minimize", "objectiveMetricName": "loss"},
                    "algorithm": {"algorithmName": "random"},
                    "maxTrialCount": 100_000,
                    "parallelTrialCount": self._parallel,
                    "parameters": space,
                    "trialTemplate": {
                        "primaryContainerName": "main",
                        "trialParameters": given,
                        "trialSpec": _job([f"{one}=${{trialParameters.{one}}}" for one in self._parameters]),
                    },
                },
            },
            namespace=NAMESPACE,
        )
        running = {"type": "Running", "status": "True", "reason": "ExperimentRunning", "message": ""}
        status = {"startTime": _moment(self._begun), "conditions": [running]}
        self.served.registry.update(kinds.EXPERIMENT, {**made, "status": status}, subresource="status")

    def _trial(self, *, ended: bool) -> int:
        number = self._made
        self._made += 1
        values = {one: f"{self._chance.random():.6g}" for one in self._parameters}
        curve = [self._chance.uniform(0.1, 1)]
        obj = {
            "apiVersion": "kubeflow.org/v1beta1",
            "kind": "Trial",
            "metadata": {
                "name": f"{self.name}-{number:05d}",
                "namespace": NAMESPACE,
                "labels": {_LABEL: self.name},
                "annotations": {_NUMBER: str(number), ANNOTATION: self._record(curve if not ended else self._curve())},
            },
            "spec": {
                "objective": {
                    "type": "minimize",
                    "objectiveMetricName": "loss",
                    "metricStrategies": [{"name": "loss", "value": "latest"}],
                },
                "parameterAssignments": [{"name": one, "value": value} for one, value in values.items()],
                "primaryContainerName": "main",
                "runSpec": _job([f"{one}={value}" for one, value in values.items()]),
            },
        }
        made = self.served.registry.create(kinds.TRIAL, obj, namespace=NAMESPACE)
        state = "Succeeded" if self._chance.random() > 0.05 else "Failed"
        self._put(made, number, curve[-1], state if ended else "Running")
        if not ended:
            self.running.append(number)
        return number

    def _curve(self) -> list[float]:
        low = self._chance.uniform(0.1, 0.8)
        return [low + 1 / (epoch + 1) for epoch in range(EPOCHS)]

    def _record(self, curve: list[float]) -> str:
        points = [[n, 0, f"{value:.6g}"] for n, value in enumerate(curve)]
        return json.dumps({"began": self._begun, "metrics": {"loss": {"points": points}}})

    def _put(self, trial: dict[str, Any], number: int, value: float, state: str) -> None:
        begun = self._begun + number * 2 if state != "Running" else time.time()
        status = {
            "startTime": _moment(begun),
            "conditions": [{"type": state, "status": "True", "reason": f"Trial{state}", "message": ""}],
            "observation": {"metrics": [{"name": "loss", "latest": f"{value:.6g}", "min": f"{value:.6g}", "max": "2"}]},
        }
        if state != "Running":
            status["completionTime"] = _moment(begun + 15)
        self.served.registry.update(kinds.TRIAL, {**trial, "status": status}, subresource="status")

    def _told(self, number: int, value: float) -> None:
        trial = dict(self.served.registry.get(kinds.TRIAL, NAMESPACE, f"{self.name}-{number:05d}"))
        self._put(trial, number, value, "Running")

    def _turned(self) -> int:
        oldest = self.running.pop(0)
        trial = dict(self.served.registry.get(kinds.TRIAL, NAMESPACE, f"{self.name}-{oldest:05d}"))
        self._put(trial, oldest, self._chance.uniform(0.1, 1), "Succeeded")
        return self._trial(ended=False)


def _job(arguments: list[str]) -> dict[str, Any]:
    container = {"name": "main", "image": "python:3", "command": ["true"], "args": arguments}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}},
    }


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
