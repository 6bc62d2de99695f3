"""A real hub over a real API server, with its own account only: people's namespaces, their rights, and outages.

Pods are KWOK's: they run at once and nothing is in them. What the hub finds at their address is one stand-in server.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bed import credentials
from bed.api import Api, ApiStatusError
from bed.cluster import RealCluster
from hubs import Hub, Person, wait
from stand_in import serving

CLUSTER = Path(__file__).parents[2] / "hub_config" / "cluster"
HUB = "hub-account"
PROFILES = """
profiles:
  - {slug: small, default: true, cpu: {request: 100m, limit: 1}, memory: {request: 128Mi, limit: 1Gi}}
"""
SITE = """
c.KubeSpawner.get_pod_url = lambda spawner, pod: "http://127.0.0.1:{port}"
c.KubeSpawner.poll_interval = 2
c.KubeSpawner.k8s_api_request_timeout = 5
c.KubeSpawner.delete_grace_period = 0

import asyncio
from kubernetes_asyncio.client import CoreV1Api

real, late = CoreV1Api.create_namespaced_pod, set()

async def create(api, namespace, body, **more):
    # The first answer for some people's pods comes too late: the pod is made.
    made = await real(api, namespace, body, **more)
    if namespace in ("kf-fay", "kf-hal") and namespace not in late:
        late.add(namespace)
        await asyncio.sleep(600)
    return made

