from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes.client import models

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import defaults, jsonpath, openapi, schemas, tables, typed, validation
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

WORKER = {"restartPolicy": "Never", "template": {"spec": {"containers": [{"name": "tensorflow", "image": "x"}]}}}
TF_JOB = {
    "apiVersion": "kubeflow.org/v1",
    "kind": "TFJob",
    "metadata": {"name": "t"},
    "spec": {"runPolicy": {}, "tfReplicaSpecs": {"Worker": WORKER}},
}


def names(model: type[Any]) -> set[str]:
    return set(model.attribute_map.values())


@pytest.mark.parametrize(
    ("component", "model"),
    [
        ("core.v1.Pod", models.V1Pod),
        ("core.v1.PodSpec", models.V1PodSpec),
        ("core.v1.Container", models.V1Container),
        ("core.v1.Volume", models.V1Volume),
        ("core.v1.ServiceSpec", models.V1ServiceSpec),
        ("core.v1.NodeStatus", models.V1NodeStatus),
        ("core.v1.PersistentVolumeClaimSpec", models.V1PersistentVolumeClaimSpec),
        ("core.v1.Event", models.CoreV1Event),
        ("apps.v1.DeploymentSpec", models.V1DeploymentSpec),
        ("apps.v1.ReplicaSetStatus", models.V1ReplicaSetStatus),
        ("batch.v1.JobSpec", models.V1JobSpec),
        ("coordination.v1.LeaseSpec", models.V1LeaseSpec),
        ("discovery.v1.EndpointSlice", models.V1EndpointSlice),
        ("autoscaling.v1.Scale", models.V1Scale),
        ("authorization.v1.SelfSubjectAccessReview", models.V1SelfSubjectAccessReview),
    ],
)
def test_the_python_client_knows_every_field(component: str, model: type[Any]) -> None:
    found = schemas.components()[f"io.k8s.api.{component}"]["properties"]
    assert set(found) <= names(model)  # the client may be of a newer Kubernetes


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda k: f"{k.kind}-{k.version}")
def test_every_kind_has_a_schema(kind: Kind) -> None:
    found = schemas.schema(kind)
    assert found is not None
    assert found["description"]
    assert {"apiVersion", "kind", "metadata"} <= typed.of(kind).fields.keys()


def test_no_component_refers_to_a_missing_one() -> None:
    text = json.dumps([dict(schemas.components()), [schemas.schema(kind) for kind in kinds.TRAINING]])
    used = {part.split('"')[0] for part in text.split(schemas.PREFIX)[1:]}
    assert used <= set(schemas.components())


def test_list_types_and_merge_keys() -> None:
    spec = typed.of(kinds.POD).fields["spec"]
    container = spec.fields["containers"].items
    assert spec.fields["containers"].keys == ("name",)
    assert container.fields["ports"].keys == ("containerPort", "protocol")
    assert container.fields["ports"].key_defaults == {"protocol": "TCP"}
    assert container.fields["command"].atomic
    assert container.fields["volumeMounts"].merge_key == "mountPath"
    assert typed.of(kinds.POD).fields["metadata"].fields["finalizers"].is_set
    assert typed.of(kinds.DEPLOYMENT).fields["spec"].fields["selector"].atomic
    assert typed.of(kinds.TF_JOB).fields["spec"].fields["tfReplicaSpecs"].items.fields["template"].closed


