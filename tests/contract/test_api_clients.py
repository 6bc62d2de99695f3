"""The Python clients that people use, against the API server alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from api_harness import Served, fresh_server  # noqa: F401  the fixture

# Their annotations say less than their code does, so they are taken without.
kubernetes: Any = pytest.importorskip("kubernetes")
dynamic_client: Any = pytest.importorskip("kubernetes.dynamic")
kubernetes_asyncio: Any = pytest.importorskip("kubernetes_asyncio")
kr8s: Any = pytest.importorskip("kr8s")
kr8s_objects: Any = pytest.importorskip("kr8s.objects")
k8s = kubernetes.client

# Not ours to mend: these clients leave sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture
def served(fresh_server: Served) -> Served:  # noqa: F811  the fixture
    return fresh_server


@pytest.fixture
def api(served: Served) -> Any:
    return kubernetes.config.new_client_from_config(str(served.kubeconfig))


def job(name: str) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "tensorflow", "image": "x"}]}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": name},
        "spec": {"tfReplicaSpecs": {"Worker": {"replicas": 1, "template": template}}},
    }


JOBS = ("kubeflow.org", "v1", "default", "tfjobs")


def test_kubernetes_custom_objects(api: Any) -> None:
    custom = k8s.CustomObjectsApi(api)
    made = custom.create_namespaced_custom_object(*JOBS, job("t"))
    with pytest.raises(k8s.ApiException) as caught:
        custom.create_namespaced_custom_object(*JOBS, job("t"))
    assert (caught.value.status, '"reason":"AlreadyExists"' in caught.value.body) == (409, True)
    custom.patch_namespaced_custom_object(*JOBS, "t", {"spec": {"runPolicy": {"suspend": True}}})
    with pytest.raises(k8s.ApiException) as stale:
        custom.replace_namespaced_custom_object(*JOBS, "t", made)
    assert stale.value.status == 409
    custom.patch_namespaced_custom_object_status(*JOBS, "t", {"status": {"startTime": "2026-01-01T00:00:00Z"}})
    got = custom.get_namespaced_custom_object(*JOBS, "t")
    assert (got["metadata"]["generation"], got["status"]["startTime"]) == (2, "2026-01-01T00:00:00Z")
    assert len(custom.list_namespaced_custom_object(*JOBS)["items"]) == 1
    assert custom.delete_namespaced_custom_object(*JOBS, "t")["status"] == "Success"


def test_kubernetes_core_objects(api: Any) -> None:
    core = k8s.CoreV1Api(api)
    spec = k8s.V1PodSpec(containers=[k8s.V1Container(name="c", image="busybox")])
    core.create_namespaced_pod("default", k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="p", labels={"a": "b"}), spec=spec))
    core.patch_namespaced_pod("p", "default", {"metadata": {"labels": {"c": "d"}}})
    [pod] = core.list_namespaced_pod(
        "default", label_selector="a=b,c in (d)", field_selector="status.phase=Pending"
    ).items
    assert pod.metadata.labels == {"a": "b", "c": "d"}
    assert pod.status.qos_class == "BestEffort"
    core.delete_namespaced_pod("p", "default", grace_period_seconds=0)
    assert core.list_namespaced_pod("default").items == []
    assert next(ns.metadata.name for ns in core.list_namespace().items) == "default"
    assert k8s.VersionApi(api).get_code().minor == "36"


def test_kubernetes_watch(api: Any) -> None:
    core = k8s.CoreV1Api(api)
    seen: list[tuple[str, str]] = []

    def follow() -> None:
        for event in kubernetes.watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=20):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                return

    core.create_namespaced_config_map("default", k8s.V1ConfigMap(metadata=k8s.V1ObjectMeta(name="before")))
    thread = threading.Thread(target=follow)
    thread.start()
    other = k8s.CoreV1Api(kubernetes.client.ApiClient(api.configuration))
    while not seen:
        threading.Event().wait(0.01)
    other.create_namespaced_config_map("default", k8s.V1ConfigMap(metadata=k8s.V1ObjectMeta(name="after")))
    other.delete_namespaced_config_map("before", "default")
    thread.join(20)
    assert seen == [("ADDED", "before"), ("ADDED", "after"), ("DELETED", "before")]


def test_kubernetes_dynamic_client(api: Any, tmp_path: Path) -> None:
    dynamic = dynamic_client.DynamicClient(api, cache_file=str(tmp_path / "discovery"))
    jobs = dynamic.resources.get(api_version="kubeflow.org/v1", kind="TFJob")
    jobs.create(job("d"), namespace="default")
    applied = job("d") | {"metadata": {"name": "d", "labels": {"x": "y"}}}
    done = jobs.server_side_apply(applied, name="d", namespace="default", field_manager="me", force_conflicts=True)
    assert done.metadata.labels.x == "y"
    both = dynamic.resources.get(api_version="kubeflow.org/v2beta1", kind="MPIJob")
    assert both.get(namespace="default").items == []


async def test_kubernetes_asyncio(served: Served) -> None:
    await kubernetes_asyncio.config.load_kube_config(str(served.kubeconfig))
    async with kubernetes_asyncio.client.ApiClient() as api:
        core = kubernetes_asyncio.client.CoreV1Api(api)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
        await core.create_namespaced_config_map("default", body)
        kwargs = {"field_selector": "", "label_selector": "", "resource_version": "0"}
        listed = await core.list_namespaced_config_map("default", resource_version_match="NotOlderThan", **kwargs)
        assert [item.metadata.name for item in listed.items] == ["a"]
        version = listed.metadata.resource_version
        await core.delete_namespaced_config_map("a", "default")
        async with kubernetes_asyncio.watch.Watch().stream(
            core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=10
        ) as stream:
            async for event in stream:
                assert (event["type"], event["object"].metadata.name) == ("DELETED", "a")
                break


@pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning")
def test_kr8s(served: Served) -> None:
    pod_class, config_class, new_class = kr8s_objects.Pod, kr8s_objects.ConfigMap, kr8s_objects.new_class
    api = kr8s.api(kubeconfig=str(served.kubeconfig))
    pod = pod_class({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}, api=api)
    pod.create()
    assert pod.exists()
    pod.label(a="b")
    assert [found.name for found in api.get("pods", label_selector={"a": "b"})] == ["p"]
    assert pod_class.get("p", api=api).metadata.labels == {"a": "b"}
    jobs = new_class("TFJob", version="kubeflow.org/v1", namespaced=True)
    tf_job = jobs(job("t"), api=api)
    tf_job.create()
    tf_job.patch({"spec": {"runPolicy": {"suspend": True}}})
    tf_job.refresh()
    assert tf_job.spec.runPolicy.suspend is True
    config = config_class({"metadata": {"name": "c"}, "data": {"a": "1"}}, api=api)
    config.create()
    for kind, obj in api.watch("configmaps"):
        assert (kind, obj.name) == ("ADDED", "c")
        break
    tf_job.delete()
    pod.delete()
    pod.wait("delete", timeout=10)
