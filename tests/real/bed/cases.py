"""The table of jobs that real and embedded operators are compared on, and what befalls their pods.

A case is a job and a script. Each step of a script is one of

    {"run": ["worker-0", ...]}           these pods run ("*": all that exist)
    {"exit": {"worker-0": 1, ...}}       the job's own container ends with this code, and the pod with it
    {"evict": ["worker-0"]}              the pod fails as a whole, without an exit code
    {"restarts": {"worker-0": 3}}        the container has been restarted in place so many times, and runs
    {"delete": ["worker-0"]}             somebody deletes the pod, which has not ended yet
    {"hold": ["worker-0"]}               the pod takes its time when it is told to end: it is there until ``end``
    {"end": ["worker-0"]}                the deleted pod has ended, and is gone
    {"patch": {...}}                     somebody merges this into the job
    {"wait": 3}                          seconds pass

so that nothing in it depends on who plays it. Cases that are played together wait together; where time matters, a case
has nothing happen to it while others wait.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]
Step = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A job by its kind, name and spec, and its script."""

    kind: str
    name: str
    spec: Spec
    script: tuple[Step, ...]
    version: str = "kubeflow.org/v1"


# Kind -> (field of the replica specs, name of the container that the operator looks for).
FIELDS = {
    "TFJob": ("tfReplicaSpecs", "tensorflow"),
    "PyTorchJob": ("pytorchReplicaSpecs", "pytorch"),
    "MPIJob": ("mpiReplicaSpecs", "mpi"),
    "MXJob": ("mxReplicaSpecs", "mxnet"),
    "XGBoostJob": ("xgbReplicaSpecs", "xgboost"),
    "PaddleJob": ("paddleReplicaSpecs", "paddle"),
}
ALL: Step = {"run": ["*"]}
# No scheduler of this name exists: the pods stay as the script leaves them.
SCHEDULER = "scripted"


def job(kind: str, name: str, roles: dict[str, int], *script: Step, **more: Any) -> Case:
    """A case.

    ``policy`` becomes the run policy, ``restart`` the restart policy of every role, ``container`` is merged into every
    container and ``pod`` into every pod spec; everything else is merged into the job's spec.
    """
    field, container = FIELDS[kind]
    restart = more.pop("restart", None)
    base = {"name": container, "image": "program:1", "command": ["run"]} | more.pop("container", {})
    pod = {"schedulerName": SCHEDULER, "containers": [base, *more.pop("sidecars", ())]}
    metadata = more.pop("template", None)
    replicas: Spec = {}
    for role, count in roles.items():
        template: Spec = {"spec": pod} | ({"metadata": metadata} if metadata else {})
        replicas[role] = {"replicas": count, "template": template} | ({"restartPolicy": restart} if restart else {})
    spec = {field: replicas} | ({"runPolicy": policy} if (policy := more.pop("policy", None)) else {}) | more
    return Case(kind, name, spec, script)


