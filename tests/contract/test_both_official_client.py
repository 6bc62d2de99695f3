"""The official client that a session hands out, on both clusters: typed objects, watches, our own kinds, discovery."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes import client, dynamic, watch
from sites import Site

import jupyterlab_kf as kf
from jupyterlab_kf.services import session


@pytest.fixture
def here(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kf.Cluster:
    monkeypatch.setenv("KUBECONFIG", str(site.kubeconfig))
    monkeypatch.setenv("KF_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(session, "_sessions", [])
    return kf.cluster()


def test_scripts_go_on_with_the_official_client(here: kf.Cluster, place: str, tmp_path: Path) -> None:
    with here.api_client() as api:
        core = client.CoreV1Api(api)
        made = core.create_namespaced_config_map(
            place, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="notes"), data={"a": "1"})
        )
        assert made.metadata.creation_timestamp is not None
        seen = []
        for event in watch.Watch().stream(core.list_namespaced_config_map, place, timeout_seconds=60):
            if event["object"].metadata.name == "notes":
                seen.append((event["type"], event["object"].data["a"]))
                if event["type"] == "ADDED":
                    core.patch_namespaced_config_map("notes", place, {"data": {"a": "2"}})
                else:
                    break
        assert seen == [("ADDED", "1"), ("MODIFIED", "2")]
        job = kf.plan("print(1)", "pytorch", name="digits", namespace=place).job
        custom = client.CustomObjectsApi(api)
        custom.create_namespaced_custom_object("kubeflow.org", "v1", place, "pytorchjobs", job)
        assert [one.name for one in kf.jobs(place)] == ["digits"]
        # A file of one's own: the package's default lies in a folder that everybody can write.
        kinds = dynamic.DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))
        found = kinds.resources.get(api_version="kubeflow.org/v1", kind="PyTorchJob").get("digits", place)
        assert found.spec.pytorchReplicaSpecs.Master.replicas == 1
        with pytest.raises(client.ApiException, match="404"):
            core.read_namespaced_config_map("nothing", place)
        kf.delete("digits", place)