def test_custom_kinds_are_pruned_and_defaulted() -> None:
    job: Obj = json.loads(json.dumps(TF_JOB))
    job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 1}]
    job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["metadata"] = {"labels": {"a": "b"}, "uid": "x"}
    job["spec"]["nope"] = 1
    assert validation.unknown_fields(kinds.TF_JOB, job) == [
        'unknown field "spec.tfReplicaSpecs.Worker.template.metadata.uid"',
        'unknown field "spec.nope"',
    ]
    done = defaults.default(kinds.TF_JOB, validation.prune(kinds.TF_JOB, job))
    worker = done["spec"]["tfReplicaSpecs"]["Worker"]
    assert "nope" not in done["spec"]
    assert worker["template"]["metadata"] == {"labels": {"a": "b"}}
    assert worker["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 1, "protocol": "TCP"}]
    assert done["spec"]["runPolicy"] == {"suspend": False}
    assert validation.validate(kinds.TF_JOB, done) == []


def test_defaults_of_mpi_jobs() -> None:
    job = {"spec": {"mpiReplicaSpecs": {}}, "metadata": {"name": "m"}}
    done = defaults.default(kinds.MPI_JOB_V2, job)["spec"]
    assert done["slotsPerWorker"] == 1
    assert done["sshAuthMountPath"] == "/root/.ssh"
    assert done["mpiImplementation"] == "OpenMPI"
    assert "runPolicy" not in done


def test_chainer_jobs_keep_what_they_do_not_know() -> None:
    job = {"metadata": {"name": "c"}, "spec": {"backend": "mpi", "more": {"x": [1]}}, "status": {"state": "Running"}}
    assert validation.unknown_fields(kinds.CHAINER_JOB, job) == []
    assert validation.prune(kinds.CHAINER_JOB, job) == job


def test_a_structural_schema_is_checked() -> None:
    properties = {
        "size": {"type": "integer", "minimum": 1, "maximum": 5},
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
        "mode": {"type": "string", "enum": ["A", "B"]},
        "tags": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
        "port": {"x-kubernetes-int-or-string": True},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "maybe": {"type": "string", "nullable": True},
    }
    spec = {"type": "object", "required": ["mode"], "properties": properties}
    schema = {"type": "object", "properties": {"spec": spec}}
    crd = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}
    kind = Kind("example.com", "v1", "Thing", "things", custom=True)

    def causes(**given: Any) -> list[tuple[str, str, str]]:
        found = validation.validate(kind, {"metadata": {"name": "t"}, "spec": given}, crd=crd)
        return [tuple(cause) for cause in found]  # type: ignore[misc]

    assert causes(mode="A", size=5, name="abc", tags=["x"], port="http", open={"x": 1}, maybe=None) == []
    assert causes() == [("spec.mode", "FieldValueRequired", "Required value")]
    assert causes(mode="C") == [
        ("spec.mode", "FieldValueNotSupported", 'Unsupported value: "C": supported values: "A", "B"')
    ]
    assert causes(mode="A", size=9, name="A") == [
        ("spec.size", "FieldValueInvalid", "Invalid value: 9: spec.size in body should be less than or equal to 5"),
        ("spec.name", "FieldValueInvalid", "Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"),
    ]
    assert causes(mode="A", tags=["x", 1]) == [
        ("spec.tags", "FieldValueTooMany", "Too many: 2: must have at most 1 items"),
        (
            "spec.tags[1]",
            "FieldValueTypeInvalid",
            'Invalid value: "integer": spec.tags[1] in body must be of type string: "integer"',
        ),
    ]
    assert causes(mode="A", port=[])[0][2].endswith('must be of type integer,string: "array"')
    assert causes(mode="A", name="abcd") == [
        ("spec.name", "FieldValueTooLong", "Too long: may not be more than 3 bytes")
    ]


def test_the_queue_of_a_job_is_immutable() -> None:
    def job(queue: str) -> Obj:
        return {"spec": {"runPolicy": {"schedulingPolicy": {"queue": queue}}}}

    assert validation.validate_update(kinds.TF_JOB, job("a"), job("a")) == []
    (cause,) = validation.validate_update(kinds.TF_JOB, job("a"), job("b"))
    assert cause.field == "spec.runPolicy.schedulingPolicy.queue"
    assert cause.message == 'Invalid value: "b": spec.runPolicy.schedulingPolicy.queue is immutable'


# --- OpenAPI ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group_version", sorted({kind.api_version for kind in kinds.ALL}))
def test_documents_are_closed_and_choose_server_side_validation(group_version: str) -> None:
    document = openapi.document(group_version, kinds.ALL, {})
    text = json.dumps(document)
    used = {part.split('"')[0] for part in text.split(schemas.PREFIX)[1:]}
    assert used <= set(document["components"]["schemas"])
    for kind in kinds.ALL:
        if kind.api_version != group_version:
            continue
        gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        patch = next(
            path["patch"]
            for path in document["paths"].values()
            if path.get("patch", {}).get("x-kubernetes-group-version-kind") == gvk
        )
        assert {"fieldValidation", "dryRun"} <= {p["name"] for p in patch["parameters"]}
        media = patch["requestBody"]["content"]
        assert ("application/strategic-merge-patch+json" in media) == (not kind.custom)
        assert any(
            gvk in s.get("x-kubernetes-group-version-kind", ()) for s in document["components"]["schemas"].values()
        )