CoreV1Api.create_namespaced_pod = create
"""
PEOPLE = ("ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal")
OUTAGES = [("cat", 10.0), ("dan", 75.0)]
if LONGER := os.environ.get("KF_OUTAGE"):
    # One more, of so many seconds, by hand: KF_OUTAGE=300 ... -s -k outage
    OUTAGES.append(("gus", float(LONGER)))


@pytest.fixture(scope="module")
def manifests(kubectl_path: Path) -> list[dict[str, Any]]:
    """What an administrator applies, with the account's name changed as the file says."""
    command = [str(kubectl_path), "kustomize", str(CLUSTER)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text = text.replace("system:serviceaccount:jupyterhub:hub", HUB)
    found = [one for one in yaml.safe_load_all(text) if one]
    (binding,) = [one for one in found if one["kind"] == "ClusterRoleBinding"]
    binding["subjects"] = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": HUB}]
    return found


@pytest.fixture(scope="module")
def hub(
    real_cluster: RealCluster, manifests: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    api = real_cluster.api
    for one in manifests:
        api.apply(one)
    volumes = [_volume(number) for number in range(len(PEOPLE))]
    for one in volumes:
        api.create(one)
    folder = tmp_path_factory.mktemp("hub")
    with serving() as port:
        hub = Hub(
            folder,
            users=",".join(PEOPLE),
            profiles=PROFILES,
            site=SITE.replace("{port}", str(port)),
            KUBECONFIG=str(_kubeconfig(real_cluster, folder)),
            KF_CONTEXT="real",
        )
        try:
            hub.start()
            yield hub
        finally:
            hub.stop()
            for name in PEOPLE:
                api.delete("v1", "Namespace", f"kf-{name}", "")
            for one in (*volumes, *manifests):
                api.delete(one["apiVersion"], one["kind"], one["metadata"]["name"], "")


def _kubeconfig(cluster: RealCluster, folder: Path) -> Path:
    """The hub's own, in a file whose current context is another one: KF_CONTEXT decides."""
    config = json.loads(cluster.kubeconfig_for(HUB).read_text())
    config["contexts"].append({"name": "elsewhere", "context": {"cluster": "elsewhere", "user": HUB}})
    config["clusters"].append({"name": "elsewhere", "cluster": {"server": "https://127.0.0.1:9"}})
    config["current-context"] = "elsewhere"
    path = folder / "kubeconfig"
    credentials.write_private(path, json.dumps(config).encode())
    return path


def _volume(number: int) -> dict[str, Any]:
    """A disk: this cluster makes none by itself."""
    spec = {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"}}
    spec["persistentVolumeReclaimPolicy"] = "Retain"
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"home-{number}"}, "spec": spec}


def account(cluster: RealCluster, person: str, folder: Path) -> Api:
    """The API as a person's pods see it."""
    space = f"kf-{person}"
    path = f"/api/v1/namespaces/{space}/serviceaccounts/notebook/token"
    token = cluster.api.request("POST", path, {"spec": {}})["status"]["token"]
    config = json.loads(cluster.kubeconfig_for(f"{person}-token", namespace=space).read_text())
    config["users"][0]["user"] = {"token": token}
    file = folder / f"{person}.json"
    credentials.write_private(file, json.dumps(config).encode())
    return Api(file)


def refused(call: Callable[..., Any], *arguments: Any) -> str:
    """The words of a refusal."""
    with pytest.raises(ApiStatusError) as found:
        call(*arguments)
    assert found.value.code == 403, found.value
    return found.value.message


def start(hub: Hub, name: str) -> Person:
    person = Person(hub, name)
    if not person.ready():
        person.spawn(hardware="small")
        person.wait_ready()
    return person


def test_a_server_runs_as_its_persons_account_in_a_namespace_of_its_own(hub: Hub, real_cluster: RealCluster) -> None:
    api = real_cluster.api
    start(hub, "ann")
    space = api.get("v1", "Namespace", "kf-ann", "")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert space["metadata"]["annotations"]["jupyterlab-kf.io/owner"] == "ann"
    pod = api.get("v1", "Pod", "jupyter-ann", "kf-ann")
    assert pod["spec"]["serviceAccountName"] == "notebook"
    assert pod["status"]["phase"] == "Running"
    bound = {one["metadata"]["name"]: one for one in api.list("rbac.authorization.k8s.io/v1", "RoleBinding", "kf-ann")}
    assert {one["subjects"][0]["name"] for name, one in bound.items() if name != "kf-hub-namespace"} == {"notebook"}
    found = {
        one["metadata"]["name"]: one["spec"] for one in api.list("networking.k8s.io/v1", "NetworkPolicy", "kf-ann")
    }
    inward = [one["ingress"] for one in found.values() if one["policyTypes"] == ["Ingress"]]
    assert [{"from": [{"podSelector": {}}]}] in inward, "from the person's own pods"
    assert all(source["from"] for rules in inward for source in rules), "and from nobody at large"
    (outward,) = [one["egress"] for one in found.values() if one["policyTypes"] == ["Egress"]]
    assert "169.254.169.254/32" in outward[0]["to"][0]["ipBlock"]["except"]
    assert all(one.get("podSelector") == {} for one in found.values()), "for every pod"


def test_a_person_can_do_what_the_extension_needs_and_sees_nobody_else(
    hub: Hub, real_cluster: RealCluster, tmp_path: Path
) -> None:
    start(hub, "ann")
    start(hub, "bob")
    ann = account(real_cluster, "ann", tmp_path)
    golden = Path(__file__).parents[1] / "golden" / "manifests" / "tensorflow.yaml"
    (job,) = [one for one in yaml.safe_load_all(golden.read_text()) if one["kind"] == "TFJob"]
    job["metadata"] = {"name": "mine", "namespace": "kf-ann"}
    ann.create(job)
    assert [one["metadata"]["name"] for one in ann.list(job["apiVersion"], "TFJob", "kf-ann")] == ["mine"]
    assert "jupyter-ann" in [one["metadata"]["name"] for one in ann.list("v1", "Pod", "kf-ann")]
    assert refused(ann.list, "v1", "Pod", "kf-bob")
    assert refused(ann.list, "v1", "PersistentVolumeClaim", "kf-bob")
    assert refused(ann.list, "v1", "Pod", "")
    assert refused(ann.list, "v1", "Secret", "kf-ann")
    assert refused(ann.create, {**job, "metadata": {"name": "mine", "namespace": "kf-bob"}})
    assert refused(ann.request, "DELETE", "/apis/networking.k8s.io/v1/namespaces/kf-ann/networkpolicies/kf-inside")
    ann.close()


def test_the_hub_cannot_leave_what_it_made(hub: Hub, real_cluster: RealCluster) -> None:
    start(hub, "ann")
    api = Api(real_cluster.kubeconfig_for(HUB))
    group = "rbac.authorization.k8s.io"

    def binding(space: str, role: str) -> dict[str, Any]:
        subject = {"apiGroup": group, "kind": "User", "name": HUB}
        return {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "more", "namespace": space},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }

    boundary = "the hub writes only into namespaces that it made"
    assert boundary in refused(api.create, binding("kube-system", "kf-hub-namespace"))
    for role in ("admin", "kf-katib-controllers"):
        assert "attempting to grant" in refused(api.create, binding("kf-ann", role)), "of the roles only its own"
    for name, labels in (("other", {"app.kubernetes.io/managed-by": "jupyterlab-kf-hub"}), ("kf-other", {})):
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        assert boundary in refused(api.create, space)
    for path in ("/api/v1/secrets", "/api/v1/configmaps", "/api/v1/namespaces/kf-ann/secrets", "/api/v1/namespaces"):
        assert refused(api.request, "GET", path)
    assert refused(api.request, "PATCH", "/api/v1/namespaces/kf-ann", {"metadata": {}})
    api.close()


def test_a_namespace_of_somebody_else_is_not_taken(hub: Hub, real_cluster: RealCluster) -> None:
    real_cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kf-eve"}})
    eve = Person(hub, "eve")
    answer = eve.api("POST", "/users/eve/server", {"user_options": {"hardware": "small"}})
    said = answer.json().get("message", "") if answer.status_code == 400 else eve.progress()[-1]["message"]
    assert "was not made by this hub for eve" in said
    assert real_cluster.api.list("rbac.authorization.k8s.io/v1", "RoleBinding", "kf-eve") == []


