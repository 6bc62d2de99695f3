"""What the API server refuses in a training job, and that nothing is left behind of what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from registries import begun

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.registry import APPLY_PATCH, MERGE_PATCH, Registry, WriteOptions
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

WRITE = WriteOptions(manager="test")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = begun(tmp_path)
    yield Registry(store)
    store.close()


def role(container: str, replicas: Any = 1) -> Obj:
    return {"replicas": replicas, "template": {"spec": {"containers": [{"name": container, "image": "x"}]}}}


def job(kind: Kind, **spec: Any) -> Obj:
    metadata = {"name": "j", "namespace": "default"}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


BAD: list[tuple[Kind, Obj, int, str, str]] = [
    (
        kinds.TF_JOB,
        {"tfReplicaSpecs": {"Worker": role("tensorflo")}},
        403,
        (
            'admission webhook "validator.tfjob.training-operator.kubeflow.org" denied the request: spec.tfReplicaSpecs'
            "[Worker].template.spec.containers: Required value: must have at least one container with name tensorflow"
        ),
        "",
    ),
    (
        kinds.PYTORCH_JOB,
        {"pytorchReplicaSpecs": {"Master": role("pytorch", 2)}},
        403,
        (
            'admission webhook "validator.pytorchjob.training-operator.kubeflow.org" denied the request: '
            "spec.pytorchReplicaSpecs[Master].replicas: Forbidden: must be 1"
        ),
        "",
    ),
    (
        kinds.MX_JOB,
        {"jobMode": "MXTrain", "mxReplicaSpecs": {"Worker": role("mx")}},
        422,
        (
            'MXJob.kubeflow.org "j" is invalid: spec.mxReplicaSpecs[Worker].template.spec.containers: Required value: '
            "must have at least one container with name mxnet"
        ),
        "spec.mxReplicaSpecs[Worker].template.spec.containers",
    ),
    (
        kinds.MPI_JOB,
        {"mpiReplicaSpecs": {"Worker": role("mpi")}},
        422,
        (
            'MPIJob.kubeflow.org "j" is invalid: spec.mpiReplicaSpecs: Invalid value: MPIReplicaSpec is not valid: '
            "Master ReplicaSpec must be present"
        ),
        "spec.mpiReplicaSpecs",
    ),
    (
        kinds.MPI_JOB_V2,
        {"mpiReplicaSpecs": {"Launcher": role("mpi"), "Worker": role("mpi", 0)}},
        422,
        (
            'MPIJob.kubeflow.org "j" is invalid: spec.mpiReplicaSpecs[Worker].replicas: Invalid value: 0: must be '
            "greater than or equal to 1"
        ),
        "spec.mpiReplicaSpecs[Worker].replicas",
    ),
    (
        kinds.CHAINER_JOB,
        {"backend": "nccl", "master": role("chainer")},
        422,
        'ChainerJob.kubeflow.org "j" is invalid: spec.backend: Unsupported value: "nccl": supported values: "mpi"',
        "spec.backend",
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: f"{case[0].plural}-{case[0].version}")
def test_a_job_of_the_wrong_shape_is_refused(registry: Registry, case: tuple[Kind, Obj, int, str, str]) -> None:
    kind, spec, code, message, field = case
    obj = job(kind, **spec)
    ways: tuple[Callable[[], Obj], ...] = (
        lambda: registry.create(kind, obj, options=WRITE),
        lambda: registry.create(kind, obj, options=WriteOptions(manager="test", dry_run=True)),
        lambda: registry.patch(kind, "default", "j", obj, APPLY_PATCH, options=WRITE),
    )
    for write in ways:
        with pytest.raises(ApiError) as caught:
            write()
        assert (caught.value.code, caught.value.message) == (code, message)
        assert [cause["field"] for cause in caught.value.details.get("causes", ())] == ([field] if field else [])
    assert registry.list(kind) == []


def test_a_schema_is_asked_before_a_webhook(registry: Registry) -> None:
    obj = job(kinds.TF_JOB, tfReplicaSpecs={"Worker": role("tensorflow", "two")})
    with pytest.raises(ApiError) as caught:
        registry.create(kinds.TF_JOB, obj, options=WRITE)
    assert caught.value.code == 422
    assert "spec.tfReplicaSpecs.Worker.replicas in body must be of type integer" in caught.value.message


def test_a_change_is_reviewed_and_a_status_is_not(registry: Registry) -> None:
    kind = kinds.PYTORCH_JOB
    registry.create(kind, job(kind, pytorchReplicaSpecs={"Worker": role("pytorch")}), options=WRITE)
    for body, subresource in (
        ({"spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": 0}}}}, ""),
        ({"spec": {"replicas": 0}}, "scale"),
    ):
        with pytest.raises(ApiError, match="must be at least 1") as caught:
            registry.patch(kind, "default", "j", body, MERGE_PATCH, subresource=subresource, options=WRITE)
        assert caught.value.code == 403
    status = {"status": {"conditions": [{"type": "Created", "status": "True"}]}}
    registry.patch(kind, "default", "j", status, MERGE_PATCH, subresource="status", options=WRITE)
    assert registry.get(kind, "default", "j")["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 1


def test_what_an_older_version_stored_may_still_be_labelled_and_deleted(registry: Registry) -> None:
    kind = kinds.TF_JOB
    stored = registry.create(kind, job(kind, tfReplicaSpecs={"Worker": role("tensorflow")}), options=WRITE)
    metadata = {**stored["metadata"], "finalizers": ["example.com/hold"]}
    registry.store.put(kind, {**stored, "metadata": metadata, "spec": {"tfReplicaSpecs": {"Worker": role("x")}}})
    registry.patch(kind, "default", "j", {"metadata": {"labels": {"a": "b"}}}, MERGE_PATCH, options=WRITE)
    registry.delete(kind, "default", "j")
    registry.patch(kind, "default", "j", {"metadata": {"finalizers": None}}, MERGE_PATCH, options=WRITE)
    assert registry.list(kind) == []


def test_a_job_is_reviewed_by_the_rules_of_the_version_that_it_was_made_in(registry: Registry) -> None:
    """MPIJob v1 runs without workers, v2beta1 does not."""
    registry.create(kinds.MPI_JOB, job(kinds.MPI_JOB, mpiReplicaSpecs={"Launcher": role("mpi")}), options=WRITE)
    patch = {"spec": {"slotsPerWorker": 2}}
    changed = registry.patch(kinds.MPI_JOB_V2, "default", "j", patch, MERGE_PATCH, options=WRITE)
    assert changed["spec"]["slotsPerWorker"] == 2
