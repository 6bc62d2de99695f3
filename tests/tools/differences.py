"""What real operators were recorded to do, and where our controllers differ from it on purpose.

The one list of accepted differences: each row turns a recorded state into the one that docs/differences.md promises,
and says why. Whoever plays the table of cases to our controllers, in memory or behind a running API server, compares
with :func:`compare`; there is no other comparison.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bed.cases import RESUME
from bed.recorder import RACES

from jupyterlab_kf.controllers.copies import copied

Obj = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "golden/training"
TRAINING = FOLDER / "real-1.8.1.json"
MPI = FOLDER / "real-mpi-0.6.0.json"


@dataclass(frozen=True)
class Recorded:
    """One case of a record: the job, what befell its pods, and the state after its creation and after each step."""

    name: str
    version: str
    kind: str
    spec: Obj
    script: list[Obj]
    raw: list[Obj]

    def __str__(self) -> str:
        return f"{self.name}-v2beta1" if self.version.endswith("v2beta1") else self.name

    def states(self) -> list[Obj]:
        """The recorded states, each with all objects that are there."""
        current: Obj = {}
        found = []
        for state in self.raw:
            current = {key: value for key, value in current.items() if key not in state["gone"]} | state["new"]
            one = {"status": state["status"], "pods": state["pods"], "objects": current, "events": state["events"]}
            found.append(copied(one))
        return found

    def expected(self) -> list[Obj]:
        """The recorded states as ours are to be."""
        states = self.states()
        for number, state in enumerate(states):
            for difference in DIFFERENCES:
                difference(self, number, state)
        return states


def recorded(path: Path = TRAINING) -> dict[str, Recorded]:
    """The cases of a record by name, those of the kinds that the embedded cluster has."""
    jobs = json.loads(path.read_text())["jobs"]
    return {
        name: Recorded(name, job["version"], job["kind"], job["spec"], job["script"], job["states"])
        for name, job in jobs.items()
        if job["kind"] in SERVED
    }


def refused() -> dict[str, Obj]:
    """KIND/NAME -> the spec and the recorded refusal (None: it was taken)."""
    found: dict[str, Obj] = json.loads(TRAINING.read_text())["refused"]
    return {name: case for name, case in found.items() if name.split("/")[0] in SERVED}


def restless() -> dict[str, Obj]:
    """Job -> its kind and spec, and whether the real operator makes and deletes its pods for ever."""
    found: dict[str, Obj] = json.loads(TRAINING.read_text())["restless"]
    return found


SERVED = ("TFJob", "PyTorchJob", "MPIJob", "MXJob")
"""XGBoostJob and PaddleJob are recorded for the tests of the real operator; the embedded cluster does not have them."""


# --- comparing -------------------------------------------------------------------------------------------------------


def compare(expected: Obj, ours: Obj) -> list[str]:
    """Where a state of ours is another than the expected one: one line a field."""
    found: list[str] = []
    for part in ("status", "pods"):
        found += _unlike(expected[part], ours[part], part)
    stored = [{key: as_stored(key, facts) for key, facts in state["objects"].items()} for state in (expected, ours)]
    return found + _unlike(*stored, "objects")


def compare_events(case: Recorded, ours: set[tuple[str, ...]]) -> list[str]:
    """Kinds of events on the job that only one side tells."""
    real = {tuple(event) for state in case.raw for event in state["events"]}
    ours = {event for event in ours if not RACES.search(event[-1])}
    mine = traits(case)
    for trait, only_ours, only_real in EVENTS:
        if trait in mine:
            ours = {event for event in ours if not (only_ours and re.search(only_ours, " ".join(event)))}
            real = {event for event in real if not (only_real and re.search(only_real, " ".join(event)))}
    return [f"ours only: {event}" for event in sorted(ours - real)] + [
        f"real only: {event}" for event in sorted(real - ours)
    ]


def traits(case: Recorded) -> set[str]:
    """By what a row of ``EVENTS`` may name a case."""
    return {case.version, case.kind, case.name, "Failed" if is_true(case.raw[-1], "Failed") else "", ""}


def as_stored(key: str, facts: Obj) -> Obj:
    """What the API server fills in, left out or filled in on both sides."""
    facts = copied(facts)
    facts["labels"] = {name: value for name, value in facts.get("labels", {}).items() if "controller-uid" not in name}
    for container in facts.get("containers", ()):
        for port in container.get("ports", ()):
            port.setdefault("protocol", "TCP")
    for volume in facts.get("volumes", ()):
        volume.get("configMap", {}).pop("defaultMode", None)
    if "ports" in facts:
        facts["ports"] = [[port.get("name"), port["port"]] for port in facts["ports"]]
    if key.startswith("Job/"):
        facts["spec"] = _JOB_DEFAULTS | facts["spec"]
    if key.startswith("Pod/"):
        notes = facts.get("annotations", {})
        facts["annotations"] = {name: text for name, text in notes.items() if "jupyterlab-kf.io/" not in name}
    return facts


_JOB_DEFAULTS = {
    "backoffLimit": 6,
    "completionMode": "NonIndexed",
    "completions": 1,
    "parallelism": 1,
    "podReplacementPolicy": "TerminatingOrFailed",
    "suspend": False,
}


def _unlike(real: Any, ours: Any, where: str) -> list[str]:
    if isinstance(real, dict) and isinstance(ours, dict):
        return [
            line
            for key in sorted({*real, *ours})
            for line in _unlike(real.get(key, _ABSENT), ours.get(key, _ABSENT), f"{where}.{key}")
        ]
    if isinstance(real, list) and isinstance(ours, list) and len(real) == len(ours):
        return [
            line
            for at, (one, other) in enumerate(zip(real, ours, strict=True))
            for line in _unlike(one, other, f"{where}[{at}]")
        ]
    return [] if real == ours else [f"{where}: expected {real!r}, ours {ours!r}"]


_ABSENT = "(absent)"


# --- the differences -------------------------------------------------------------------------------------------------


def is_true(state: Obj, type_: str) -> bool:
    conditions = (state["status"] or {}).get("conditions", ())
    return any((item["type"], item["status"]) == (type_, "True") for item in conditions)


def drop_pod(state: Obj, pod: str) -> None:
    state["pods"].pop(pod, None)
    for kind in ("Pod", "Service"):
        state["objects"].pop(f"{kind}/{pod}", None)


def keep(facts: Obj, field: str, wanted: Callable[[Obj], bool]) -> None:
    """Only these items of a list; no list without items."""
    if field in facts:
        facts[field] = [item for item in facts[field] if wanted(item)]
        if not facts[field]:
            del facts[field]


def containers(state: Obj) -> list[tuple[str, Obj]]:
    pods = {key: facts for key, facts in state["objects"].items() if key.startswith("Pod/")}
    return [(key, container) for key, facts in pods.items() for container in facts["containers"]]


def no_accounts_and_no_autoscaler(_case: Recorded, _number: int, state: Obj) -> None:
    """There is one user, and no autoscaler."""
    left_out = ("Role", "RoleBinding", "ServiceAccount", "HorizontalPodAutoscaler")
    state["objects"] = {key: facts for key, facts in state["objects"].items() if key.split("/")[0] not in left_out}
    for facts in state["objects"].values():
        facts.pop("serviceAccountName", None)


def no_init_containers(_case: Recorded, _number: int, state: Obj) -> None:
    """Names are rewritten before a process starts, and the launcher is created when its workers run."""
    for key, facts in state["objects"].items():
        if key.startswith("Pod/"):
            facts["initContainers"] = []


def the_launcher_waits_for_its_workers(case: Recorded, _number: int, state: Obj) -> None:
    """Instead of its init container."""
    workers = [pod for pod_name, pod in state["pods"].items() if pod_name.startswith(f"{case.name}-worker-")]
    if (
        case.kind == "MPIJob"
        and case.version.endswith("/v1")
        and any((pod["phase"], pod["instance"]) == ("Pending", 1) for pod in workers)
    ):
        drop_pod(state, f"{case.name}-launcher")


def nobody_logs_in(_case: Recorded, _number: int, state: Obj) -> None:
    """Ranks run beside the launcher: no key pair, and no volume for it."""
    state["objects"] = {key: facts for key, facts in state["objects"].items() if not key.startswith("Secret/")}
    for _, container in containers(state):
        keep(container, "volumeMounts", lambda mount: mount["name"] != "ssh-auth")
    for facts in state["objects"].values():
        keep(facts, "volumes", lambda volume: volume["name"] != "ssh-auth")


def open_mpi_5_is_told_of_the_hosts(_case: Recorded, _number: int, state: Obj) -> None:
    """It ignores the variable of Open MPI 4."""
    for _, container in containers(state):
        env = container.get("env", [])
        at = next((n for n, item in enumerate(env) if item["name"] == "OMPI_MCA_orte_default_hostfile"), None)
        if at is not None:
            env.insert(at + 1, {"name": "PRTE_MCA_prte_default_hostfile", "value": env[at]["value"]})


def tensorflow_2_is_told_what_it_understands(case: Recorded, _number: int, state: Obj) -> None:
    """No evaluator in the cluster, and a master is called chief."""
    for _, container in containers(state):
        for item in container.get("env", ()):
            if item["name"] == "TF_CONFIG":
                config = json.loads(item["value"])
                if not case.spec.get("enableDynamicWorker"):
                    config["cluster"].pop("evaluator", None)
                    if "master" in config["cluster"]:
                        config["cluster"]["chief"] = config["cluster"].pop("master")
                    config["cluster"] = dict(sorted(config["cluster"].items()))
                    if config["task"]["type"] == "master":
                        config["task"]["type"] = "chief"
                item["value"] = json.dumps(config, separators=(",", ":"))


def a_deadline_is_kept(case: Recorded, number: int, state: Obj) -> None:
    """The real operator looks at it only when something else happens: in the next step."""
    late = "activeDeadlineSeconds" in case.spec.get("runPolicy", {}) and case.version.endswith("/v1")
    if late and number == len(case.script) - 1:
        state |= case.states()[number + 1]


def who_may_be_restarted_is(case: Recorded, number: int, state: Obj) -> None:
    """The real operators fail a job whose pod is being deleted, and never restart an MPIJob v1's by exit code."""
    if case.name in ("tf-pod-deleted", "mpi-exitcode-137") and number >= 2:
        mine = state["objects"] if (case.kind, number) == ("MPIJob", 2) else None
        state |= case.states()[1]
        state["objects"] = mine or state["objects"]
        last = number == len(case.script)
        state["status"]["replicaStatuses"]["Worker"] = {"active": 1 + last}
        if last or number == len(case.script) - 1:
            state["pods"][f"{case.name}-worker-1"] = {"phase": "Running" if last else "Pending", "instance": 2}
    if (case.name, number) == ("mpi-exitcode-1", 2):
        running = case.states()[1]["status"]["conditions"][1] | {"status": "False"}
        text = f'job "{case.name}" is failing because "Launcher" replica(s) failed.'
        failed = {"type": "Failed", "status": "True", "reason": "MPIJobFailed", "message": text}
        state["status"]["conditions"][1:] = [running, failed]


