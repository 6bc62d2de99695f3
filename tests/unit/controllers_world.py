"""A cluster in memory for tests of controllers: a view, its actions applied at once, and time that only tests move."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Consult, Controller, Create, Delete, Emit, Patch, Requeue, SetStatus
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_time
from jupyterlab_kf.suggestions.questions import ask

START = 1_800_000_000.0


def merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def copied(value: Any) -> Any:
    """A copy to its depth: of JSON several times quicker than ``copy.deepcopy``, and worlds are copied all the time."""
    return pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


class World:
    def __init__(self, *controllers: Controller, lingering: bool = False) -> None:
        self.controllers = controllers
        self.lingering = lingering
        self.now = START
        self.objects: dict[tuple[str, str, str, str], Obj] = {}
        self.events: list[Emit] = []
        self.serial = 0
        self.wakeups: list[float] = []
        self.log: list[Action] = []
        self.shown = False

    # --- the view

    @staticmethod
    def _place(kind: Kind, namespace: str, name: str) -> tuple[str, str, str, str]:
        return kind.group, kind.plural, namespace, name

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        obj = self.objects.get(self._place(kind, namespace, name))
        return obj if self.shown else copied(obj)

    def list(self, kind: Kind, namespace: str | None = None) -> list[Obj]:
        group, plural = kind.group, kind.plural
        places = [
            place
            for place in self.objects
            if place[1] == plural and place[0] == group and namespace in (None, place[2])
        ]
        return [self.objects[place] if self.shown else copied(self.objects[place]) for place in sorted(places)]

    def owned(self, kind: Kind, uid: str) -> list[Obj]:
        return [
            obj
            for obj in self.list(kind)
            if any(o.get("controller") and o["uid"] == uid for o in obj["metadata"].get("ownerReferences", ()))
        ]

    def served(self, api_version: str, kind: str) -> Kind | None:
        return next((k for k in kinds.ALL if (k.api_version, k.kind) == (api_version, kind)), None)

    # --- writing

    def add(self, kind: Kind, obj: Obj) -> Obj:
        obj = copied(obj)
        meta = obj["metadata"]
        meta.setdefault("namespace", "default")
        self.serial += 1
        meta.setdefault("uid", f"uid-{self.serial}")
        meta.setdefault("creationTimestamp", format_time(self.now))
        meta.setdefault("generation", 1)
        place = self._place(kind, meta["namespace"], meta["name"])
        if place not in self.objects:
            self.objects[place] = obj
        return self.objects[place]

    def remove(self, kind: Kind, name: str, namespace: str = "default") -> None:
        obj = self.objects.pop(self._place(kind, namespace, name), None)
        if obj is None:
            return
        for place, other in list(self.objects.items()):
            if any(o["uid"] == obj["metadata"]["uid"] for o in other["metadata"].get("ownerReferences", ())):
                self.objects.pop(place, None)

    def apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self.log.append(action)
            match action:
                case Create(kind, obj):
                    self.add(kind, obj)
                case Emit():
                    self.events.append(action)
                case Requeue(at):
                    self.wakeups.append(at)
                case Consult({"measure": _}, then):
                    self.apply(then({"pods": {}}))
                case Consult(question, then):
                    self.apply(then(ask(json.loads(json.dumps(question)))))
                case Delete(kind, namespace, name, uid):
                    self._delete(kind, namespace, name, uid)
                case Patch(kind, namespace, name, uid, patch):
                    self._change(kind, namespace, name, uid, lambda obj, p=patch: merge(obj, json.loads(json.dumps(p))))
                case SetStatus(kind, namespace, name, uid, status):
                    value = json.loads(json.dumps(status))
                    self._change(kind, namespace, name, uid, lambda obj, v=value: {**obj, "status": v})

    def _change(self, kind: Kind, namespace: str, name: str, uid: str, change: Any) -> None:
        place = self._place(kind, namespace, name)
        obj = self.objects.get(place)
        if obj is not None and obj["metadata"]["uid"] == uid:
            self.objects[place] = change(obj)

    def _delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        obj = self.objects.get(self._place(kind, namespace, name))
        if obj is None or obj["metadata"]["uid"] != uid:
            return
        if kind == kinds.POD and (self.lingering or obj["metadata"].get("finalizers")):
            obj["metadata"]["deletionTimestamp"] = format_time(self.now + 30)
        else:
            self.remove(kind, name, namespace)

    # --- running

    def decide(self) -> list[Action]:
        return [
            action
            for controller in self.controllers
            for obj in self.list(controller.kind)
            if obj["apiVersion"] == controller.kind.api_version
            for action in controller.react(obj, self, self.now)
        ]

    def _decided(self) -> list[Action]:
        """What is to be done: the same when asked twice, and nobody changes what they are shown.

        They are shown what is there itself: to copy it for each look took longer than all else.
        """
        whole = pickle.dumps(self.objects)
        self.shown = True
        try:
            actions, again = self.decide(), self.decide()
        finally:
            self.shown = False
        if actions != again:
            raise AssertionError("reacting twice to one state gave two answers")
        if pickle.dumps(self.objects) != whole:
            raise AssertionError("a controller has changed what it was shown")
        return actions

    def settle(self, limit: int = 50) -> None:
        """React and apply until nothing but timers is left to do."""
        for _ in range(limit):
            self.wakeups.clear()
            actions = self._decided()
            before = len(self.log)
            self.apply(actions)
            # A question whose answer leads to nothing now is asked again when something changes.
            if all(isinstance(action, Requeue | Consult) for action in self.log[before:]):
                return
        raise AssertionError(f"no rest after {limit} rounds; last: {actions}")

    def wait(self, seconds: float) -> None:
        """Let time pass, stopping at every timer on the way."""
        end = self.now + seconds
        while True:
            due = [at for at in self.wakeups if self.now < at <= end]
            if not due:
                break
            self.now = min(due)
            self.settle()
        self.now = end

    # --- pods

    def pods(self) -> dict[str, Obj]:
        return {pod["metadata"]["name"]: pod for pod in self.list(kinds.POD)}

    def place(self, name: str) -> None:
        """Let the scheduler give a pod its machine."""
        self.objects[self._place(kinds.POD, "default", name)]["spec"]["nodeName"] = "here"

    def phase(self, name: str, phase: str, *, code: int | None = None, restarts: int = 0, settle: bool = True) -> None:
        pod = self.objects[self._place(kinds.POD, "default", name)]
        container = pod["spec"]["containers"][0]["name"]
        if code is None and phase in ("Succeeded", "Failed"):
            code = 0 if phase == "Succeeded" else 1
        state: Obj = {"running": {"startedAt": format_time(self.now)}}
        if phase in ("Succeeded", "Failed"):
            state = {"terminated": {"exitCode": code, "finishedAt": format_time(self.now)}}
        ready = "True" if phase == "Running" else "False"
        pod["status"] = {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": format_time(self.now)}],
            "containerStatuses": [{"name": container, "state": state, "restartCount": restarts}],
        }
        if phase == "Pending":
            pod["status"].pop("containerStatuses")
        if settle:
            self.settle()

    def run_all(self) -> None:
        """Let every pod that waits run, until no new ones come."""
        while waiting := [
            n for n, p in self.pods().items() if p.get("status", {}).get("phase", "Pending") == "Pending"
        ]:
            for name in waiting:
                self.phase(name, "Running", settle=False)
            self.settle()

    def finish_terminating(self) -> None:
        for name, pod in self.pods().items():
            if pod["metadata"].get("deletionTimestamp"):
                self.remove(kinds.POD, name)
        self.settle()

    # --- jobs

    def job(self, kind: Kind, name: str = "j") -> Obj:
        obj = self.get(kind, "default", name)
        assert obj is not None
        return obj

    def conditions(self, kind: Kind, name: str = "j") -> dict[str, tuple[str, str]]:
        found = self.job(kind, name).get("status", {}).get("conditions", ())
        return {c["type"]: (c["status"], c.get("reason", "")) for c in found}

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events]