def test_what_was_made_is_there_again_and_nothing_is_asked_twice(hub: Hub, real_cluster: RealCluster) -> None:
    ann = start(hub, "ann")
    before = {one["metadata"]["uid"] for one in real_cluster.api.list("v1", "ServiceAccount", "kf-ann")}
    ann.stop()
    wait(
        lambda: not real_cluster.api.list("v1", "Pod", "kf-ann", labels="component=singleuser-server"), "gone", 60, hub
    )
    # Somebody has taken a policy away, and the hub was restarted.
    real_cluster.api.delete("networking.k8s.io/v1", "NetworkPolicy", "kf-inside", "kf-ann")
    hub.stop()
    hub.start()
    start(hub, "ann")
    assert {one["metadata"]["uid"] for one in real_cluster.api.list("v1", "ServiceAccount", "kf-ann")} == before
    assert real_cluster.api.get("networking.k8s.io/v1", "NetworkPolicy", "kf-inside", "kf-ann")


def test_a_create_whose_answer_is_late_does_not_cost_the_pod(hub: Hub, real_cluster: RealCluster) -> None:
    start(hub, "fay")
    asked = [
        event["verb"]
        for event in real_cluster.audit()
        if (event.get("objectRef") or {}).get("namespace") == "kf-fay"
        and event["objectRef"].get("resource") == "pods"
        and event["user"].get("username") == HUB
        and event["stage"] == "ResponseComplete"
    ]
    assert asked.count("create") == 2, "it was asked again"
    assert "delete" not in asked


@pytest.mark.parametrize(("person", "seconds"), OUTAGES)
def test_an_outage_ends_no_start_and_no_server(
    hub: Hub, real_cluster: RealCluster, person: str, seconds: float
) -> None:
    ann = start(hub, "ann")
    uid = real_cluster.api.get("v1", "Pod", "jupyter-ann", "kf-ann")["metadata"]["uid"]
    starting = Person(hub, person)
    starting.form()
    real_cluster.order("kill", "kube-apiserver")
    away = time.monotonic()
    try:
        starting.spawn(hardware="small")
        assert starting.server() is not None, "it starts"
        while time.monotonic() < away + seconds:  # the outage itself
            time.sleep(0.5)
        assert ann.ready(), "a server that runs is not given up"
    finally:
        real_cluster.order("resume", "kube-apiserver")
    back = time.monotonic()
    starting.wait_ready()
    started = time.monotonic() - back
    assert ann.ready()
    assert real_cluster.api.get("v1", "Pod", "jupyter-ann", "kf-ann")["metadata"]["uid"] == uid
    # The hub sees what happens again: a pod that is lost is noticed, and another start has its events.
    real_cluster.api.delete("v1", "Pod", f"jupyter-{person}", f"kf-{person}", grace=0)
    lost = time.monotonic()
    wait(lambda: not starting.ready(), "a lost pod is noticed", 60, hub)
    noticed = time.monotonic() - lost
    print(
        f"after {seconds:.0f} s away: the start was ready {started:.1f} s later, a lost pod noticed in {noticed:.1f} s"
    )
    assert hub.process is not None
    assert hub.process.poll() is None


def test_a_day_takes_exactly_the_rights_that_the_hub_has(
    hub: Hub, real_cluster: RealCluster, manifests: list[dict[str, Any]]
) -> None:
    Person(hub, "hal").form()
    start(hub, "hal")  # its pod is asked for twice
    hub.stop()
    hub.start()  # it asks for what ran
    start(hub, "hal").stop()
    start(hub, "hal").stop()  # in the namespace that is there
    granted = {
        (group, resource, verb)
        for one in manifests
        if one["kind"] == "ClusterRole" and one["metadata"]["name"].startswith("kf-hub-")
        for rule in one["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    used = set()
    for event in real_cluster.audit():
        ref = event.get("objectRef") or {}
        allowed = event.get("annotations", {}).get("authorization.k8s.io/decision") == "allow"
        resource = ref.get("resource", "selfsubjectreviews")  # or no resource at all, such as /version
        if event["user"].get("username") == HUB and allowed and resource != "selfsubjectreviews":
            used.add((ref.get("apiGroup", ""), resource, event["verb"]))
    assert used - granted == set(), "used, but not by these roles"
    group = "rbac.authorization.k8s.io"
    spared = {
        ("", "persistentvolumeclaims", "delete"),  # when a person is deleted
        ("", "persistentvolumeclaims", "get"),  # when a quota refuses one
        # What is applied and not there yet is asked for as a patch; giving a right is seen in its binding.
        ("", "serviceaccounts", "create"),
        ("networking.k8s.io", "networkpolicies", "create"),
        (group, "rolebindings", "create"),
        (group, "clusterroles", "bind"),
    }
    assert granted - used - spared == set(), "granted, but never used"