def _tensorflow() -> list[Case]:
    full = {"Chief": 1, "PS": 1, "Worker": 2, "Evaluator": 1}
    workers = {"Worker": 2}
    cases = [
        job("TFJob", "tf-full", full, ALL, {"exit": {"chief-0": 0}}),
        job("TFJob", "tf-chief-only", {"Chief": 1}, ALL, {"exit": {"chief-0": 0}}),
        job("TFJob", "tf-worker-only", {"Worker": 1}, ALL, {"exit": {"worker-0": 0}}),
        job(
            "TFJob", "tf-master", {"Master": 1, "Worker": 1}, ALL, {"exit": {"worker-0": 0}}, {"exit": {"master-0": 0}}
        ),
        job("TFJob", "tf-workers", {"Worker": 3}, ALL, {"exit": {"worker-1": 0}}, {"exit": {"worker-0": 0}}),
        job(
            "TFJob",
            "tf-workers-all",
            workers,
            ALL,
            {"exit": {"worker-0": 0}},
            {"exit": {"worker-1": 0}},
            successPolicy="AllWorkers",
        ),
        job("TFJob", "tf-evaluator", {"Worker": 1, "Evaluator": 1}, ALL, {"exit": {"worker-0": 0}}),
        job("TFJob", "tf-ps", {"PS": 2, "Worker": 2}, ALL, {"exit": {"worker-1": 0}}, {"exit": {"worker-0": 0}}),
        job("TFJob", "tf-dynamic", {"PS": 1, "Worker": 2}, ALL, enableDynamicWorker=True),
        job("TFJob", "tf-partly-running", {"Chief": 1, "Worker": 2}, {"run": ["worker-0"]}, {"run": ["chief-0"]}),
        job("TFJob", "tf-worker-fails", workers, ALL, {"exit": {"worker-1": 1}}, restart="Never"),
        job("TFJob", "tf-chief-fails", {"Chief": 1, "Worker": 1}, ALL, {"exit": {"chief-0": 2}}, restart="Never"),
        job("TFJob", "tf-ps-fails", {"PS": 1, "Worker": 1}, ALL, {"exit": {"ps-0": 1}}, restart="Never"),
        job("TFJob", "tf-evicted-never", workers, ALL, {"evict": ["worker-1"]}, restart="Never"),
        job("TFJob", "tf-evicted-onfailure", workers, ALL, {"evict": ["worker-1"]}, ALL, restart="OnFailure"),
        job("TFJob", "tf-exitcode-1", workers, ALL, {"exit": {"worker-1": 1}}, restart="ExitCode"),
        job(
            "TFJob",
            "tf-exitcode-137",
            workers,
            ALL,
            {"exit": {"worker-1": 137}},
            ALL,
            {"exit": {"worker-0": 0}},
            restart="ExitCode",
        ),
        job("TFJob", "tf-always", workers, ALL, {"restarts": {"worker-1": 1}}, restart="Always"),
        job(
            "TFJob",
            "tf-backoff",
            workers,
            ALL,
            {"restarts": {"worker-1": 1}},
            {"restarts": {"worker-1": 2}},
            restart="OnFailure",
            policy={"backoffLimit": 2},
        ),
        job("TFJob", "tf-suspended", workers, *_suspend_and_resume(), policy={"suspend": True}),
        job(
            "TFJob",
            "tf-time-to-live",
            {"Worker": 1},
            ALL,
            {"wait": 0},
            {"exit": {"worker-0": 0}},
            {"wait": 12},
            policy={"ttlSecondsAfterFinished": 10},
        ),
        job(
            "TFJob",
            "tf-deadline",
            workers,
            ALL,
            {"wait": 20},
            {"restarts": {"worker-1": 1}},
            policy={"activeDeadlineSeconds": 20},
            restart="OnFailure",
        ),
        job("TFJob", "tf-port", workers, container={"ports": [{"name": "tfjob-port", "containerPort": 3333}]}),
        job(
            "TFJob",
            "tf-template",
            workers,
            container={"env": [{"name": "OWN", "value": "1"}], "args": ["--steps", "3"]},
            sidecars=[{"name": "sidecar", "image": "helper:1"}],
            template={"labels": {"team": "a"}, "annotations": {"note": "b"}},
        ),
    ]
    for clean in ("All", "Running", "None"):
        for code in (0, 1):
            name = f"tf-clean-{clean.lower()}-{'succeeded' if code == 0 else 'failed'}"
            ends = {"exit": {"worker-1": 0}}, {"exit": {"chief-0": code}}
            policy = {"cleanPodPolicy": clean}
            cases.append(job("TFJob", name, {"Chief": 1, "Worker": 2}, ALL, *ends, policy=policy, restart="Never"))
    return cases


