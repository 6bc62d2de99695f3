from __future__ import annotations

from typing import Any

import pytest

from jupyterlab_kf.embedded.kubelet.devices import Devices
from jupyterlab_kf.embedded.kubelet.environment import (
    ConfigError,
    Mount,
    Sources,
    declared,
    expand,
    field_value,
    machine_defaults,
    resource_value,
    rewrite_paths,
    thread_default,
)
from jupyterlab_kf.embedded.kubelet.fields import unsupported
from jupyterlab_kf.manifests import pods

Obj = dict[str, Any]
POD: Obj = {
    "metadata": {
        "name": "p",
        "namespace": "ml",
        "uid": "u",
        "labels": {"b": "2", "a": '1"\n'},
        "annotations": {"x": "y"},
    },
    "spec": {"nodeName": "n", "containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}}}]},
}
MAPS = {"conf": {"data": {"k": "v"}}}
SOURCES = Sources(MAPS.get, {"sec": {"data": {"s": "t"}}}.get, {"cpu": "2", "memory": "4Gi"}, "127.0.0.1", "127.1.1.1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "a"),
        ("x$(A)y$(B)", "xay$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$a"),
        ("$A ${A} $ $(", "$A ${A} $ $("),
        ("$()", "$()"),
    ],
)
def test_expansion_is_that_of_kubernetes(text: str, expected: str) -> None:
    assert expand(text, {"A": "a"}) == expected


