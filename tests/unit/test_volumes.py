from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.embedded.kubelet.environment import Sources
from jupyterlab_kf.embedded.volumes import Cluster, MountError, inside, lay_out, nest, reclaim

Obj = dict[str, Any]
CONFIG = {
    "conf": {"data": {"a": "A", "hostfile": "w-0 slots=2\n"}, "binaryData": {"b": base64.b64encode(b"\0").decode()}}
}
SECRETS = {"sec": {"data": {"s": base64.b64encode(b"S").decode()}}}


def pod(*volumes: Obj) -> Obj:
    return {"metadata": {"name": "p", "namespace": "ml", "uid": "u"}, "spec": {"volumes": list(volumes)}}


def cluster(folder: Path) -> Cluster:
    sources = Sources(CONFIG.get, SECRETS.get, {}, "127.0.0.1", "127.1.1.1")
    claims = {"disk": folder / "disk"}
    return Cluster(sources, CONFIG.get, SECRETS.get, claims.get, lambda host: host == "w-0")


def test_files_of_config_maps_and_secrets(tmp_path: Path) -> None:
    volumes = [
        {"name": "c", "configMap": {"name": "conf"}},
        {"name": "s", "secret": {"secretName": "sec", "defaultMode": 0o400}},
        {"name": "some", "configMap": {"name": "conf", "items": [{"key": "a", "path": "x/y", "mode": 0o600}]}},
    ]
    laid = lay_out(pod(*volumes), tmp_path, cluster(tmp_path))
    assert (laid["c"] / "a").read_text() == "A"
    assert (laid["c"] / "b").read_bytes() == b"\0"
    assert (laid["c"] / "hostfile").read_text() == "localhost slots=2\n"
    assert (laid["s"] / "s").stat().st_mode & 0o777 == 0o400
    assert [str(p.relative_to(laid["some"])) for p in laid["some"].rglob("*") if p.is_file()] == ["x/y"]
    assert lay_out(pod(*volumes), tmp_path, cluster(tmp_path)) == laid


def test_what_is_missing_is_said_as_a_kubelet_does(tmp_path: Path) -> None:
    cases = {
        'MountVolume.SetUp failed for volume "v" : configmap "no" not found': {"configMap": {"name": "no"}},
        'MountVolume.SetUp failed for volume "v" : secret "no" not found': {"secret": {"secretName": "no"}},
        'MountVolume.SetUp failed for volume "v" : configmap "ml/conf" references non-existent config key: z': {
            "configMap": {"name": "conf", "items": [{"key": "z", "path": "z"}]}
        },
        'MountVolume.SetUp failed for volume "v" : persistentvolumeclaim "no" not found': {
            "persistentVolumeClaim": {"claimName": "no"}
        },
        'MountVolume.SetUp failed for volume "v" : hostPath type check failed: /no/such is not a directory': {
            "hostPath": {"path": "/no/such", "type": "Directory"}
        },
        'MountVolume.SetUp failed for volume "v" : volumes of kind nfs cannot be had on this node': {
            "nfs": {"path": "/"}
        },
    }
    for message, volume in cases.items():
        with pytest.raises(MountError) as caught:
            lay_out(pod({"name": "v", **volume}), tmp_path, cluster(tmp_path))
        assert caught.value.message == message


def test_optional_sources_may_be_missing(tmp_path: Path) -> None:
    laid = lay_out(pod({"name": "v", "configMap": {"name": "no", "optional": True}}), tmp_path, cluster(tmp_path))
    assert [*laid["v"].iterdir()] == []


def test_claims_host_paths_and_empty_folders(tmp_path: Path) -> None:
    volumes = [
        {"name": "d", "persistentVolumeClaim": {"claimName": "disk"}},
        {"name": "h", "hostPath": {"path": str(tmp_path / "new"), "type": "DirectoryOrCreate"}},
        {"name": "e", "emptyDir": {}},
    ]
    laid = lay_out(pod(*volumes), tmp_path / "v", cluster(tmp_path))
    assert laid == {"d": tmp_path / "disk", "h": tmp_path / "new", "e": tmp_path / "v" / "e"}
    assert all(folder.is_dir() for folder in laid.values())
    reclaim(tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_no_key_leads_out_of_its_volume(tmp_path: Path) -> None:
    for path in ("../x", "/etc/x", "a/../../x"):
        with pytest.raises(MountError):
            inside(tmp_path, path)
    items = [{"key": "a", "path": "../../escaped"}]
    with pytest.raises(MountError):
        lay_out(pod({"name": "v", "configMap": {"name": "conf", "items": items}}), tmp_path, cluster(tmp_path))


def test_a_volume_inside_another_one_is_seen_there(tmp_path: Path) -> None:
    home, data, more = (tmp_path / name for name in ("home", "data", "more"))
    for folder in (home, data, more):
        folder.mkdir()
    (data / "a").touch()
    assert nest(home, "x/data", data)
    assert nest(home, "x/data", data)
    assert (home / "x" / "data" / "a").exists()
    assert nest(home, "x/data", more)  # of another pod since
    assert (home / "x" / "data").readlink() == more
    (home / "empty").mkdir()
    assert nest(home, "empty", data)
    (home / "mine").mkdir()
    (home / "mine" / "kept").touch()
    assert not nest(home, "mine", data)
    assert (home / "mine" / "kept").exists()
    (home / "out").symlink_to(tmp_path)
    assert not nest(home, "out/side", data)
    reclaim(home)
    assert (data / "a").exists()