def one_that_is_ending_is_no_replica(case: Recorded, number: int, state: Obj) -> None:
    """Resumed while old pods end: a real TFJob and MXJob fail, a PyTorchJob restarts, an MPIJob has them run."""
    if not case.name.endswith("-resumed-early"):
        return
    ending = case.script.index(RESUME) + 1
    if number < ending:
        return
    states = case.states()
    runs, rests, status = states[1], states[ending - 1]["status"], state["status"]
    if case.version.endswith("v2beta1"):
        if number == ending:
            status["replicaStatuses"]["Worker"] = {}
        return
    resumed = next(item for item in status["conditions"] if item["type"] == "Suspended")
    conditions = [resumed if item["type"] == "Suspended" else item for item in rests["conditions"]]
    if number > ending:  # they have ended
        state["objects"] = runs["objects"]
        phase = "Running" if number == len(case.script) else "Pending"
        state["pods"] = {pod: {"phase": phase, "instance": 2} for pod in runs["pods"]}
    if number == len(case.script):
        rests, conditions = runs["status"], [conditions[0], resumed, runs["status"]["conditions"][-1]]
    state["status"] = {**rests, "conditions": conditions}


def a_scheduler_waits_for_its_workers(case: Recorded, number: int, state: Obj) -> None:
    """In the record they run on, and the job has succeeded."""
    if (case.name, number) == ("mx-clean", 2):
        state |= case.states()[number - 1]
        state["status"]["replicaStatuses"]["Scheduler"] = {"succeeded": 1}
        state["pods"]["mx-clean-scheduler-0"]["phase"] = "Succeeded"


