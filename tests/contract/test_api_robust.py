"""Whatever is sent to the API server, the answer is a Status that says what is wrong, and nothing is stored.

On the embedded cluster alone: nobody has to mend the real API server, and the store behind this one is looked at.
"""

from __future__ import annotations

import copy
import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from api_harness import TOKEN, Served, shared_server  # noqa: F401  the fixture

from jupyterlab_kf.model import Obj

DEFAULT = "/api/v1/namespaces/default"
KUBEFLOW = "/apis/kubeflow.org/v1/namespaces/default"
POD: Obj = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "x", "resources": {"limits": {"cpu": "1"}}}]},
}
DEPLOYMENT: Obj = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD["spec"]},
    },
}
TF_JOB: Obj = {
    "apiVersion": "kubeflow.org/v1",
    "kind": "TFJob",
    "metadata": {"name": "t"},
    "spec": {
        "runPolicy": {"backoffLimit": 1},
        "tfReplicaSpecs": {
            "Worker": {
                "replicas": 1,
                "template": {"spec": {"containers": [{"name": "tensorflow", "image": "x"}]}},
            }
        },
    },
}
DEFINITION: Obj = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
KINDS = {
    f"{DEFAULT}/pods": POD,
    "/apis/apps/v1/namespaces/default/deployments": DEPLOYMENT,
    f"{KUBEFLOW}/tfjobs": TF_JOB,
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": DEFINITION,
}
VALUES: list[Any] = [None, True, -1, 1.5, "", "A B", "x" * 300, [], {}, [None], {"a": None}, 2**70, 1e308, "\0"]
Send = Callable[..., tuple[int, Any]]


@pytest.fixture
def send(shared_server: Served) -> Iterator[Send]:  # noqa: F811  the fixture
    connection = http.client.HTTPSConnection(
        "127.0.0.1", shared_server.server.port, context=shared_server.tls, timeout=60
    )

    def one(method: str, path: str, body: Any = None, media: str = "application/json") -> tuple[int, Any]:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": media}
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text[:1] == b"{" else text

    revision = shared_server.call(lambda: shared_server.registry.store.revision)
    yield one
    assert shared_server.call(lambda: shared_server.registry.store.revision) == revision, "something was stored"
    connection.close()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def planted(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    out = copy.copy(value)
    out[path[0]] = planted(value[path[0]], path[1:], new)
    return out


def refused(answer: tuple[int, Any]) -> bool:
    code, body = answer
    return 400 <= code < 500 and body["kind"] == "Status" and body["code"] == code and bool(body["message"])


@pytest.mark.parametrize("path", KINDS, ids=lambda path: path.rpartition("/")[2])
def test_a_wrong_type_anywhere_is_taken_or_refused(send: Send, path: str) -> None:
    for place in places(KINDS[path]):
        for value in VALUES:
            answer = send("POST", f"{path}?dryRun=All", planted(KINDS[path], place, value))
            assert answer[0] == 201 or refused(answer), (place, value, answer)


DEEP = 10_000
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"apiVersion":"v1",',
    "null": b"null",
    "list": b"[]",
    "number": b"1",
    "not UTF-8": b"\xff\xfe\x00",
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep maps": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deeper than a manifest": b'{"metadata":' * 200 + b"1" + b"}" * 200,
    "no number": b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"extra":NaN}',
    "half a character": b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"\\ud800"}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_object_is_refused(send: Send, body: bytes) -> None:
    path = f"{DEFAULT}/configmaps"
    for media in ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/xml", ""):
        assert refused(send("POST", path, body, media)), media
    assert refused(send("PUT", f"{path}/kube-root-ca.crt", body))
    for media in ("merge-patch+json", "strategic-merge-patch+json", "json-patch+json", "apply-patch+yaml"):
        answer = send("PATCH", f"{path}/none?fieldManager=me", body, f"application/{media}")
        assert refused(answer), (media, answer)