def _pytorch() -> list[Case]:
    both = {"Master": 1, "Worker": 2}
    elastic = {"minReplicas": 1, "maxReplicas": 3}
    kind = "PyTorchJob"
    cases = [
        job(kind, "pt", both, ALL, {"exit": {"worker-0": 0, "worker-1": 0}}, {"exit": {"master-0": 0}}),
        job(kind, "pt-master-only", {"Master": 1}, ALL, {"exit": {"master-0": 0}}),
        job(kind, "pt-workers-only", {"Worker": 2}, ALL, {"exit": {"worker-0": 0}}, {"exit": {"worker-1": 0}}),
        *(job(kind, f"pt-nproc-{number}", both, nprocPerNode=number) for number in ("2", "auto", "gpu")),
        job(kind, "pt-elastic", {"Worker": 2}, ALL, {"exit": {"worker-1": 0}}, elasticPolicy=elastic),
        job(
            kind,
            "pt-elastic-full",
            {"Worker": 2},
            elasticPolicy=elastic
            | {
                "rdzvBackend": "c10d",
                "rdzvHost": "elsewhere",
                "rdzvPort": 29400,
                "rdzvId": "run-1",
                "rdzvConf": [{"key": "timeout", "value": "60"}, {"key": "join_timeout", "value": "5"}],
                "maxRestarts": 5,
                "nProcPerNode": 4,
            },
        ),
        job(kind, "pt-elastic-standalone", {"Worker": 1}, elasticPolicy={"standalone": True}),
        job(kind, "pt-elastic-master", {"Master": 1, "Worker": 1}, ALL, elasticPolicy=elastic),
        job(kind, "pt-worker-fails", both, ALL, {"exit": {"worker-0": 1}}, restart="Never"),
        job(kind, "pt-master-fails", both, ALL, {"exit": {"master-0": 1}}, restart="Never"),
        job(kind, "pt-onfailure", both, ALL, {"restarts": {"worker-0": 1}}, {"exit": {"master-0": 0}}),
        job(kind, "pt-evicted", both, ALL, {"evict": ["worker-0"]}, ALL),
        job(kind, "pt-exitcode-3", both, ALL, {"exit": {"worker-1": 3}}, restart="ExitCode"),
        job(kind, "pt-exitcode-143", both, ALL, {"exit": {"worker-1": 143}}, ALL, restart="ExitCode"),
        job(kind, "pt-exitcode-master", both, ALL, {"exit": {"master-0": 130}}, ALL, restart="ExitCode"),
        job(kind, "pt-backoff-0", both, ALL, {"restarts": {"master-0": 1}}, policy={"backoffLimit": 0}),
        job(kind, "pt-suspended", both, *_suspend_and_resume(), policy={"suspend": True}),
        job(
            kind,
            "pt-time-to-live",
            {"Master": 1},
            ALL,
            {"wait": 0},
            {"exit": {"master-0": 0}},
            {"wait": 12},
            policy={"ttlSecondsAfterFinished": 10},
        ),
        job(kind, "pt-port", both, container={"ports": [{"name": "pytorchjob-port", "containerPort": 3333}]}),
    ]
    for clean in ("All", "Running", "None"):
        for code in (0, 1):
            name = f"pt-clean-{clean.lower()}-{'succeeded' if code == 0 else 'failed'}"
            ends = {"exit": {"worker-1": 0}}, {"exit": {"master-0": code}}
            cases.append(job(kind, name, both, ALL, *ends, policy={"cleanPodPolicy": clean}, restart="Never"))
    return cases


def _mpi() -> list[Case]:
    both = {"Launcher": 1, "Worker": 2}
    kind, workers = "MPIJob", {"run": ["worker-0", "worker-1"]}
    return [
        job(kind, "mpi", both, workers, ALL, {"exit": {"launcher": 0}}),
        job(kind, "mpi-slots", both, workers, slotsPerWorker=4),
        job(kind, "mpi-launcher-only", {"Launcher": 1}, ALL, {"exit": {"launcher": 0}}),
        job(kind, "mpi-failing", both, workers, ALL, {"exit": {"launcher": 1}}, restart="Never"),
        job(kind, "mpi-worker-fails", both, workers, ALL, {"exit": {"worker-1": 1}}, restart="Never"),
        job(kind, "mpi-evicted", both, workers, ALL, {"evict": ["launcher"]}),
        job(kind, "mpi-clean-running", both, workers, ALL, {"exit": {"launcher": 0}}, cleanPodPolicy="Running"),
        job(kind, "mpi-clean-all", both, workers, ALL, {"exit": {"launcher": 0}}, policy={"cleanPodPolicy": "All"}),
        job(kind, "mpi-suspended", both, *_suspend_and_resume(), policy={"suspend": True}),
    ]


