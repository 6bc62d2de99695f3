"""Conversations recorded with a real API server, held with ours: the same requests, the same answers.

Every difference that is allowed stands in ``ALLOWED``, with its reason; anything else fails.

On the embedded cluster alone: the real cluster's answers are the recordings.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from api_harness import Served, fresh_server  # noqa: F401  the fixture
from api_replay import Answer, Difference, Exchange, Replay, exchanges, recorded_object

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.registry import MERGE_PATCH

KUBECTL = (
    "kubectl-01-version",
    "kubectl-02-discovery",
    "kubectl-03-get",
    "kubectl-04-create",
    "kubectl-05-watch",
    "kubectl-06-describe",
    "kubectl-07-apply",
    "kubectl-08-ssa",
    "kubectl-09-patch",
    "kubectl-10-label-annotate",
    "kubectl-11-scale-rollout",
    "kubectl-12-delete",
    "kubectl-13-wait",
    "kubectl-14-node-proxy",
    "kubectl-15-explain",
    "kubectl-16-auth",
)
CONVERSATIONS: dict[str, tuple[str, ...]] = {
    "raw-01": ("raw-01-status-objects",),
    "raw-02": ("raw-02-watch",),
    "raw-03": ("raw-03-lists",),
    "raw-04": ("raw-04-object-rules",),
    "raw-05": ("raw-05-server-side-apply",),
    "raw-06": ("raw-06-tables-and-discovery",),
    "kubectl": KUBECTL,
    "python-kubernetes": ("python-kubernetes-37",),
    "kr8s": ("kr8s-0.20",),
    "lightkube": ("lightkube-1",),
    "kubespawner": ("kubespawner-7.1",),
    "training": ("kubeflow-training-1.9.4",),
}


class Allowed(NamedTuple):
    """A difference with a reason. Each pattern is searched for; an empty one is anything."""

    reason: str
    request: str = ""
    path: str = ""
    step: str = ""
    conversation: str = ""


_NOT_SERVED = (
    "experiments|suggestions|trials|poddisruptionbudgets|replicationcontrollers|daemonsets|statefulsets|"
    "horizontalpodautoscalers|cronjobs|controllerrevisions|applications|events.k8s.io|/token$|openapi/v2|"
    "openapi/v3/version|/apis/(admissionregistration|apiregistration|argoproj|autoscaling|certificates|"
    "flowcontrol|internal|machinelearning|networking|node|policy|rbac|resource|scheduling|storage|"
    "gateway|security|telemetry|extensions|serving|batch/v1beta1|kubeflow.org/v1beta1)"
)
ALLOWED = (
    Allowed("version and build of the server are our own", "GET /version"),
    Allowed("kinds that the embedded cluster does not serve", _NOT_SERVED),
    Allowed("other kinds are served, so discovery lists others", r"GET /apis?(/[^/]+(/[^/]+)?)?/?(\?|$)"),
    Allowed("answers are JSON, which every client takes beside protobuf", path="Content-Type"),
    Allowed("protobuf alone is not answered", step="protobuf Accept|protobuf for a CR"),
    Allowed("OpenAPI documents are our own, and their hashes with them", "GET /openapi"),
    Allowed("the recorder left no ETag of ours to match", path="HTTP status", step="", request="timeout=32s"),
    Allowed("a real cluster's ServiceAccount admission was off while recording", path="serviceAccount"),
    Allowed("no controllers run here: nothing fills status or makes dependents", path=r"\.status(\.|$)"),
    Allowed("no controllers run here", path="deployment.kubernetes.io/revision"),
    Allowed("no controllers run here", "replicasets|scale", path=r"items length|rows length"),
    Allowed("addresses of services are drawn", path="clusterIP"),
    Allowed("the recording shortened the body", step="duplicate field|413 body|422 data over|fieldValidation .warns"),
    Allowed("the real message ends with a diff of Go structures", path="message", step="422 pod immutable field$"),
    Allowed("events of controllers and the kubelet", "/events", path="items|rows|metadata"),
    Allowed("cells of a table: ages and controllers' status", path=r"cells\["),
    Allowed("ours is emptied at once", step="403 create in terminating namespace"),
    Allowed("the checks behind health are our own", "GET /(livez|readyz).verbose"),
    Allowed("our one user may do everything, in one rule", "selfsubjectrulesreviews|tokenreviews|selfsubjectreviews"),
    Allowed("the address of the server", path="serverAddress"),
    Allowed("a bare server that was still starting", "watch=1&resourceVersion=1", conversation="raw-02"),
    Allowed("objects that a script made beside the recording", step="watch on an object path", conversation="raw-02"),
    Allowed("another job of another namespace", step="all namespaces", conversation="raw-03"),
    Allowed("claims are let go by the node at once", "persistentvolumeclaims", path="finalizers"),
    Allowed("the recorded cluster had no default StorageClass", "persistentvolumeclaims", path="storageClassName"),
    Allowed("what has no dependents is gone at once", step="cascade=foreground|delete with body V1DeleteOptions"),
    Allowed("a script wrote beside the watch", path="metadata.annotations", conversation="python-kubernetes"),
    Allowed("pods that came while it was recorded", step="kubectl get pods( --chunk-size=1)?$", path="rows|metadata"),
    Allowed("no operator made this pod here", path="ownerReferences", conversation="training"),
    Allowed("our history reaches back to the first version", step="410", conversation="raw-03|python"),
    Allowed("the node and namespaces were made by others", "/nodes|/namespaces(/rec)?[?]", path="metadata|items|rows"),
    Allowed("definitions are our own", "customresourcedefinitions"),
    Allowed("exec, attach and port-forward say that there is none", "/(exec|attach|portforward)"),
    Allowed("no controllers run here: no root certificate is published", "kube-root-ca"),
    Allowed("no controllers run here", "configmaps", path="length$|metadata.(continue|remaining)"),
    Allowed("no controllers run here", "configmaps", r"annotations|\.data$", conversation="raw-0[36]"),
    Allowed("what a recording found was written by others", "^GET|^DELETE|reviews", "managedFields"),
    Allowed("operators own fields that nobody owns here", "", "managedFields|uid", conversation="raw-04|python"),
    Allowed("managers of one second stand in another order", "", "managedFields", conversation="kubectl|training|kr8s"),
)
"""Every allowed difference."""


def allowance(conversation: str, difference: Difference) -> Allowed | None:
    exchange = difference.exchange
    for allowed in ALLOWED:
        if (
            re.search(allowed.request, exchange.request)
            and re.search(allowed.path, difference.path)
            and re.search(allowed.step, exchange.step)
            and re.search(allowed.conversation, conversation)
        ):
            return allowed
    return None


# --- what the recordings found ---------------------------------------------------------------------------------------


def config(name: str, **labels: str) -> dict[str, Any]:
    data = {"a": "1"} if labels else {}
    meta: dict[str, Any] = {"name": name, "namespace": "rec"} | ({"labels": labels} if labels else {})
    return {"metadata": meta} | ({"data": data} if data else {})


def tf_job(name: str, **labels: str) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "tensorflow", "image": "x:1"}]}}
    replica = {"replicas": 1, "restartPolicy": "Never", "template": template}
    spec = {"runPolicy": {"suspend": True}, "tfReplicaSpecs": {"Worker": replica}}
    return {"metadata": {"name": name, "namespace": "rec", "labels": labels}, "spec": spec}


def lists(served: Served) -> None:
    """What the recording of lists began with: made by a script, not recorded."""
    create = served.registry.create
    for name in ("a", "kube-root-ca.crt"):
        create(kinds.CONFIG_MAP, config(name))
    for at in range(5):
        create(kinds.CONFIG_MAP, config(f"l{at}", l="1", n=str(at)))
    for at in range(3):
        create(kinds.TF_JOB, tf_job(f"l{at}", l="1"))
    create(kinds.SERVICE, {"metadata": {"name": "1bad", "namespace": "rec"}, "spec": {"ports": [{"port": 80}]}})


def tables(served: Served) -> None:
    """What the recording of tables began with."""
    spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x:1"}]}
    served.registry.create(kinds.POD, {"metadata": {"name": "t1", "namespace": "rec"}, "spec": spec})
    served.registry.create(kinds.TF_JOB, tf_job("t1"))
    served.registry.create(kinds.CONFIG_MAP, config("kube-root-ca.crt"))


SETUPS: dict[str, Callable[[Served], None]] = {"raw-03": lists, "raw-06": tables}
_P1 = "/api/v1/namespaces/rec/pods/p1"
_TF1 = "/apis/kubeflow.org/v1/namespaces/rec/tfjobs/tf1"
SEEDS: dict[str, tuple[str, ...]] = {
    "kubectl-03-get": (_P1, _TF1),
    "kubectl-13-wait": (_P1, _TF1),
    "kubectl-14-node-proxy": (_P1,),
    "kubeflow-training-1.9.4": ("/api/v1/namespaces/rec/pods",),
}
"""Objects that a recording found when it began, and that were gone when it ended."""


def seed(served: Served, name: str) -> Callable[[], None]:
    """Make what a recording found; what comes back takes it away again."""
    made = []
    for path in SEEDS.get(name, ()):
        obj = recorded_object(name, path)
        kind = kinds.of(obj["apiVersion"], obj["kind"])
        given = {key: obj["metadata"][key] for key in ("name", "namespace", "labels") if key in obj["metadata"]}
        if "annotations" in obj["metadata"]:
            given["annotations"] = obj["metadata"]["annotations"]
        served.registry.create(kind, {"metadata": given, "spec": obj["spec"]})
        made.append((kind, given["name"]))

    def clear() -> None:
        for kind, given_name in made:
            if served.registry.store.get(kind, "rec", given_name) is not None:
                served.registry.store.remove(kind, "rec", given_name)

    return clear


def bystander(served: Served, exchange: Exchange, answer: Answer) -> None:
    """What others did while it was recorded: the scheduler, and a script beside the watches."""
    registry = served.registry
    path = exchange.request.partition("?")[0]
    body = answer.body if isinstance(answer.body, dict) else {}
    created = path.startswith("POST") and path.endswith("/pods") and answer.status == 201
    if created and "dryRun" not in exchange.request and body["spec"]["schedulerName"] == "default-scheduler":
        served.call(lambda: registry.bind("rec", body["metadata"]["name"], "n0"))
    noted = {"kubectl get tfjobs -w --output-watch-events": "1", "kubectl get tfjob tf1 -w -o name": "2"}
    if exchange.watch and exchange.step in noted:
        patch = {"metadata": {"annotations": {"w": noted[exchange.step]}}}
        served.call(lambda: registry.patch(kinds.TF_JOB, "rec", "tf1", patch, MERGE_PATCH))


def prepare(served: Served, conversation: str) -> None:
    served.registry.create(kinds.NAMESPACE, {"metadata": {"name": "rec"}})
    served.registry.create(kinds.NODE, {"metadata": {"name": "n0"}})
    if conversation in SETUPS:
        SETUPS[conversation](served)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_a_recorded_conversation(fresh_server: Served, conversation: str) -> None:  # noqa: F811  the fixture
    served = fresh_server
    served.call(lambda: prepare(served, conversation))
    replay = Replay(served, bystander)
    compared = 0
    unexplained: list[str] = []
    for name in CONVERSATIONS[conversation]:
        clear = served.call(functools.partial(seed, served, name))
        for exchange in exchanges(name):
            differences = replay.run(exchange)
            compared += 1
            unexplained += [str(found) for found in differences if allowance(conversation, found) is None]
        served.call(clear)
    assert compared > 3
    assert not unexplained, f"{len(unexplained)} differences:\n" + "\n".join(unexplained[:40])
