"""Schemas of the training kinds, written out by hand: training-operator 1.8.1, mpi-operator 0.6, chainer-operator.

They say what the real CustomResourceDefinitions accept: the same fields, types, required fields, enumerations and
defaults. Pod specs refer to the core component instead of repeating it. Rules beyond the schema (which replica types
exist, container names) belong to the controllers, as in the real operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

Schema = dict[str, Any]

_REF: Final = "#/components/schemas/"
_STRING: Final = {"type": "string"}


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _int32(description: str, **more: Any) -> Schema:
    return {"type": "integer", "format": "int32", "description": description, **more}


def _int64(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": description}


def _flag(description: str, **more: Any) -> Schema:
    return {"type": "boolean", "description": description, **more}


def _time(description: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": description}


def _list(description: str, items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, "description": description, **more}


def _map(description: str, values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values, "description": description}


def _object(description: str, properties: Schema, *required: str) -> Schema:
    out: Schema = {"type": "object", "description": description, "properties": properties}
    if required:
        out["required"] = list(required)
    return out


def _ref(component: str, description: str) -> Schema:
    return {"allOf": [{"$ref": _REF + component}], "description": description}


def _template() -> Schema:
    metadata = _object(
        "Metadata of the replica's pods; only these fields are kept.",
        {
            "annotations": _map("Annotations of the pods.", _STRING),
            "finalizers": _list("Finalizers of the pods.", _STRING),
            "labels": _map("Labels of the pods.", _STRING),
            "name": _text("Ignored: pods are named after the job, the replica type and the index."),
            "namespace": _text("Ignored: pods live in the job's namespace."),
        },
    )
    spec = _ref("io.k8s.api.core.v1.PodSpec", "Specification of the replica's pods.")
    return _object("The pod that each replica of this type runs.", {"metadata": metadata, "spec": spec})


def _replica_specs(description: str) -> Schema:
    replica = _object(
        "One type of replica: how many, from which pod template, and when they are restarted.",
        {
            "replicas": _int32("Number of replicas of this type. Defaults to 1."),
            "restartPolicy": _text("When replicas are restarted: Always, OnFailure, Never or ExitCode."),
            "template": _template(),
        },
    )
    return _map(description, replica)


def _clean_pod_policy() -> Schema:
    return _text("Which pods are deleted when the job is finished: All, Running or None.")


def _scheduling_policy(queue: Schema) -> Schema:
    return _object(
        "Options for gang scheduling.",
        {
            "minAvailable": _int32("Number of pods that must be schedulable together."),
            "minResources": _map(
                "Resources that must be free before any pod starts.",
                {"$ref": _REF + "io.k8s.apimachinery.pkg.api.resource.Quantity"},
            ),
            "priorityClass": _text("Priority class of the pod group."),
            "queue": queue,
            "scheduleTimeoutSeconds": _int32("Seconds that the pod group may wait."),
        },
    )


def _run_policy(*, managed_by: bool = False, immutable_queue: bool = False) -> Schema:
    queue = _text("Queue of the pod group.")
    if immutable_queue:
        queue["x-kubernetes-validations"] = [
            {"rule": "self == oldSelf", "message": "spec.runPolicy.schedulingPolicy.queue is immutable"}
        ]
    properties = {
        "activeDeadlineSeconds": _int64("Seconds that the job may be active before it is ended as failed."),
        "backoffLimit": _int32("Number of retries before the job is marked as failed."),
        "cleanPodPolicy": _clean_pod_policy(),
        "schedulingPolicy": _scheduling_policy(queue),
        "suspend": _flag("A suspended job has no pods; its start time is set anew when it resumes.", default=False),
        "ttlSecondsAfterFinished": _int32("Seconds after which a finished job is deleted."),
    }
    if managed_by:
        properties["managedBy"] = _text("The controller that looks after this job.")
    return _object("Policies of the whole run: clean-up, limits, suspension, gang scheduling.", properties)


def _label_selector() -> Schema:
    return _ref("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector", "Superseded by selector.")


def _status(*, conditions: Schema | None = None, condition_status: Schema | None = None) -> Schema:
    condition = _object(
        "One observation about the job.",
        {
            "lastTransitionTime": _time("When the condition's status last changed."),
            "lastUpdateTime": _time("When the condition was last written."),
            "message": _text("For people."),
            "reason": _text("For programs, in CamelCase."),
            "status": condition_status or _text("True, False or Unknown."),
            "type": _text("Created, Running, Restarting, Suspended, Succeeded or Failed."),
        },
        "status",
        "type",
    )
    replica = _object(
        "Pods of one replica type by state.",
        {
            "active": _int32("Pods that are running."),
            "failed": _int32("Pods that failed."),
            "labelSelector": _label_selector(),
            "selector": _text("Label selector of the pods, as text."),
            "succeeded": _int32("Pods that succeeded."),
        },
    )
    return _object(
        "What was last observed of the job. Written by the system.",
        {
            "completionTime": _time("When the job finished."),
            "conditions": _list("The job's conditions, oldest first.", condition, **(conditions or {})),
            "lastReconcileTime": _time("When the job was last looked at."),
            "replicaStatuses": _map("Replica type to the state of its pods.", replica),
            "startTime": _time("When the job was first acted upon, or resumed."),
        },
    )


def _kind(description: str, spec: Schema, status: Schema, **more: Any) -> Schema:
    properties = {
        "apiVersion": _text("The version of the schema that this object is written in."),
        "kind": _text("The REST resource that this object represents."),
        "metadata": {"type": "object"},
        "spec": spec,
        "status": status,
    }
    return {**_object(description, properties), **more}


def _tf_job() -> Schema:
    spec = {
        "enableDynamicWorker": _flag("Lets the number of workers change while the job runs."),
        "runPolicy": _run_policy(immutable_queue=True),
        "successPolicy": _text(
            "Empty: worker 0 decides when there is no chief. AllWorkers: every worker must succeed."
        ),
        "tfReplicaSpecs": _replica_specs("Replica type (Chief, Master, PS, Worker, Evaluator) to its specification."),
    }
    return _kind(
        "A distributed TensorFlow run.", _object("What the run consists of.", spec, "tfReplicaSpecs"), _status()
    )


def _elastic_policy() -> Schema:
    metric = {"$ref": _REF + "io.k8s.api.autoscaling.v2.MetricSpec"}
    pair = _object("One setting.", {"key": _text("Name."), "value": _text("Value.")})
    return _object(
        "Elastic training: torchrun's rendezvous and the limits between which workers may come and go.",
        {
            "maxReplicas": _int32("Upper limit of workers."),
            "maxRestarts": _int32("Restarts of the worker group before the run fails."),
            "metrics": _list("Metrics for autoscaling of the workers.", metric),
            "minReplicas": _int32("Lower limit of workers."),
            "nProcPerNode": _int32("Superseded by spec.nprocPerNode."),
            "rdzvBackend": _text("Rendezvous backend, such as c10d."),
            "rdzvConf": _list("Settings of the rendezvous backend.", pair),
            "rdzvHost": _text("Host of the rendezvous."),
            "rdzvId": _text("Identity of the rendezvous."),
            "rdzvPort": _int32("Port of the rendezvous."),
            "standalone": _flag("Starts a local rendezvous; for a single replica."),
        },
    )


def _pytorch_job() -> Schema:
    spec = {
        "elasticPolicy": _elastic_policy(),
        "nprocPerNode": _text("Processes per node: auto, cpu, gpu or a number."),
        "pytorchReplicaSpecs": _replica_specs("Replica type (Master, Worker) to its specification."),
        "runPolicy": _run_policy(immutable_queue=True),
    }
    return _kind(
        "A distributed PyTorch run.", _object("What the run consists of.", spec, "pytorchReplicaSpecs"), _status()
    )


def _mx_job() -> Schema:
    spec = {
        "jobMode": _text("MXTrain or MXTune."),
        "mxReplicaSpecs": _replica_specs("Replica type (Scheduler, Server, Worker, Tuner...) to its specification."),
        "runPolicy": _run_policy(immutable_queue=True),
    }
    return _kind(
        "A distributed MXNet run.", _object("What the run consists of.", spec, "jobMode", "mxReplicaSpecs"), _status()
    )


def _mpi_job() -> Schema:
    spec = {
        "cleanPodPolicy": _clean_pod_policy(),
        "mainContainer": _text("Name of the container that runs the MPI program."),
        "mpiReplicaSpecs": _replica_specs("Replica type (Launcher, Worker) to its specification."),
        "runPolicy": _run_policy(immutable_queue=True),
        "slotsPerWorker": _int32("Processes per worker. Defaults to 1."),
    }
    return _kind("A distributed MPI run.", _object("What the run consists of.", spec, "mpiReplicaSpecs"), _status())


def _mpi_job_v2() -> Schema:
    spec = {
        "launcherCreationPolicy": _text(
            "When the launcher is created: AtStartup or WaitForWorkersReady.", default="AtStartup"
        ),
        "mpiImplementation": _text("The MPI implementation.", default="OpenMPI", enum=["OpenMPI", "Intel", "MPICH"]),
        "mpiReplicaSpecs": _replica_specs("Replica type (Launcher, Worker) to its specification."),
        "runLauncherAsWorker": _flag("The launcher works too: it is added to the host file.", default=False),
        "runPolicy": _run_policy(managed_by=True),
        "slotsPerWorker": _int32("Processes per worker.", default=1),
        "sshAuthMountPath": _text("Where the SSH keys are mounted.", default="/root/.ssh"),
    }
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    status = _status(
        conditions=keyed,
        condition_status=_text("True, False or Unknown.", enum=["True", "False", "Unknown"]),
    )
    return _kind("A distributed MPI run.", _object("What the run consists of.", spec, "mpiReplicaSpecs"), status)


def _chainer_job() -> Schema:
    template = _ref("io.k8s.api.core.v1.PodTemplateSpec", "The pod that each replica runs.")
    mpi = _object("How processes are laid out.", {"slots": _int32("Processes per replica.")})
    master = _object(
        "The replica that starts the program.",
        {
            "activeDeadlineSeconds": _int64("Seconds that the master may run."),
            "backoffLimit": _int32("Retries of the master."),
            "mpiConfig": mpi,
            "template": template,
        },
    )
    worker_set = _object(
        "A set of equal workers.",
        {"mpiConfig": mpi, "replicas": _int32("Number of workers in the set."), "template": template},
    )
    spec = _object(
        "What the run consists of.",
        {
            "backend": _text("The communication backend; only mpi exists."),
            "master": master,
            "workerSets": _map("Name to a set of workers.", worker_set),
        },
    )
    # The real definition has no schema: whatever else is written is kept.
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    preserve = {"x-kubernetes-preserve-unknown-fields": True}
    return _kind("A distributed Chainer run.", {**spec, **preserve}, status, **preserve)


def _once(build: Callable[[], Schema]) -> Callable[[], Schema]:
    return lru_cache(maxsize=1)(build)


SCHEMAS: Final[Mapping[tuple[str, str], Callable[[], Schema]]] = {
    ("kubeflow.org/v1", "TFJob"): _once(_tf_job),
    ("kubeflow.org/v1", "PyTorchJob"): _once(_pytorch_job),
    ("kubeflow.org/v1", "MXJob"): _once(_mx_job),
    ("kubeflow.org/v1", "MPIJob"): _once(_mpi_job),
    ("kubeflow.org/v2beta1", "MPIJob"): _once(_mpi_job_v2),
    ("kubeflow.org/v1alpha1", "ChainerJob"): _once(_chainer_job),
}

_STATE: Final = {"name": "State", "type": "string", "jsonPath": ".status.conditions[-1:].type"}
_AGE: Final = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}

COLUMNS: Final[Mapping[tuple[str, str], list[Schema]]] = {
    ("kubeflow.org/v1", "TFJob"): [_STATE, _AGE],
    ("kubeflow.org/v1", "PyTorchJob"): [_STATE, _AGE],
    ("kubeflow.org/v1", "MXJob"): [_STATE, _AGE],
    ("kubeflow.org/v1", "MPIJob"): [_AGE, _STATE],
}
"""``additionalPrinterColumns`` of the real definitions; the other kinds have none and show NAME and AGE."""

SCALE_PATHS: Final[Mapping[tuple[str, str], Schema]] = {
    ("kubeflow.org/v1", "PyTorchJob"): {
        "specReplicasPath": ".spec.pytorchReplicaSpecs.Worker.replicas",
        "statusReplicasPath": ".status.replicaStatuses.Worker.active",
        "labelSelectorPath": ".status.replicaStatuses.Worker.selector",
    },
}
"""``subresources.scale`` of the real definitions."""