def _mpi_of_second_version() -> list[Case]:
    both = {"Launcher": 1, "Worker": 2}
    workers = {"run": ["worker-0", "worker-1"]}
    done, fails = {"exit": {"launcher": 0}}, {"exit": {"launcher": 1}}

    def case(name: str, *script: Step, roles: dict[str, int] | None = None, **more: Any) -> Case:
        found = job("MPIJob", name, roles or both, *script, **more)
        return dataclasses.replace(found, version="kubeflow.org/v2beta1")

    return [
        case("mpi", workers, ALL, done),
        case("mpi-slots", workers, slotsPerWorker=4),
        case("mpi-launcher-only", ALL, done, roles={"Launcher": 1}),
        case("mpi-as-worker", workers, ALL, done, runLauncherAsWorker=True),
        case("mpi-waits-for-workers", {"run": ["worker-0"]}, workers, launcherCreationPolicy="WaitForWorkersReady"),
        *(case(f"mpi-{name.lower()}", workers, mpiImplementation=name) for name in ("Intel", "MPICH")),
        case("mpi-failing", workers, ALL, fails, policy={"backoffLimit": 0}),
        case("mpi-failing-once", workers, ALL, fails, {"wait": 15}, ALL, done, policy={"backoffLimit": 1}),
        case("mpi-worker-fails", workers, ALL, {"exit": {"worker-1": 1}}),
        case("mpi-worker-evicted", workers, ALL, {"evict": ["worker-1"]}),
        case("mpi-evicted", workers, ALL, {"evict": ["launcher"]}, policy={"backoffLimit": 0}),
        *(
            case(f"mpi-clean-{clean.lower()}", workers, ALL, done, policy={"cleanPodPolicy": clean})
            for clean in ("All", "Running", "None")
        ),
        case("mpi-suspended", *_suspend_and_resume(), policy={"suspend": True}),
        case("mpi-resumed-early", *_resume_early("worker-0", "worker-1")),
        *(
            case(f"mpi-clean-{clean.lower()}-failed", ALL, fails, policy={"cleanPodPolicy": clean, "backoffLimit": 0})
            for clean in ("All", "Running", "None")
        ),
        case("mpi-never", ALL, fails, restart="Never", policy={"backoffLimit": 0}),
        case("mpi-deadline", ALL, {"wait": 20}, {"wait": 0}, policy={"activeDeadlineSeconds": 20}),
        case("mpi-time-to-live", ALL, {"wait": 0}, done, {"wait": 12}, policy={"ttlSecondsAfterFinished": 10}),
    ]


def _others() -> list[Case]:
    mxnet = {"Scheduler": 1, "Server": 1, "Worker": 2}
    boost, paddle = {"Master": 1, "Worker": 2}, {"Master": 1, "Worker": 1}
    done = {"exit": {"worker-0": 0, "worker-1": 0}}
    train = {"jobMode": "MXTrain"}
    return [
        job("MXJob", "mx", mxnet, ALL, done, {"exit": {"scheduler-0": 0}}, **train),
        job("MXJob", "mx-worker-only", {"Worker": 1}, ALL, {"exit": {"worker-0": 0}}, **train),
        job("MXJob", "mx-worker-fails", mxnet, ALL, {"exit": {"worker-1": 1}}, restart="Never", **train),
        job("MXJob", "mx-exitcode-137", mxnet, ALL, {"exit": {"server-0": 137}}, ALL, restart="ExitCode", **train),
        job("MXJob", "mx-clean", mxnet, ALL, {"exit": {"scheduler-0": 0}}, policy={"cleanPodPolicy": "All"}, **train),
        job("MXJob", "mx-suspended", mxnet, *_suspend_and_resume(), policy={"suspend": True}, **train),
        job("XGBoostJob", "xgb", boost, ALL, done, {"exit": {"master-0": 0}}),
        job("XGBoostJob", "xgb-worker-fails", boost, ALL, {"exit": {"worker-1": 1}}, restart="Never"),
        job("XGBoostJob", "xgb-exitcode-137", boost, ALL, {"exit": {"worker-1": 137}}, ALL, restart="ExitCode"),
        job("XGBoostJob", "xgb-clean", boost, ALL, {"exit": {"master-0": 0}}, policy={"cleanPodPolicy": "Running"}),
        job("PaddleJob", "pd", paddle, ALL, {"exit": {"worker-0": 0}}, {"exit": {"master-0": 0}}),
        job("PaddleJob", "pd-workers-only", {"Worker": 2}, ALL, {"exit": {"worker-0": 0}}, {"exit": {"worker-1": 0}}),
        job("PaddleJob", "pd-worker-fails", paddle, ALL, {"exit": {"worker-0": 1}}, restart="Never"),
    ]