def test_later_values_win_and_may_use_earlier_ones() -> None:
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "conf"}}, {"secretRef": {"name": "sec"}}],
        "env": [{"name": "A", "value": "$(P_k)$(B)"}, {"name": "B", "value": "$(A)$(s)"}, {"name": "EMPTY"}],
    }
    assert declared(container, POD, SOURCES) == {"P_k": "v", "s": "t", "A": "v$(B)", "B": "v$(B)t", "EMPTY": ""}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"configMapKeyRef": {"name": "conf", "key": "z"}}, "couldn't find key z in ConfigMap ml/conf"),
        ({"secretKeyRef": {"name": "no", "key": "k"}}, 'secret "no" not found'),
        ({"fieldRef": {"fieldPath": "spec.nothing"}}, "unsupported fieldPath: spec.nothing"),
        ({"resourceFieldRef": {"resource": "limits.cpu", "containerName": "z"}}, "container z not found"),
    ],
)
def test_what_is_not_there(source: Obj, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        declared({"env": [{"name": "A", "valueFrom": source}]}, POD, SOURCES)


def test_optional_references_leave_the_variable_out() -> None:
    optional = {"configMapKeyRef": {"name": "no", "key": "k", "optional": True}}
    container = {
        "env": [{"name": "A", "valueFrom": optional}],
        "envFrom": [{"secretRef": {"name": "no", "optional": True}}],
    }
    assert declared(container, POD, SOURCES) == {}
    with pytest.raises(ConfigError, match='configmap "no" not found'):
        declared({"envFrom": [{"configMapRef": {"name": "no"}}]}, POD, SOURCES)


def test_the_downward_api() -> None:
    assert field_value("metadata.labels['b']", POD, SOURCES) == "2"
    assert field_value("metadata.labels", POD, SOURCES) == 'a="1\\"\\n"\nb="2"'
    assert field_value("metadata.annotations", POD, SOURCES) == 'x="y"'
    assert field_value("status.podIP", POD, SOURCES) == "127.1.1.1"
    container = POD["spec"]["containers"][0]
    assert resource_value({"resource": "limits.cpu"}, container, POD, SOURCES) == "2"
    assert resource_value({"resource": "limits.cpu", "divisor": "1m"}, container, POD, SOURCES) == "1500"
    assert resource_value({"resource": "limits.memory", "divisor": "1Gi"}, container, POD, SOURCES) == "4"
    assert resource_value({"resource": "requests.cpu", "containerName": "c"}, {}, POD, SOURCES) == "0"


def test_mount_paths_are_rewritten_where_they_begin_a_path() -> None:
    mounts = [Mount("/data", "/real/d"), Mount("/data/deep", "/real/deep"), Mount("/kf", "/real/kf")]
    cases = {
        "/data": "/real/d",
        "/data/x.csv": "/real/d/x.csv",
        "/data/deep/y": "/real/deep/y",
        "--in=/data/x": "--in=/real/d/x",
        "/kf/a:/data/b:/usr": "/real/kf/a:/real/d/b:/usr",
        "cat /data/f > '/kf/out'": "cat /real/d/f > '/real/kf/out'",
        "file:///data/x": "file:///real/d/x",
        "/database /home/data/x ./data x/data": "/database /home/data/x ./data x/data",
        "http://host/data/x": "http://host/data/x",
        "no path": "no path",
    }
    assert {text: rewrite_paths(text, mounts) for text in cases} == cases


def test_machine_defaults_yield_to_the_pod() -> None:
    env = machine_defaults({"GLOO_SOCKET_IFNAME": "eth0"}, pod_ip="127.1.1.1", root=True, linux=True)
    assert "GLOO_SOCKET_IFNAME" not in env
    assert env["OMPI_ALLOW_RUN_AS_ROOT"] == "1"
    assert "DMLC_NODE_HOST" not in env
    job = {"DMLC_ROLE": "worker", "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile"}
    job["OMPI_MCA_btl_tcp_if_exclude"] = "lo,docker0"
    env = machine_defaults(job, pod_ip="127.1.1.1", root=False, linux=True)
    assert env["DMLC_NODE_HOST"] == "127.1.1.1"
    assert env["PRTE_MCA_prte_default_hostfile"] == "/etc/mpi/hostfile"
    assert "OMPI_MCA_btl_tcp_if_include" not in env
    assert "OMPI_ALLOW_RUN_AS_ROOT" not in env
    assert thread_default({"resources": {"limits": {"cpu": "500m"}}}) == {"OMP_NUM_THREADS": "1"}
    assert thread_default({}) == {}


def test_gpus_are_given_to_one_container_each() -> None:
    def wants(name: str, count: int) -> Obj:
        return {"name": name, "resources": {"limits": {"nvidia.com/gpu": str(count)}}}

    devices = Devices(3)
    assert devices.environment("u", wants("a", 2))["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert devices.environment("u", wants("a", 2))["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert devices.environment("v", wants("b", 1))["NVIDIA_VISIBLE_DEVICES"] == "2"
    assert devices.environment("v", {"name": "c"})["CUDA_VISIBLE_DEVICES"] == ""
    devices.free("u")
    assert devices.environment("w", wants("d", 1))["CUDA_VISIBLE_DEVICES"] == "0"
    again = Devices(3)
    again.restore("w", "d", {"CUDA_VISIBLE_DEVICES": "0"})
    assert again.environment("x", wants("e", 1))["CUDA_VISIBLE_DEVICES"] == "1"
    assert Devices(0).environment("u", wants("a", 1)) == {}


def test_every_field_that_is_not_honoured_is_said() -> None:
    assert unsupported(POD, 1) == []
    assert [message.split(" ")[0] for _, message in unsupported(POD, 2)] == ["spec.containers[0].resources.limits.cpu"]
    container = {"name": "c", "securityContext": {"runAsUser": 7, "seccompProfile": {"type": "RuntimeDefault"}}}
    container |= {
        "lifecycle": {"postStart": {"sleep": {}}, "preStop": {}},
        "volumeMounts": [{"name": "v", "mountPropagation": "Bidirectional"}],
    }
    spec = {"hostNetwork": True, "dnsConfig": {"x": 1}, "securityContext": {"fsGroup": 1}, "containers": [container]}
    said = [message.split(" is not honoured")[0] for _, message in unsupported({"metadata": {}, "spec": spec}, 2)]
    assert said == [
        "spec.hostNetwork",
        "spec.dnsConfig",
        "spec.securityContext.fsGroup",
        "spec.containers[0].securityContext.runAsUser",
        "spec.containers[0].lifecycle.postStart",
        "spec.containers[0].volumeMounts.mountPropagation",
    ]


def test_a_volume_that_outlives_the_pod_and_is_only_to_be_read_is_said() -> None:
    mounts = [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in ("data", "host", "code", "own")]
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "host", "hostPath": {"path": "/srv"}},
        {"name": "code", "configMap": {"name": "code"}},
        {"name": "own", "emptyDir": {}},
    ]
    spec = {"volumes": volumes, "containers": [{"name": "c", "volumeMounts": mounts}]}
    said = [message.split(" is not honoured")[0] for _, message in unsupported({"metadata": {}, "spec": spec}, 2)]
    assert said == [f"spec.containers[0].volumeMounts[{name}].readOnly" for name in ("data", "host")]


def test_to_run_as_an_ordinary_user_is_what_this_node_does() -> None:
    ordinary = {"metadata": {}, "spec": {"securityContext": pods.confined_pod(), "containers": [{"name": "c"}]}}
    assert unsupported(ordinary, 2) == []
    root = {"metadata": {}, "spec": {"securityContext": {"runAsUser": 3}, "containers": [{"name": "c"}]}}
    assert [message.split(" is not honoured")[0] for _, message in unsupported(root, 2)] == [
        "spec.securityContext.runAsUser"
    ]
