"""Our controllers play the cases that real operators were recorded with, and end each step in the recorded state.

The record is data: a job, a script of what befalls its pods, and the state after each step. What differs on purpose is
listed in tests/tools/differences.py. tests/contract/test_differential.py plays the same to the running cluster.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import pytest
from bed.recorder import facts, job_status, plain, pod_facts
from controllers_world import World, copied, merge
from differences import (
    DIFFERENCES,
    EVENTS,
    MPI,
    STRICTER,
    TRAINING,
    Recorded,
    compare,
    compare_events,
    is_true,
    recorded,
    refused,
    restless,
    traits,
)

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import training, workloads
from jupyterlab_kf.model import Obj, format_time

KINDS = {(kind.api_version, kind.kind): kind for kind in kinds.TRAINING}
MOMENT = 5
FINAL = ("Succeeded", "Failed")
CASES = (*recorded(TRAINING).values(), *recorded(MPI).values())


# --- playing ---------------------------------------------------------------------------------------------------------


class Play:
    """One case played to our controllers."""

    def __init__(self, case: Recorded) -> None:
        self.case = case
        self.kind = kind = KINDS[case.version, case.kind]
        self.world = World(*training.CONTROLLERS, *workloads.CONTROLLERS)
        self.instances: dict[str, list[str]] = {}
        self.world.add(
            kind,
            {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {"name": case.name, "namespace": "default"},
                "spec": copied(case.spec),
            },
        )
        self.settle()

    def settle(self) -> None:
        self.world.settle()
        for pod_name, pod in self.world.pods().items():
            seen = self.instances.setdefault(plain(pod_name), [])
            if pod["metadata"]["uid"] not in seen:
                seen.append(pod["metadata"]["uid"])

    def befall(self, step: Obj) -> None:
        ((what, value),) = step.items()
        if what == "wait":
            self.world.wait(value)
        elif what == "patch":
            place = self.world._place(self.kind, "default", self.case.name)
            self.world.objects[place] = merge(self.world.objects[place], value)
        elif what in ("delete", "hold"):
            change = (
                {"deletionTimestamp": format_time(self.world.now)} if what == "delete" else {"finalizers": ["held"]}
            )
            for role in value:
                place = self.world._place(kinds.POD, "default", f"{self.case.name}-{role}")
                self.world.objects[place]["metadata"] |= change
        elif what == "end":
            for role in value:
                self.world.remove(kinds.POD, f"{self.case.name}-{role}")
        elif value == ["*"]:
            self.run_all()
        else:
            for role in value:
                self.afflict(f"{self.case.name}-{role}", what, value[role] if isinstance(value, dict) else 0)
        self.settle()

    def run_all(self) -> None:
        """Also the pods that come when others run."""
        while waiting := [n for n, p in self.world.pods().items() if "phase" not in p.get("status", {})]:
            for pod_name in waiting:
                self.afflict(pod_name, "run", 0)
            self.settle()

    def afflict(self, pod_name: str, what: str, number: int) -> None:
        # Of a launcher that was made anew, the last one.
        last = [name for name, _ in self.own(self.world.pods()) if pod_name in (name, plain(name))][-1:]
        pod = self.world.objects.get(self.world._place(kinds.POD, "default", last[0])) if last else None
        if pod is None or pod.get("status", {}).get("phase") in FINAL:
            return
        if what == "evict":
            message = "The node was low on resource: memory."
            pod["status"] = {"phase": "Failed", "reason": "Evicted", "message": message}
            return
        main = pod["spec"]["containers"][0]["name"]
        # A launcher's Job waits before it tries again; in the record every end is long ago.
        long_ago = pod["metadata"]["ownerReferences"][0]["kind"] == "Job"
        now = "2026-01-01T00:00:00Z" if long_ago else format_time(self.world.now)
        statuses = []
        for container in pod["spec"]["containers"]:
            state: Obj = {"running": {"startedAt": now}}
            if what == "exit" and (container["name"] == main or number == 0):
                state = {"terminated": {"exitCode": number, "finishedAt": now}}
            restarts = number if what == "restarts" and container["name"] == main else 0
            statuses.append({"name": container["name"], "restartCount": restarts, "state": state})
        phase = "Running" if what != "exit" else "Succeeded" if number == 0 else "Failed"
        ready = [{"type": "Ready", "status": "True" if phase == "Running" else "False"}]
        pod["status"] = {"phase": phase, "containerStatuses": statuses, "conditions": ready}

    # --- looking

    def state(self) -> Obj:
        pods = self.world.pods()
        return {
            "status": self.status(),
            "pods": {
                plain(name): {
                    "phase": pod.get("status", {}).get("phase", "Pending"),
                    "instance": self.instances[plain(name)].index(pod["metadata"]["uid"]) + 1,
                }
                for name, pod in self.own(pods)
            },
            "objects": self.objects(),
        }

    @staticmethod
    def own(pods: dict[str, Obj]) -> list[tuple[str, Obj]]:
        """By name; of a launcher that was made anew, the last one last."""
        return sorted(pods.items(), key=lambda item: (plain(item[0]), item[1]["metadata"]["creationTimestamp"]))

    def status(self) -> Obj | None:
        return job_status(self.world.get(self.kind, "default", self.case.name))

    def objects(self) -> Obj:
        found = {f"Pod/{plain(name)}": pod_facts(pod) for name, pod in self.own(self.world.pods())}
        for kind in (kinds.SERVICE, kinds.CONFIG_MAP, kinds.JOB):
            for item in self.world.list(kind):
                found[f"{kind.kind}/{item['metadata']['name']}"] = facts(kind.kind, item)
        return found


@functools.cache
def played(place: int) -> tuple[dict[str, list[str]], set[tuple[str, str, str]]]:
    """Of a case, played once: what is unlike the record after which steps, and the events that were told."""
    case = CASES[place]
    play = Play(case)
    unlike = {}
    for number, expected in enumerate(case.expected()):
        if number:
            play.befall(case.script[number - 1])
        ours = play.state()
        if is_true(expected, "Succeeded") and not is_true(ours, "Succeeded"):
            play.world.wait(MOMENT)
            play.settle()
            ours = play.state()
        if (
            expected["status"] is None and ours["status"] is not None
        ):  # its time to live was over before it was recorded
            play.world.wait(case.spec["runPolicy"]["ttlSecondsAfterFinished"])
            ours = play.state()
        if found := compare(expected, ours):
            unlike[f"after {case.script[:number]}"] = found
    play.world.wait(MOMENT)
    told = [event for event in play.world.events if event.about.name == case.name]
    return unlike, {(event.type, event.reason, plain(event.message)) for event in told}


each_case = pytest.mark.parametrize("place", range(len(CASES)), ids=[str(case) for case in CASES])


@each_case
def test_the_record(place: int) -> None:
    unlike, _ = played(place)
    assert not unlike


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda one: one.__name__)
def test_an_accepted_difference_is_one(difference: Callable[[Recorded, int, Obj], None]) -> None:
    """One that changes no recorded state any more has disappeared, and its row with it."""

    def changes(case: Recorded, number: int, state: Obj) -> bool:
        for earlier in DIFFERENCES[: DIFFERENCES.index(difference)]:
            earlier(case, number, state)
        before = copied(state)
        difference(case, number, state)
        return state != before

    assert any(changes(case, number, state) for case in CASES for number, state in enumerate(case.states()))


@pytest.mark.parametrize(("trait", "only_real"), [(trait, real) for trait, _, real in EVENTS if real])
def test_an_event_that_only_the_real_operators_tell_is_in_the_record(trait: str, only_real: str) -> None:
    cases = [case for case in CASES if trait in traits(case)]
    told = {" ".join(event) for case in cases for state in case.raw for event in state["events"]}
    assert any(re.search(only_real, line) for line in told)


@each_case
def test_the_events_of_the_record(place: int) -> None:
    _, told = played(place)
    assert not compare_events(CASES[place], told)


@pytest.mark.parametrize("name", restless())
def test_role_of_no_replicas_gets_no_pod_where_the_real_operator_never_comes_to_rest(name: str) -> None:
    job = restless()[name]
    assert job["restless"]
    play = Play(Recorded(name, "kubeflow.org/v1", job["kind"], job["spec"], [], []))
    (roles,) = (value for key, value in job["spec"].items() if key.endswith("ReplicaSpecs"))
    is_refused = f"{job['kind']}/{name}" in STRICTER
    assert is_refused == bool(training.denial(play.kind, {"metadata": {"name": name}, "spec": job["spec"]}))
    wanted = {} if is_refused else {f"{name}-{role.lower()}-0": 1 for role, spec in roles.items() if spec["replicas"]}
    play.run_all()
    play.world.wait(MOMENT)
    play.settle()
    assert {pod: found["instance"] for pod, found in play.state()["pods"].items()} == wanted


@pytest.mark.parametrize("name", refused())
def test_the_refusals_of_the_record(name: str) -> None:
    case, kind = refused()[name], KINDS["kubeflow.org/v1", name.split("/", maxsplit=1)[0]]
    if (case["refusal"] or {"code": 403})["code"] != 403:
        return  # what a schema refuses is not the operator's
    ours = training.denial(kind, {"metadata": {"name": name.split("/")[1]}, "spec": case["spec"]})
    assert ours == (case["refusal"] or {"message": ""})["message"] or name in STRICTER