def _more_shapes() -> list[Case]:
    """Roles alone, elastic jobs that fail or change their size, roles whose pods are restarted in each way."""
    elastic = {"minReplicas": 1, "maxReplicas": 3}
    pytorch, both = "PyTorchJob", {"Master": 1, "Worker": 2}

    def sized(number: int) -> Step:
        return {"patch": {"spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": number}}}}}

    train = {"jobMode": "MXTrain"}
    mpi = {"Launcher": 1, "Worker": 2}
    return [
        job("TFJob", "tf-evaluator-only", {"Evaluator": 1}, ALL, {"exit": {"evaluator-0": 0}}),
        job(
            "TFJob",
            "tf-evaluator-fails",
            {"Chief": 1, "Evaluator": 1},
            ALL,
            {"exit": {"evaluator-0": 1}},
            restart="Never",
        ),
        job("TFJob", "tf-pod-deleted", {"Worker": 2}, ALL, {"delete": ["worker-1"]}, {"end": ["worker-1"]}, ALL),
        job(pytorch, "pt-workers-only-fails", {"Worker": 2}, ALL, {"exit": {"worker-1": 1}}, restart="Never"),
        job(
            pytorch, "pt-always", both, ALL, {"restarts": {"worker-0": 1}}, {"exit": {"master-0": 0}}, restart="Always"
        ),
        job(
            pytorch,
            "pt-elastic-fails",
            {"Worker": 2},
            ALL,
            {"exit": {"worker-1": 1}},
            elasticPolicy=elastic,
            restart="Never",
        ),
        job(
            pytorch,
            "pt-elastic-exitcode-137",
            {"Worker": 2},
            ALL,
            {"exit": {"worker-1": 137}},
            ALL,
            elasticPolicy=elastic,
            restart="ExitCode",
        ),
        job(pytorch, "pt-elastic-sized", {"Worker": 2}, ALL, sized(3), ALL, sized(1), elasticPolicy=elastic),
        job("MXJob", "mx-scheduler-only", {"Scheduler": 1}, ALL, {"exit": {"scheduler-0": 0}}, **train),
        job(
            "MXJob",
            "mx-exitcode-1",
            {"Scheduler": 1, "Server": 1, "Worker": 2},
            ALL,
            {"exit": {"worker-0": 1}},
            restart="ExitCode",
            **train,
        ),
        job("MPIJob", "mpi-no-workers", {"Launcher": 1, "Worker": 0}, ALL, {"exit": {"launcher": 0}}),
        job("MPIJob", "mpi-exitcode-1", mpi, ALL, {"exit": {"launcher": 1}}, restart="ExitCode"),
        job("MPIJob", "mpi-exitcode-137", mpi, ALL, {"exit": {"worker-1": 137}}, ALL, restart="ExitCode"),
    ]


def _clean_up() -> list[Case]:
    """cleanPodPolicy by how the job ends, beyond TFJob and PyTorchJob with restart policy Never."""
    cases = []
    done = {"exit": {"worker-0": 0, "worker-1": 0}}
    for clean in ("All", "Running", "None"):
        policy, word = {"cleanPodPolicy": clean}, clean.lower()
        for kind, prefix, roles in (
            ("TFJob", "tf", {"Chief": 1, "Worker": 2}),
            ("PyTorchJob", "pt", {"Master": 1, "Worker": 2}),
        ):
            name = f"{prefix}-clean-{word}"
            ends = {"exit": {"worker-1": 1}}
            cases.append(job(kind, f"{name}-exitcode", roles, ALL, ends, policy=policy, restart="ExitCode"))
            leader = "chief-0" if kind == "TFJob" else "master-0"
            ends = {"exit": {leader: 0}}
            cases.append(job(kind, f"{name}-onfailure", roles, ALL, done, ends, policy=policy, restart="OnFailure"))
        mxnet, train = {"Scheduler": 1, "Server": 1, "Worker": 2}, {"jobMode": "MXTrain"}
        ends = {"exit": {"scheduler-0": 0}}
        cases.append(job("MXJob", f"mx-clean-{word}-succeeded", mxnet, ALL, done, ends, policy=policy, **train))
        ends = {"exit": {"worker-1": 1}}
        cases.append(job("MXJob", f"mx-clean-{word}-failed", mxnet, ALL, ends, policy=policy, restart="Never", **train))
        for code, end in ((0, "succeeded"), (1, "failed")):
            ends = {"exit": {"launcher": code}}
            roles = {"Launcher": 1, "Worker": 2}
            cases.append(job("MPIJob", f"mpi-clean-{word}-{end}", roles, ALL, ends, policy=policy, restart="Never"))
    return cases