def a_failed_jobs_peers_are_ended(case: Recorded, _number: int, state: Obj) -> None:
    """They would wait for the lost one for ever; and nothing is counted that is gone."""
    if not is_true(state, "Failed") or case.version.endswith("v2beta1"):
        return
    for pod in [pod for pod, found in state["pods"].items() if found["phase"] in ("Running", "Pending")]:
        drop_pod(state, pod)
    for counts in state["status"]["replicaStatuses"].values():
        counts.pop("active", None)


def an_ended_jobs_config_is_left_alone(case: Recorded, number: int, state: Obj) -> None:
    """The real operator goes on telling which workers run."""
    config = f"ConfigMap/{case.name}-config"
    if (
        case.version.endswith("/v1")
        and config in state["objects"]
        and (is_true(state, "Failed") or is_true(state, "Succeeded"))
    ):
        state["objects"][config] = case.states()[number - 1]["objects"][config]


def a_failed_job_has_ended(_case: Recorded, _number: int, state: Obj) -> None:
    """Also when an exit code decided, so that its time to live begins."""
    if is_true(state, "Failed") and "completionTime" not in state["status"]["has"]:
        state["status"]["has"].append("completionTime")
        for counts in state["status"]["replicaStatuses"].values():
            counts.pop("selector", None)


