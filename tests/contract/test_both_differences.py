"""Each difference between the clusters that docs/differences.md tells of its API and its workloads is still one.

A row of those two sections is asked of both clusters by its question: the answer is yes on the real one and no here. A
difference that has disappeared fails, and so does a row that nobody asks. Those of the training operators are asked by
the records (tests/tools/differences.py), those of the node where programs run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from bed.api import Api, ApiStatusError, Obj, until
from objects import config, configs, deployment, pod, pods
from sites import MORE, Site, there

DOCUMENT = Path(__file__).parents[2] / "docs" / "differences.md"
SECTIONS = ("The API server", "Jobs, ReplicaSets, Deployments")
Question = Callable[[Api, str], bool]
PROTOBUF = "application/vnd.kubernetes.protobuf"


def taken(api: Api, method: str, path: str, body: object = None, **options: str) -> bool:
    """Whether a request is not refused."""
    try:
        api.request(method, path, body, **options)
    except ApiStatusError:
        return False
    return True


def served(*paths: str) -> Question:
    return lambda api, _: all(taken(api, "GET", path) for path in paths)


def tokens(api: Api, place: str) -> bool:
    path = f"/api/v1/namespaces/{place}/serviceaccounts/default/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return taken(api, "POST", path, body) and served("/apis/rbac.authorization.k8s.io/v1")(api, place)


def service(api: Api, _: str) -> bool:
    return there(api, "v1", "Service", "kubernetes", "default") is not None


def defined(api: Api, schema: Obj, **spec: object) -> bool:
    """Whether an object of a kind with this schema is taken."""
    name = "probes.differences.example.com"
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": "differences.example.com",
            "scope": "Cluster",
            "names": {"kind": "Probe", "plural": "probes"},
            "versions": [version],
        },
    }
    root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    api.request("POST", root, definition)
    try:
        path = "/apis/differences.example.com/v1/probes"
        until(lambda: taken(api, "GET", path), seconds=60, what="the kind")
        body = {"apiVersion": "differences.example.com/v1", "kind": "Probe", "metadata": {"name": "p"}, "spec": spec}
        return taken(api, "POST", f"{path}?dryRun=All", body)
    finally:
        api.request("DELETE", f"{root}/{name}")
        until(lambda: not taken(api, "GET", f"{root}/{name}"), seconds=60, what="the end of the kind")


def expressions(api: Api, _: str) -> bool:
    rule = {"rule": "self.size > 3", "message": "too small"}
    spec = {"type": "object", "properties": {"size": {"type": "integer"}}, "x-kubernetes-validations": [rule]}
    return not defined(api, {"type": "object", "properties": {"spec": spec}}, size=1)


def nesting(api: Api, _: str) -> bool:
    deep: Obj = {}
    for _level in range(200):
        deep = {"in": deep}
    spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return defined(api, {"type": "object", "properties": {"spec": spec}}, **deep)


def large_quantities(api: Api, place: str) -> bool:
    containers = [{"name": "main", "image": "x", "resources": {"requests": {"memory": "99999999999999999999"}}}]
    return taken(api, "POST", f"{pods(place)}?dryRun=All", pod("p", containers=containers))


def half_pairs(api: Api, place: str) -> bool:
    body = rb'{"metadata": {"name": "half"}, "data": {"a": "\ud800"}}'
    return taken(api, "POST", f"{configs(place)}?dryRun=All", body)


def protobuf(api: Api, place: str) -> bool:
    api.request("POST", configs(place), config("asked"))
    headers = {"Accept": PROTOBUF} | api._headers
    response, content = api._send("GET", f"{configs(place)}/asked", None, headers)
    return response.status == 200 and content.startswith(b"k8s\x00")


def job(name: str, **spec: object) -> Obj:
    template = {"spec": pod(name, restartPolicy="Never")["spec"]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template, **spec}}


def jobs(place: str) -> str:
    return f"/apis/batch/v1/namespaces/{place}/jobs"


def made(api: Api, place: str, label: str) -> list[Obj]:
    """The pods with a label, when there are any."""
    return until(lambda: api.list("v1", "Pod", place, labels=label), seconds=60, what=f"pods of {label}")


def tracking(api: Api, place: str) -> bool:
    api.request("POST", jobs(place), job("j"))
    (one,) = made(api, place, "job-name=j")
    return "batch.kubernetes.io/job-tracking" in one["metadata"].get("finalizers", ())


def lost_pods_count(api: Api, place: str) -> bool:
    api.request("POST", jobs(place), job("j", backoffLimit=5))
    (one,) = made(api, place, "job-name=j")
    api.delete("v1", "Pod", one["metadata"]["name"], place)

    def replaced() -> bool:
        found = made(api, place, "job-name=j")
        return all(other["metadata"]["uid"] != one["metadata"]["uid"] for other in found)

    until(replaced, seconds=60, what="another pod")
    # A pod that is gone was counted before, if only among those whose count is still to be put down.
    status: Obj = api.get("batch/v1", "Job", "j", place)["status"]
    return bool(status.get("failed") or status.get("uncountedTerminatedPods", {}).get("failed"))


def failures_per_index(api: Api, place: str) -> bool:
    api.request("POST", jobs(place), job("j", completions=2, completionMode="Indexed", backoffLimitPerIndex=1))
    made(api, place, "job-name=j")
    reasons = {event["reason"] for event in api.list("v1", "Event", place)}
    return "Unsupported" not in reasons


def adoption(api: Api, place: str) -> bool:
    api.request("POST", pods(place), pod("p"))
    made_of = deployment("p", replicas=1) | {"kind": "ReplicaSet"}
    api.request("POST", f"/apis/apps/v1/namespaces/{place}/replicasets", made_of)

    def settled() -> bool:
        status: Obj = api.get("apps/v1", "ReplicaSet", "p", place).get("status", {})
        return status.get("replicas") == 1

    until(settled, seconds=60, what="the ReplicaSet's pod")
    return bool(api.get("v1", "Pod", "p", place)["metadata"].get("ownerReferences"))


QUESTIONS: dict[str, Question] = {
    "events in `events.k8s.io/v1` too": served("/apis/events.k8s.io/v1"),
    "service account tokens, RBAC kinds": tokens,
    "Service `kubernetes` in `default`": service,
    "answers in protobuf": protobuf,
    "XGBoostJob, PaddleJob, and all else that Kubernetes has": served("/apis/kubeflow.org/v1/xgboostjobs"),
    "validating expressions (CEL) of definitions, webhooks, conversion webhooks": expressions,
    "nesting of 10000 levels": nesting,
    "quantities beyond 2^63 are cut": large_quantities,
    "half of a surrogate pair in a string is replaced": half_pairs,
    "a Job's pods carry the finalizer `batch.kubernetes.io/job-tracking`": tracking,
    "a Job's pod that is deleted while it runs counts as failed": lost_pods_count,
    "`backoffLimitPerIndex`, `maxFailedIndexes`, `successPolicy`, action `FailIndex`": failures_per_index,
    "ReplicaSets adopt pods that match their selector": adoption,
}
ELSEWHERE = {
    # Two versions of one kind: what there is of it here is asked as "both versions of MPIJob".
    "an object of two versions is stored in the storage version",
    # It would take the definition away from every other test: tests/unit/test_registry.py.
    "a training definition that is deleted is gone",
    # The end is the same, and there is no moment at which both could be asked.
    "a Deployment that is scaled during a rollout divides the replicas in proportion",
    # A real one needs a metrics server, which the tests' has not: tests/unit/test_controllers_autoscaler.py.
    "a HorizontalPodAutoscaler looks every 15 seconds; metrics of pods come from whatever adapter is installed",
}


def rows() -> set[str]:
    """The first cells of the tables of the two sections."""
    text = DOCUMENT.read_text()
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    tables = [part for part in parts if part.partition("\n")[0] in SECTIONS]
    lines = [line for part in tables for line in part.splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| ") for line in lines} - {"real"}


def test_every_row_is_asked() -> None:
    assert rows() == QUESTIONS.keys() | ELSEWHERE


@pytest.mark.parametrize("row", QUESTIONS)
def test_a_difference_is_one(site: Site, place: str, row: str) -> None:
    assert QUESTIONS[row](site.api, place) == site.real


def mx_review(api: Api, place: str) -> bool:
    """Whether an MXJob without the container that its operator looks for is refused."""
    template = {"spec": {"containers": [{"name": "wrong", "image": "x"}]}}
    spec = {"jobMode": "MXTrain", "mxReplicaSpecs": {"Worker": {"replicas": 1, "template": template}}}
    body = {"apiVersion": "kubeflow.org/v1", "kind": "MXJob", "metadata": {"name": "m"}, "spec": spec}
    return not taken(api, "POST", f"/apis/kubeflow.org/v1/namespaces/{place}/mxjobs?dryRun=All", body)


MORE_QUESTIONS: dict[str, Question] = {
    "both versions of MPIJob": served("/apis/kubeflow.org/v1/mpijobs", "/apis/kubeflow.org/v2beta1/mpijobs"),
    "a webhook for MXJob": mx_review,
}


@pytest.mark.parametrize("what", MORE)
def test_what_there_is_more_of_here_is_not_on_a_real_cluster(site: Site, place: str, what: str) -> None:
    assert MORE_QUESTIONS[what](site.api, place) == site.has(what)