def _over_time() -> list[Case]:
    """Deadlines and times to live. All wait in the same steps: what waits in another one would be late."""
    train = {"jobMode": "MXTrain"}
    master = {"Master": 1, "Worker": 1}
    mpi, mxnet = {"Launcher": 1, "Worker": 1}, {"Scheduler": 1, "Server": 1, "Worker": 1}
    cases = []
    for kind, name, roles, leader, more in (
        ("PyTorchJob", "pt", master, "master-0", {}),
        ("MPIJob", "mpi", mpi, "launcher", {}),
        ("MXJob", "mx", mxnet, "scheduler-0", train),
    ):
        late = ALL, {"wait": 20}, {"restarts": {leader: 1}}
        policy: Spec = {"activeDeadlineSeconds": 20}
        cases.append(job(kind, f"{name}-deadline", roles, *late, policy=policy, restart="OnFailure", **more))
    for kind, name, roles, ends, more in (
        ("MPIJob", "mpi", mpi, {"launcher": 0}, {}),
        ("MXJob", "mx", {"Worker": 1}, {"worker-0": 0}, train),
    ):
        short = ALL, {"wait": 0}, {"exit": ends}, {"wait": 12}
        cases.append(job(kind, f"{name}-time-to-live", roles, *short, policy={"ttlSecondsAfterFinished": 10}, **more))
    return cases


RESUME, SUSPEND = ({"patch": {"spec": {"runPolicy": {"suspend": value}}}} for value in (False, True))


def _suspend_and_resume() -> tuple[Step, ...]:
    return {"wait": 0}, RESUME, ALL, SUSPEND


def _resume_early(*pods: str) -> tuple[Step, ...]:
    """Resumed while the pods that were put aside are still ending."""
    return ALL, {"hold": [*pods]}, SUSPEND, RESUME, {"end": [*pods]}, ALL


def _resumed_early() -> list[Case]:
    """Of one role each: which of several is told of is the order of a map."""
    return [
        job("TFJob", "tf-resumed-early", {"Worker": 2}, *_resume_early("worker-0", "worker-1")),
        job("PyTorchJob", "pt-resumed-early", {"Master": 1}, *_resume_early("master-0")),
        job("MXJob", "mx-resumed-early", {"Worker": 1}, *_resume_early("worker-0"), jobMode="MXTrain"),
    ]


CASES = (
    *_tensorflow(),
    *_pytorch(),
    *_mpi(),
    *_others(),
    *_more_shapes(),
    *_clean_up(),
    *_over_time(),
    *_resumed_early(),
)
MPI_CASES = tuple(_mpi_of_second_version())

# A role of 0 replicas, written out: the real operator makes its pod 0, deletes it as one too many, and begins again, as
# fast as it can. They are only seen to do so, since they never come to rest.
RESTLESS = (
    job("TFJob", "tf-no-workers", {"Chief": 1, "Worker": 0}),
    job("PyTorchJob", "pt-no-workers", {"Master": 1, "Worker": 0}),
    job("MXJob", "mx-no-workers", {"Scheduler": 1, "Server": 0, "Worker": 1}, jobMode="MXTrain"),
)

# Jobs that are refused before anything is made of them; the words of the refusal are recorded.
REFUSED = (
    job("TFJob", "no-container", {"Worker": 1}, container={"name": "main"}),
    job("TFJob", "two-chiefs", {"Chief": 2}),
    job("TFJob", "chief-and-master", {"Chief": 1, "Master": 1}),
    job("TFJob", "unknown-role", {"Launcher": 1}),
    job("TFJob", "Capital", {"Worker": 1}),
    job("PyTorchJob", "no-image", {"Master": 1}, container={"image": ""}),
    job("PyTorchJob", "two-masters", {"Master": 2}),
    job("PyTorchJob", "unknown-role", {"Chief": 1}),
    job("PyTorchJob", "nproc-twice", {"Worker": 1}, nprocPerNode="2", elasticPolicy={"nProcPerNode": 2}),
    job("PyTorchJob", "elastic-without-workers", {"Master": 1}, elasticPolicy={"minReplicas": 1}),
    job("PyTorchJob", "odd-policy", {"Master": 1}, restart="Sometimes"),
    job("PyTorchJob", "unknown-field", {"Master": 1}, nprocsPerNode="2"),
    job("MXJob", "two-schedulers", {"Scheduler": 2}, jobMode="MXTrain"),
    job("XGBoostJob", "no-master", {"Worker": 1}),
    job("XGBoostJob", "two-masters", {"Master": 2}),
    job("PaddleJob", "unknown-role", {"Chief": 1}),
    job("MPIJob", "two-launchers", {"Launcher": 2, "Worker": 1}),
    job("MPIJob", "no-launcher", {"Worker": 1}),
)