def test_a_definition_becomes_a_document() -> None:
    kind = Kind("example.com", "v1", "Thing", "things", custom=True)
    spec = {"type": "object", "properties": {"size": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"spec": spec}}
    crd = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}
    document = openapi.document("apis/example.com/v1", [kind], {"things.example.com": crd})
    thing = document["components"]["schemas"]["com.example.v1.Thing"]
    assert thing["properties"]["spec"] == spec
    assert thing["properties"]["metadata"]["allOf"]
    assert "x-kubernetes-group-version-kind" not in schema
    assert "/apis/example.com/v1/namespaces/{namespace}/things/{name}" in document["paths"]


# --- tables -------------------------------------------------------------------------------------------------------

NOW = 1_790_000_000.0
CREATED = "2026-09-21T14:12:20Z"  # a minute before


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (599, "9m59s"),
        (600, "10m"),
        (179 * 60, "179m"),
        (180 * 60, "3h"),
        (3 * 3600 + 600, "3h10m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (770 * 86400, "2y40d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_durations(seconds: int, text: str) -> None:
    assert tables.human_duration(seconds) == text


def pod_row(status: Obj, **meta: Any) -> list[Any]:
    spec = {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}
    pod = {"metadata": {"name": "p", "creationTimestamp": CREATED, **meta}, "spec": spec, "status": status}
    return tables.row(kinds.POD, pod, NOW)


def running(name: str, **more: Any) -> Obj:
    return {"name": name, "ready": True, "state": {"running": {}}, **more}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({"phase": "Pending"}, ["0/2", "Pending", "0"]),
        ({"phase": "Running", "containerStatuses": [running("a"), running("b")]}, ["2/2", "Running", "0"]),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    running("a", restartCount=2, lastState={"terminated": {"finishedAt": CREATED}}),
                    {"name": "b", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
                ],
            },
            ["1/2", "CrashLoopBackOff", "2 (60s ago)"],
        ),
        (
            {
                "phase": "Succeeded",
                "containerStatuses": [{"name": "a", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}],
            },
            ["0/2", "Completed", "0"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3}}}]},
            ["0/2", "ExitCode:3", "0"],
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]},
            ["0/2", "Init:0/1", "0"],
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 2}}}]},
            ["0/2", "Init:ExitCode:2", "0"],
        ),
        ({"phase": "Failed", "reason": "Evicted"}, ["0/2", "Evicted", "0"]),
    ],
)
def test_pods(status: Obj, shown: list[str]) -> None:
    assert pod_row(status)[1:4] == shown
    assert pod_row(status)[4] == "60s"


def test_a_pod_that_is_being_deleted() -> None:
    assert pod_row({"phase": "Running"}, deletionTimestamp=CREATED)[2] == "Terminating"


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda k: f"{k.kind}-{k.version}")
def test_a_bare_object_has_a_full_row(kind: Kind) -> None:
    columns = tables.columns(kind)
    assert all(column.keys() == {"name", "type", "format", "description", "priority"} for column in columns)
    assert all(column["description"] for column in columns)
    assert len(tables.row(kind, {"metadata": {"name": "x"}}, NOW)) == len(columns)


def test_custom_columns() -> None:
    job = {
        "metadata": {"name": "t", "creationTimestamp": CREATED},
        "status": {"conditions": [{"type": "Created"}, {"type": "Running"}]},
    }
    assert tables.row(kinds.TF_JOB, job, NOW) == ["t", "Running", "60s"]
    assert tables.row(kinds.MPI_JOB, job, NOW) == ["t", "60s", "Running"]
    assert tables.row(kinds.CHAINER_JOB, job, NOW) == ["t", "60s"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        ("a.b", [1]),
        (".list[0].n", ["x"]),
        (".list[-1].n", ["y"]),
        (".list[-1:].n", ["y"]),
        (".list[*].n", ["x", "y"]),
        ('.list[?(@.n=="y")].v', [2]),
        (".list[?(@.n!='y')].v", [1]),
        (r".dotted\.key", ["d"]),
        ("['dotted.key']", ["d"]),
        (".none.x", []),
        (".list[9]", []),
        ("{broken", []),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    obj = {"a": {"b": 1}, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "dotted.key": "d"}
    assert jsonpath.values(obj, path) == found


def test_a_json_path_can_be_set() -> None:
    obj: Obj = {}
    jsonpath.put(obj, ".spec.worker.replicas", 3)
    assert obj == {"spec": {"worker": {"replicas": 3}}}