def bomb(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(["apiVersion: v1", "kind: ConfigMap", "metadata: {name: bomb}", *lines]).encode()


@pytest.mark.parametrize(
    "body",
    [
        bomb(9),
        b"a: &a [*a]",
        b"a: &a {b: *a}",
        b"? [a]: b",
        b"a: !!binary eA==",
        b"a: !!python/object:os.system x",
        b"a: .nan",
        b"[" * 5000,
    ],
    ids=["bomb", "circle", "map circle", "odd key", "binary", "python", "nan", "deep"],
)
def test_yaml_that_means_harm_is_refused_at_once(send: Send, body: bytes) -> None:
    began = time.monotonic()
    code, status = send("POST", f"{DEFAULT}/configmaps", body, "application/yaml")
    assert refused((code, status)), status
    assert "error decoding " in status["message"]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{DEFAULT}/configmaps", {"apiVersion": "v1", "kind": "Unknown", "metadata": {"name": "x"}}),
        ("POST", f"{DEFAULT}/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x" * 300}}),
        ("POST", f"{DEFAULT}/pods", planted(POD, ("metadata", "labels"), {"a b": "c"})),
        ("POST", f"{DEFAULT}/pods", planted(POD, ("metadata", "labels"), {"a": "c" * 64})),
        ("POST", f"{DEFAULT}/pods", planted(POD, ("spec", "containers", 0, "resources", "limits", "cpu"), "1e99999")),
        ("POST", "/apis/apps/v1/namespaces/default/deployments", planted(DEPLOYMENT, ("spec", "replicas"), -1)),
        (
            "POST",
            f"{KUBEFLOW}/tfjobs",
            planted(TF_JOB, ("spec", "tfReplicaSpecs", "Worker", "replicas"), -1),
        ),
        ("POST", f"{KUBEFLOW}/tfjobs", planted(TF_JOB, ("kind",), "PyTorchJob")),
        ("POST", "/apis/kubeflow.org/v1/namespaces/none/tfjobs", TF_JOB),
        ("PUT", f"{DEFAULT}/configmaps/x", {"metadata": {"name": "other"}}),
        ("PUT", "/apis/apps/v1/namespaces/default/deployments/d/scale", []),
        ("PUT", "/apis/apps/v1/namespaces/default/deployments/d/scale", {"metadata": 1, "spec": {"replicas": 1}}),
        ("DELETE", f"{DEFAULT}/serviceaccounts/default", {"gracePeriodSeconds": [1]}),
        ("DELETE", f"{DEFAULT}/serviceaccounts/default", {"preconditions": "x"}),
        ("DELETE", f"{DEFAULT}/serviceaccounts/default", {"preconditions": {"resourceVersion": "1"}}),
        ("DELETE", f"{DEFAULT}/serviceaccounts/default", {"dryRun": 7}),
        ("POST", f"{DEFAULT}/pods/p/binding", {"target": "node"}),
        ("POST", f"{DEFAULT}/pods/p/eviction", {"deleteOptions": 1}),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": 1}),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", []),
        ("GET", f"{DEFAULT}/pods?limit=x", None),
        ("GET", f"{DEFAULT}/pods?continue=x", None),
        ("GET", f"{DEFAULT}/pods?labelSelector=a%20in%20(", None),
        ("GET", f"{DEFAULT}/pods?fieldSelector=spec.none%3Dx", None),
        ("GET", f"{DEFAULT}/pods/{'x' * 5000}", None),
    ],
)
def test_a_request_that_asks_for_nonsense_is_refused(send: Send, method: str, path: str, body: Any) -> None:
    answer = send(method, path, body)
    assert refused(answer), answer


def test_a_negative_limit_is_none(send: Send) -> None:
    assert send("GET", f"{DEFAULT}/serviceaccounts?limit=-1")[0] == 200


def test_a_stale_version_is_refused(shared_server: Served, send: Send) -> None:  # noqa: F811  the fixture
    del shared_server
    code, account = send("GET", f"{DEFAULT}/serviceaccounts/default")
    assert code == 200
    account["metadata"]["resourceVersion"] = "1"
    account["metadata"]["labels"] = {"a": "b"}
    answer = send("PUT", f"{DEFAULT}/serviceaccounts/default", account)
    assert answer[0] == 409
    assert refused(answer)
