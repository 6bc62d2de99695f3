"""Our controllers play the cases that real operators were recorded with, and end each step in the recorded state.

The record is data: a job, a script of what befalls its pods, and the state after each step. What differs on purpose is
the table :data:`DIFFERENCES`: each row turns a recorded state into the one that docs/differences.md promises.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from controllers_world import World, merge

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import training, workloads
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_time

FOLDER = Path(__file__).parents[1] / "golden/training"
KINDS = {
    ("kubeflow.org/v1", "TFJob"): kinds.TF_JOB,
    ("kubeflow.org/v1", "PyTorchJob"): kinds.PYTORCH_JOB,
    ("kubeflow.org/v1", "MPIJob"): kinds.MPI_JOB,
    ("kubeflow.org/v1", "MXJob"): kinds.MX_JOB,
}
MOMENT = 5
FINAL = ("Succeeded", "Failed")


def load() -> tuple[dict[str, Obj], dict[str, Obj]]:
    record = json.loads((FOLDER / "real-1.8.1.json").read_text())
    jobs = {name: job for name, job in record["jobs"].items() if kind_of(job) is not None}
    return jobs, record["refused"]


def kind_of(job: Obj) -> Kind | None:
    return KINDS.get((job.get("version", "kubeflow.org/v1"), job["kind"]))


JOBS, REFUSED = load()


# --- playing ---------------------------------------------------------------------------------------------------------


class Play:
    """One case played to our controllers."""

    def __init__(self, name: str) -> None:
        self.name, self.case = name, JOBS[name]
        kind = kind_of(self.case)
        assert kind is not None
        self.kind: Kind = kind
        self.world = World(*training.CONTROLLERS, *workloads.CONTROLLERS)
        self.instances: dict[str, list[str]] = {}
        self.world.add(
            kind,
            {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {"name": name, "namespace": "default"},
                "spec": copy.deepcopy(self.case["spec"]),
            },
        )
        self.settle()

    def settle(self) -> None:
        self.world.settle()
        for pod_name, pod in self.world.pods().items():
            seen = self.instances.setdefault(pod_name, [])
            if pod["metadata"]["uid"] not in seen:
                seen.append(pod["metadata"]["uid"])

    def befall(self, step: Obj) -> None:
        ((what, value),) = step.items()
        if what == "wait":
            self.world.wait(value)
        elif what == "patch":
            place = self.world._place(self.kind, "default", self.name)
            self.world.objects[place] = merge(self.world.objects[place], value)
        elif what == "delete":
            for role in value:
                self.world.remove(kinds.POD, f"{self.name}-{role}")
        elif value == ["*"]:
            self.run_all()
        else:
            for role in value:
                self.afflict(f"{self.name}-{role}", what, value[role] if isinstance(value, dict) else 0)
        self.settle()

    def run_all(self) -> None:
        """Also the pods that come when others run."""
        while waiting := [n for n, p in self.world.pods().items() if "phase" not in p.get("status", {})]:
            for pod_name in waiting:
                self.afflict(pod_name, "run", 0)
            self.settle()

    def afflict(self, pod_name: str, what: str, number: int) -> None:
        pod = self.world.objects.get(self.world._place(kinds.POD, "default", pod_name))
        if pod is None or pod.get("status", {}).get("phase") in FINAL:
            return
        if what == "evict":
            pod["status"] = {"phase": "Failed", "reason": "Evicted"}
            return
        main = pod["spec"]["containers"][0]["name"]
        now = format_time(self.world.now)
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
                name: {
                    "phase": pod.get("status", {}).get("phase", "Pending"),
                    "instance": self.instances[name].index(pod["metadata"]["uid"]) + 1,
                }
                for name, pod in pods.items()
            },
            "objects": self.objects(),
        }

    def status(self) -> Obj | None:
        job = self.world.get(self.kind, "default", self.name)
        if job is None:
            return None
        status = job.get("status", {})
        counts = status.get("replicaStatuses") or {}
        fields = ("type", "status", "reason", "message")
        return {
            "has": [key for key in ("startTime", "completionTime") if status.get(key)],
            "replicaStatuses": {
                role: {k: v for k, v in count.items() if k != "selector" or "completionTime" not in status}
                for role, count in counts.items()
            },
            "conditions": [{key: item.get(key) for key in fields} for item in status.get("conditions", ())],
        }

    def objects(self) -> Obj:
        found = {f"Pod/{name}": pod_facts(pod) for name, pod in self.world.pods().items()}
        for service in self.world.list(kinds.SERVICE):
            ports = [{**{k: v for k, v in port.items() if v}} for port in service["spec"].get("ports", ())]
            found[f"Service/{service['metadata']['name']}"] = {
                "labels": service["metadata"]["labels"],
                "clusterIP": service["spec"]["clusterIP"],
                "selector": service["spec"]["selector"],
                "ports": [[port.get("name"), port["port"]] for port in ports],
            }
        for config in self.world.list(kinds.CONFIG_MAP):
            facts = {"labels": config["metadata"]["labels"], "data": config["data"]}
            found[f"ConfigMap/{config['metadata']['name']}"] = facts
        return found


def pod_facts(pod: Obj) -> Obj:
    spec, owner = pod["spec"], pod["metadata"]["ownerReferences"][0]
    notes = pod["metadata"].get("annotations", {})
    facts: Obj = {
        "labels": pod["metadata"]["labels"],
        "annotations": {key: value for key, value in notes.items() if not key.startswith("scheduling.jupyterlab-kf")},
        "owner": {key: owner.get(key) for key in ("kind", "name", "controller", "blockOwnerDeletion")},
        "restartPolicy": spec["restartPolicy"],
        "containers": spec["containers"],
        "initContainers": spec.get("initContainers", []),
    }
    return facts | ({"volumes": spec["volumes"]} if "volumes" in spec else {})


def as_stored(facts: Obj) -> Obj:
    """What the API server fills in, left out or filled in on both sides."""
    facts = copy.deepcopy(facts)
    for container in facts.get("containers", ()):
        for port in container.get("ports", ()):
            port.setdefault("protocol", "TCP")
    for volume in facts.get("volumes", ()):
        volume.get("configMap", {}).pop("defaultMode", None)
    if "ports" in facts:
        facts["ports"] = [
            port if isinstance(port, list) else [port.get("name"), port["port"]] for port in facts["ports"]
        ]
    return facts


def recorded(name: str) -> list[Obj]:
    """The recorded states, each with all objects that are there."""
    current: Obj = {}
    states = []
    for state in JOBS[name]["states"]:
        current = {key: value for key, value in current.items() if key not in state["gone"]} | state["new"]
        found = {"status": state["status"], "pods": state["pods"], "objects": current}
        states.append(copy.deepcopy(found))
    return states


@pytest.mark.parametrize("name", JOBS)
def test_the_record(name: str) -> None:
    play, case = Play(name), JOBS[name]
    for number, state in enumerate(recorded(name)):
        if number:
            play.befall(case["script"][number - 1])
        ours = play.state()
        if is_true(state, "Succeeded") and not is_true(ours, "Succeeded"):
            play.world.wait(MOMENT)
            play.settle()
            ours = play.state()
        if state["status"] is None and ours["status"] is not None:  # its time to live was over before it was recorded
            play.world.wait(case["spec"]["runPolicy"]["ttlSecondsAfterFinished"])
            ours = play.state()
        for difference in DIFFERENCES:
            difference(name, number, state)
        where = f"after {case['script'][:number]}"
        assert ours["status"] == state["status"], where
        assert ours["pods"] == state["pods"], where
        assert {k: as_stored(v) for k, v in ours["objects"].items()} == {
            k: as_stored(v) for k, v in state["objects"].items()
        }, where


@pytest.mark.parametrize("name", JOBS)
def test_the_events_of_the_record(name: str) -> None:
    play, case = Play(name), JOBS[name]
    for step in case["script"]:
        play.befall(step)
    play.world.wait(MOMENT)
    ours = {(event.type, event.reason, event.message) for event in play.world.events}
    real = {tuple(event) for state in case["states"] for event in state["events"]}
    status = play.status() or {"conditions": []}
    traits = {case["kind"], name, "Failed" if is_true({"status": status}, "Failed") else ""}
    for trait, only_ours, only_real in EVENTS:
        if trait in traits or not trait:
            ours = {event for event in ours if not (only_ours and re.search(only_ours, " ".join(event)))}
            real = {event for event in real if not (only_real and re.search(only_real, " ".join(event)))}
    assert ours == real


def test_the_refusals_of_the_record() -> None:
    for name, case in REFUSED.items():
        kind = kind_of(case | {"kind": name.split("/")[0]})
        if kind is None or (case["refusal"] or {"code": 403})["code"] != 403:
            continue  # what a schema refuses is not the operator's
        obj = {"metadata": {"name": name.split("/")[1]}, "spec": case["spec"]}
        ours = training.denial(kind, obj)
        assert ours == (case["refusal"] or {"message": ""})["message"] or name in STRICTER, name


# --- the differences -------------------------------------------------------------------------------------------------


def is_true(state: Obj, type_: str) -> bool:
    conditions = (state["status"] or {}).get("conditions", ())
    return any((item["type"], item["status"]) == (type_, "True") for item in conditions)


def drop_pod(state: Obj, pod: str) -> None:
    state["pods"].pop(pod, None)
    for kind in ("Pod", "Service"):
        state["objects"].pop(f"{kind}/{pod}", None)


def containers(state: Obj) -> list[tuple[str, Obj]]:
    pods = {key: facts for key, facts in state["objects"].items() if key.startswith("Pod/")}
    return [(key, container) for key, facts in pods.items() for container in facts["containers"]]


def no_accounts_and_no_autoscaler(_name: str, _number: int, state: Obj) -> None:
    """There is one user, and no autoscaler."""
    left_out = ("Role", "RoleBinding", "ServiceAccount", "HorizontalPodAutoscaler")
    state["objects"] = {key: facts for key, facts in state["objects"].items() if key.split("/")[0] not in left_out}
    for facts in state["objects"].values():
        facts.pop("serviceAccountName", None)


def no_init_containers(_name: str, _number: int, state: Obj) -> None:
    """Names are rewritten before a process starts, and the launcher is created when its workers run."""
    for key, facts in state["objects"].items():
        if key.startswith("Pod/"):
            facts["initContainers"] = []


def the_launcher_waits_for_its_workers(name: str, _number: int, state: Obj) -> None:
    """Instead of its init container."""
    workers = [pod for pod_name, pod in state["pods"].items() if pod_name.startswith(f"{name}-worker-")]
    if JOBS[name]["kind"] == "MPIJob" and any(pod["phase"] == "Pending" for pod in workers):
        drop_pod(state, f"{name}-launcher")


def open_mpi_5_is_told_of_the_hosts(_name: str, _number: int, state: Obj) -> None:
    """It ignores the variable of Open MPI 4."""
    for _, container in containers(state):
        env = container.get("env", [])
        at = next((n for n, item in enumerate(env) if item["name"] == "OMPI_MCA_orte_default_hostfile"), None)
        if at is not None:
            env.insert(at + 1, {"name": "PRTE_MCA_prte_default_hostfile", "value": env[at]["value"]})


def tensorflow_2_is_told_what_it_understands(name: str, _number: int, state: Obj) -> None:
    """No evaluator in the cluster, and a master is called chief."""
    for _, container in containers(state):
        for item in container.get("env", ()):
            if item["name"] == "TF_CONFIG":
                config = json.loads(item["value"])
                if not JOBS[name]["spec"].get("enableDynamicWorker"):
                    config["cluster"].pop("evaluator", None)
                    if "master" in config["cluster"]:
                        config["cluster"]["chief"] = config["cluster"].pop("master")
                    config["cluster"] = dict(sorted(config["cluster"].items()))
                    if config["task"]["type"] == "master":
                        config["task"]["type"] = "chief"
                item["value"] = json.dumps(config, separators=(",", ":"))


def a_deadline_is_kept(name: str, number: int, state: Obj) -> None:
    """The real operator looks at it only when something else happens: in the next step."""
    if (name, number) == ("tf-deadline", 2):
        state |= recorded(name)[number + 1]


def a_scheduler_waits_for_its_workers(name: str, number: int, state: Obj) -> None:
    """In the record they run on, and the job has succeeded."""
    if (name, number) == ("mx-clean", 2):
        state |= recorded(name)[number - 1]
        state["status"]["replicaStatuses"]["Scheduler"] = {"succeeded": 1}
        state["pods"]["mx-clean-scheduler-0"]["phase"] = "Succeeded"


def a_failed_jobs_peers_are_ended(_name: str, _number: int, state: Obj) -> None:
    """They would wait for the lost one for ever; and nothing is counted that is gone."""
    if not is_true(state, "Failed"):
        return
    for pod in [pod for pod, found in state["pods"].items() if found["phase"] in ("Running", "Pending")]:
        drop_pod(state, pod)
    for counts in state["status"]["replicaStatuses"].values():
        counts.pop("active", None)


def an_ended_jobs_config_is_left_alone(name: str, number: int, state: Obj) -> None:
    """The real operator goes on telling which workers run."""
    config = f"ConfigMap/{name}-config"
    if config in state["objects"] and (is_true(state, "Failed") or is_true(state, "Succeeded")):
        state["objects"][config] = recorded(name)[number - 1]["objects"][config]


def a_failed_job_has_ended(_name: str, _number: int, state: Obj) -> None:
    """Also when an exit code decided, so that its time to live begins."""
    if is_true(state, "Failed") and "completionTime" not in state["status"]["has"]:
        state["status"]["has"].append("completionTime")
        for counts in state["status"]["replicaStatuses"].values():
            counts.pop("selector", None)


def what_still_runs_has_not_succeeded(name: str, _number: int, state: Obj) -> None:
    """The real status counts pods as succeeded that run on."""
    if not is_true(state, "Succeeded"):
        return
    for role, counts in state["status"]["replicaStatuses"].items():
        prefix = f"{name}-{role.lower()}-"
        running = sum(p["phase"] == "Running" for n, p in state["pods"].items() if n.startswith(prefix))
        if running and not counts.get("active"):
            left = counts.pop("succeeded", running) - running
            counts.update({"active": running} | ({"succeeded": left} if left else {}))


def a_reason_is_not_said_twice(_name: str, _number: int, state: Obj) -> None:
    """A slip in the operator."""
    for item in (state["status"] or {}).get("conditions", ()):
        item["reason"] = item["reason"].replace("MPIJobMPIJobFailed", "MPIJobFailed")


DIFFERENCES: tuple[Callable[[str, int, Obj], None], ...] = (
    no_accounts_and_no_autoscaler,
    no_init_containers,
    the_launcher_waits_for_its_workers,
    open_mpi_5_is_told_of_the_hosts,
    tensorflow_2_is_told_what_it_understands,
    a_deadline_is_kept,
    a_scheduler_waits_for_its_workers,
    a_failed_jobs_peers_are_ended,
    an_ended_jobs_config_is_left_alone,
    a_failed_job_has_ended,
    what_still_runs_has_not_succeeded,
    a_reason_is_not_said_twice,
)
"""docs/differences.md has the reasons in full."""

STRICTER = frozenset({"PyTorchJob/elastic-without-workers"})
"""What the webhooks of 1.9.3 refuse and those of 1.8.1 did not."""

EVENTS: tuple[tuple[str, str, str], ...] = (
    # Of jobs of this kind, state or name; what only ours say; what only the real ones say.
    ("Failed", r"SuccessfulDelete(Pod|Service)", r"SuccessfulDelete(Pod|Service)"),  # peers are ended
    ("", "", r"^Warning \w+Restarting .* is restarting because 1 \w+ replica\(s\) failed\."),  # said in two wordings
    ("", r"Deleted job: ", r"Deleted job: "),
    ("MPIJob", r"ExitedWithCode|SuccessfulDeletePod", r"is exist"),
    (
        "MPIJob",
        r"MPIJobSucceeded|MPIJobFailed",
        r"MPIJobSucceeded|mpijobsSucceeded|MPIJobRunning MPIJob \S+ is running",
    ),
    ("tf-exitcode-1", "", r"TFJobFailed .* has failed because"),  # said twice, too
    ("mx-clean", "", r"MXJobSucceeded|SuccessfulDelete"),  # its workers have not ended
)
"""Differences in events."""