def what_still_runs_has_not_succeeded(case: Recorded, _number: int, state: Obj) -> None:
    """The real status counts pods as succeeded that run on; of an MPIJob v2beta1 that ended, it counts none."""
    failed = case.version.endswith("v2beta1") and is_true(state, "Failed")
    if not failed and not is_true(state, "Succeeded"):
        return
    for role, counts in state["status"]["replicaStatuses"].items():
        prefix = f"{case.name}-{role.lower()}-"
        running = sum(p["phase"] == "Running" for n, p in state["pods"].items() if n.startswith(prefix))
        if running and not counts.get("active"):
            left = counts.pop("succeeded", running) - running
            counts.update({"active": running} | ({"succeeded": left} if left else {}))


def a_reason_is_not_said_twice(_case: Recorded, _number: int, state: Obj) -> None:
    """A slip in the operator."""
    for item in (state["status"] or {}).get("conditions", ()):
        item["reason"] = item["reason"].replace("MPIJobMPIJobFailed", "MPIJobFailed")


DIFFERENCES: tuple[Callable[[Recorded, int, Obj], None], ...] = (
    a_deadline_is_kept,
    who_may_be_restarted_is,
    one_that_is_ending_is_no_replica,
    no_accounts_and_no_autoscaler,
    no_init_containers,
    nobody_logs_in,
    the_launcher_waits_for_its_workers,
    open_mpi_5_is_told_of_the_hosts,
    tensorflow_2_is_told_what_it_understands,
    a_scheduler_waits_for_its_workers,
    a_failed_jobs_peers_are_ended,
    an_ended_jobs_config_is_left_alone,
    a_failed_job_has_ended,
    what_still_runs_has_not_succeeded,
    a_reason_is_not_said_twice,
)
"""docs/differences.md has the reasons in full."""

STRICTER = frozenset({"PyTorchJob/elastic-without-workers", "PyTorchJob/pt-no-workers"})
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
    *(  # said twice, too
        (name, "", r"TFJobFailed .* has failed because")
        for name in ("tf-exitcode-1", *(f"tf-clean-{clean}-exitcode" for clean in ("all", "running", "none")))
    ),
    ("tf-pod-deleted", "", r"TFJobFailed"),  # it goes on
    ("tf-resumed-early", "", r"TFJobFailed"),  # the same
    ("mx-resumed-early", "", r"MXJobFailed"),
    ("pt-resumed-early", "", r"PyTorchJobRestarting"),  # nothing failed
    ("mpi-exitcode-137", r"MPIJobRestarting", ""),  # it is restarted
    ("mx-clean", "", r"MXJobSucceeded|SuccessfulDelete"),  # its workers have not ended
)
"""Differences in events."""
