"""Objects that the contract tests make, and how they ask for what is to be refused."""

from __future__ import annotations

from typing import Any

import pytest
from bed.api import Api, ApiStatusError, Obj

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
# A scheduler that is not there: the pod stays what the test makes of it.
NOBODY = "nobody"


def configs(place: str) -> str:
    return f"/api/v1/namespaces/{place}/configmaps"


def pods(place: str) -> str:
    return f"/api/v1/namespaces/{place}/pods"


def jobs(place: str) -> str:
    return f"/apis/kubeflow.org/v1/namespaces/{place}/tfjobs"


def config(name: str, labels: dict[str, str] | None = None, **data: str) -> Obj:
    metadata: Obj = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod(name: str, **spec: Any) -> Obj:
    containers = [{"name": "main", "image": "program:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"schedulerName": NOBODY, "containers": containers, **spec},
    }


def tf_job(name: str, **more: Any) -> Obj:
    template = {"spec": {"schedulerName": NOBODY, "containers": [{"name": "tensorflow", "image": "program:1"}]}}
    spec = {"runPolicy": {"suspend": True}, "tfReplicaSpecs": {"Worker": {"replicas": 1, "template": template}}}
    return {"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "metadata": {"name": name}, "spec": spec | more}


def refusal(api: Api, method: str, path: str, body: Any = None, **options: str) -> ApiStatusError:
    with pytest.raises(ApiStatusError) as caught:
        api.request(method, path, body, **options)
    return caught.value


def names(api: Api, path: str) -> list[str]:
    return [item["metadata"]["name"] for item in api.request("GET", path)["items"]]


def deployment(name: str, **more: Any) -> Obj:
    template = {"metadata": {"labels": {"app": name}}, "spec": pod(name)["spec"]}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template, **more}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
