"""That the real cluster is one: each part of it does what it is there for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, ApiStatusError, until
from bed.cases import job
from bed.cluster import RealCluster
from bed.simulated import EXIT_CODE, RUNS_FOR
from needs import tool
from rights import restrict

Make = Callable[[RealCluster], str]
GROUP = "kubeflow.org/v1"
PROGRAMS = Path(__file__).parent / "programs"


def conditions(api: Api, kind: str, name: str, namespace: str, version: str = GROUP) -> dict[str, str]:
    status = api.get(version, kind, name, namespace).get("status", {})
    return {item["type"]: item["status"] for item in status.get("conditions", ())}


def ends(
    api: Api, kind: str, name: str, namespace: str, *, seconds: float = 60, version: str = GROUP
) -> dict[str, str]:
    """The conditions of a job that has ended."""

    def over() -> dict[str, str]:
        found = conditions(api, kind, name, namespace, version)
        return found if "True" in (found.get("Succeeded"), found.get("Failed")) else {}

    found: dict[str, str] = until(over, seconds=seconds, what=f"end of {kind} {name}")
    return found


def ended(api: Api, namespace: str) -> list[dict[str, Any]]:
    """All pods, once each has ended: a job has with its leader."""

    def over() -> bool:
        return all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in api.list("v1", "Pod", namespace))

    until(over, seconds=60, what="the end of all pods")
    return api.list("v1", "Pod", namespace)


def simulated(kind: str, name: str, namespace: str, roles: dict[str, int], code: str, **more: Any) -> dict[str, Any]:
    """A job whose pods all end with this code, on simulated nodes."""
    template = {"annotations": {EXIT_CODE: code, RUNS_FOR: "1s"}}
    spec = job(kind, name, roles, template=template, **more).spec
    text = json.dumps(spec).replace('"schedulerName": "scripted"', '"terminationGracePeriodSeconds": 1')
    return {
        "apiVersion": GROUP,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": json.loads(text),
    }


@pytest.fixture
def api(real_cluster: RealCluster) -> Api:
    return real_cluster.api


# --- the control plane


def test_serves_the_version_it_is_built_from(api: Api) -> None:
    assert api.request("GET", "/version")["gitVersion"] == "v1.36.3"


def test_gives_users_the_rights_of_their_roles_and_tells_in_the_audit_log(
    real_cluster: RealCluster, api: Api, namespace: Make
) -> None:
    mine, other = namespace(real_cluster), namespace(real_cluster)
    user = Api(real_cluster.kubeconfig_for("ada", ("researchers",), namespace=mine))
    with pytest.raises(ApiStatusError, match='User "ada" cannot list resource "pods"') as refused:
        user.list("v1", "Pod")
    assert refused.value.code == 403
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "viewers", "namespace": mine},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "researchers"}],
    }
    api.create(binding)
    until(lambda: _allowed(user, mine), seconds=60, what="the right to list pods")
    assert not _allowed(user, other)
    user.close()
    told = [
        (event["objectRef"]["namespace"], event["responseStatus"]["code"])
        for event in real_cluster.audit()
        if event["user"].get("username") == "ada" and event.get("objectRef", {}).get("resource") == "pods"
    ]
    assert told[0] == (mine, 403)
    assert (mine, 200) in told
    assert told[-1] == (other, 403)


def _allowed(user: Api, namespace: str) -> bool:
    try:
        user.list("v1", "Pod", namespace)
    except ApiStatusError as error:
        if error.code != 403:
            raise
        return False
    return True


def test_pod_security_refuses_a_privileged_pod(real_cluster: RealCluster, api: Api, namespace: Make) -> None:
    name = namespace(real_cluster)
    restrict(api, name)
    container = {"name": "main", "image": "x", "securityContext": {"privileged": True}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": name},
        "spec": {"containers": [container]},
    }
    with pytest.raises(ApiStatusError, match="violates PodSecurity"):
        api.create(pod)


# --- the training operator, on simulated nodes


def test_job_gets_pods_that_run_and_succeeds(real_cluster: RealCluster, api: Api, namespace: Make) -> None:
    name = namespace(real_cluster)
    api.create(simulated("PyTorchJob", "pt", name, {"Master": 1, "Worker": 2}, "0"))
    found = ends(api, "PyTorchJob", "pt", name)
    assert found == {"Created": "True", "Running": "False", "Succeeded": "True"}
    pods = api.list("v1", "Pod", name)
    assert [pod["metadata"]["name"] for pod in pods] == ["pt-master-0", "pt-worker-0", "pt-worker-1"]
    assert {pod["spec"].get("nodeName", "")[:4] for pod in ended(api, name)} == {"sim-"}
    environment = {item["name"]: item.get("value") for item in pods[1]["spec"]["containers"][0]["env"]}
    assert environment["MASTER_ADDR"] == "pt-master-0"
    assert environment["WORLD_SIZE"] == "3"


def test_job_fails_with_its_pods(real_cluster: RealCluster, api: Api, namespace: Make) -> None:
    name = namespace(real_cluster)
    api.create(simulated("TFJob", "tf", name, {"Worker": 1}, "3", restart="Never"))
    assert ends(api, "TFJob", "tf", name)["Failed"] == "True"
    (pod,) = api.list("v1", "Pod", name)
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


def test_webhook_refuses_a_job_in_its_own_words(real_cluster: RealCluster, api: Api, namespace: Make) -> None:
    name = namespace(real_cluster)
    wrong = simulated("PyTorchJob", "pt", name, {"Master": 1}, "0", container={"name": "main"})
    with pytest.raises(ApiStatusError, match="must have at least one container with name pytorch"):
        api.create(wrong)


def test_unknown_field_is_refused(real_cluster: RealCluster, api: Api, namespace: Make) -> None:
    name = namespace(real_cluster)
    with pytest.raises(ApiStatusError, match=r'unknown field "spec.nprocsPerNode"'):
        api.create(simulated("PyTorchJob", "pt", name, {"Master": 1}, "0", nprocsPerNode="2"))


def test_operator_runs_with_the_rights_of_its_manifests(real_cluster: RealCluster) -> None:
    operator = "system:serviceaccount:kubeflow:training-operator"
    events = [event for event in real_cluster.audit() if event["user"].get("username") == operator]
    assert any(event["verb"] == "create" and event["objectRef"]["resource"] == "pods" for event in events)
    assert [event for event in events if event["responseStatus"].get("code") == 403] == []


def test_api_server_that_is_killed_comes_back_with_everything(
    real_cluster: RealCluster, api: Api, namespace: Make
) -> None:
    name = namespace(real_cluster)
    before = real_cluster.state()["components"]["kube-apiserver"]
    os.kill(before, signal.SIGKILL)

    def back() -> bool:
        try:
            return bool(api.get("v1", "Namespace", name, ""))
        except OSError:
            return False

    until(back, seconds=60, what="return of the API server")
    until(lambda: _submitted(api, name), seconds=60, what="a job accepted through the webhook")
    assert ends(api, "TFJob", "after", name)["Succeeded"] == "True"


def _submitted(api: Api, namespace: str) -> bool:
    try:
        return bool(api.create(simulated("TFJob", "after", namespace, {"Worker": 1}, "0")))
    except (ApiStatusError, OSError):
        return False


def test_component_can_be_taken_away_for_a_while(real_cluster: RealCluster, api: Api, namespace: Make) -> None:
    name = namespace(real_cluster)
    real_cluster.order("halt", "kube-scheduler")
    pod = {"containers": [{"name": "main", "image": "x"}]}
    api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": name}, "spec": pod})
    assert "nodeName" not in api.get("v1", "Pod", "p", name)["spec"]
    assert "kube-scheduler" not in real_cluster.state()["components"]
    real_cluster.order("resume", "kube-scheduler")
    until(lambda: api.get("v1", "Pod", "p", name)["spec"].get("nodeName"), seconds=60, what="a node for the pod")


# --- the MPI operator


def test_mpi_job_of_the_second_version_runs(mpi_cluster: RealCluster, namespace: Make) -> None:
    name = namespace(mpi_cluster)
    api = mpi_cluster.api
    template = {"spec": {"containers": [{"name": "mpi", "image": "x", "command": ["true"]}]}}
    roles = {"Launcher": {"replicas": 1, "template": template}, "Worker": {"replicas": 2, "template": template}}
    api.create(
        {
            "apiVersion": "kubeflow.org/v2beta1",
            "kind": "MPIJob",
            "metadata": {"name": "mpi", "namespace": name},
            "spec": {"slotsPerWorker": 2, "mpiReplicaSpecs": roles},
        }
    )
    found = ends(api, "MPIJob", "mpi", name, version="kubeflow.org/v2beta1")
    assert found["Succeeded"] == "True"
    hosts = api.get("v1", "ConfigMap", "mpi-config", name)["data"]["hostfile"].splitlines()
    assert hosts == [f"mpi-worker-{index}.mpi.{name}.svc slots=2" for index in (0, 1)]


# --- the real node


def _program(api: Api, namespace: str, program: str) -> dict[str, Any]:
    """A ConfigMap with a program, and a pod template that runs it."""
    data = {"program.py": (PROGRAMS / f"{program}.py").read_text()}
    api.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": program, "namespace": namespace}, "data": data}
    )
    return {
        "command": ["python3", "/code/program.py"],
        "image": "python:3",
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
    }


def _real(kind: str, name: str, namespace: str, roles: dict[str, int], container: dict[str, Any]) -> dict[str, Any]:
    """A job that runs for real."""
    found = simulated(kind, name, namespace, roles, "0", container=container, restart="Never")
    for replica in next(iter(found["spec"].values())).values():
        replica["template"] = {"spec": replica["template"]["spec"]}
        replica["template"]["spec"]["volumes"] = [{"name": "code", "configMap": {"name": container["config"]}}]
        for item in replica["template"]["spec"]["containers"]:
            item.pop("config")
    return found


@pytest.mark.parametrize(
    ("kind", "program", "roles"),
    [("PyTorchJob", "rendezvous", {"Master": 1, "Worker": 2}), ("TFJob", "neighbours", {"Worker": 2})],
)
def test_real_job_succeeds_on_the_real_node(
    node_cluster: RealCluster, namespace: Make, kind: str, program: str, roles: dict[str, int]
) -> None:
    words = {"rendezvous": "sum 6.0", "neighbours": "heard from 1"}[program]
    name = namespace(node_cluster)
    api = node_cluster.api
    container = _program(api, name, program) | {"config": program}
    api.create(_real(kind, "real", name, roles, container))
    found = ends(api, kind, "real", name, seconds=120)
    for pod in ended(api, name):
        pod_name = pod["metadata"]["name"]
        log = api.request("GET", f"/api/v1/namespaces/{name}/pods/{pod_name}/log")
        assert pod["spec"]["nodeName"] == "real-0"
        assert words in log
    assert found["Succeeded"] == "True"


def _pod(name: str, namespace: str, *command: str, **container: Any) -> dict[str, Any]:
    main = {"name": "main", "image": "python:3", "command": list(command)} | container
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main]},
    }


def _phase(api: Api, name: str, namespace: str) -> str:
    return str(api.get("v1", "Pod", name, namespace)["status"]["phase"])


def test_ranks_of_an_mpi_job_talk_across_real_pods(node_cluster: RealCluster, namespace: Make) -> None:
    name = namespace(node_cluster)
    api = node_cluster.api
    says = "from mpi4py import MPI; w = MPI.COMM_WORLD; print(MPI.Get_processor_name(), w.allreduce(w.rank + 1))"
    launcher = {
        "name": "mpi",
        "image": "jupyterlab-kf/mpi:1",
        "command": ["mpirun", "--allow-run-as-root", "-n", "2", "--hostfile", "/etc/mpi/hostfile"],
        "args": ["python3", "-c", says],
        # Open MPI 5 does not read the variable of that purpose which the operator sets.
        "env": [{"name": "PRTE_MCA_plm_ssh_agent", "value": "/etc/mpi/kubexec.sh"}],
    }
    worker = {"name": "mpi", "image": "jupyterlab-kf/mpi:1"}
    roles = {
        role: {
            "replicas": count,
            "restartPolicy": "Never",
            "template": {"spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}},
        }
        for role, count, container in (("Launcher", 1, launcher), ("Worker", 2, worker))
    }
    metadata = {"name": "ranks", "namespace": name}
    api.create({"apiVersion": GROUP, "kind": "MPIJob", "metadata": metadata, "spec": {"mpiReplicaSpecs": roles}})
    found = ends(api, "MPIJob", "ranks", name, seconds=120)
    log = api.request("GET", f"/api/v1/namespaces/{name}/pods/ranks-launcher/log?container=mpi")
    assert found["Succeeded"] == "True", log
    assert {"ranks-worker-0 3", "ranks-worker-1 3"} <= set(log.splitlines())


def test_pod_that_wants_too_much_memory_is_killed(node_cluster: RealCluster, namespace: Make) -> None:
    name = namespace(node_cluster)
    api = node_cluster.api
    hungry = "data = []\nwhile True: data.append(bytearray(1 << 20))"
    api.create(_pod("hungry", name, "python3", "-c", hungry, resources={"limits": {"memory": "64Mi"}}))
    until(lambda: _phase(api, "hungry", name) == "Failed", seconds=60, what="end of the pod")
    (status,) = api.get("v1", "Pod", "hungry", name)["status"]["containerStatuses"]
    assert status["state"]["terminated"]["reason"] == "OOMKilled"
    assert status["state"]["terminated"]["exitCode"] == 137


def test_pods_reach_each_other_and_the_api_server_by_name(node_cluster: RealCluster, namespace: Make) -> None:
    name = namespace(node_cluster)
    api = node_cluster.api
    api.create(_pod("web", name, "python3", "-m", "http.server", "8000"))
    ports = [{"port": 80, "targetPort": 8000}]
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": name},
            "spec": {"selector": {"app": "web"}, "ports": ports},
        }
    )
    asks = _program(api, name, "asks")
    pod = _pod("asks", name, *asks["command"], volumeMounts=asks["volumeMounts"])
    pod["spec"]["volumes"] = [{"name": "code", "configMap": {"name": "asks"}}]
    api.create(pod)
    until(lambda: _phase(api, "asks", name) in ("Succeeded", "Failed"), seconds=90, what="end of the pod")
    log = api.request("GET", f"/api/v1/namespaces/{name}/pods/asks/log")
    assert "http://web 200" in log
    # The pod's own token is known, and it has no rights; that is told by name.
    assert f"system:serviceaccount:{name}:default" in log
    through = api.request("GET", f"/api/v1/namespaces/{name}/services/web/proxy/")
    assert "Directory listing" in through


# --- the end


def _traces() -> set[str]:
    """What a cluster could leave behind on this machine. Others may come and go meanwhile: only what is new counts."""
    links = subprocess.run(["ip", "-brief", "link"], check=False, capture_output=True, text=True).stdout
    settings = ("vm/overcommit_memory", "kernel/panic")
    return {
        *Path("/proc/self/mounts").read_text().splitlines(),
        *(str(path) for path in Path("/sys/fs/cgroup").glob("*/kf-real-*")),
        *(line.split()[0] for line in links.splitlines()),
        *(f"{name} = {Path(f'/proc/sys/{name}').read_text()}" for name in settings),
        *(str(path) for path in [Path("/tmp/k8s-webhook-server")] if path.exists()),
    }


def _commands_of(folder: Path) -> list[str]:
    """The processes of a cluster: each names its folder in its command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("who", ["nobody", "supervisor", "caretaker"])
def test_nothing_is_left_when_it_ends_however_it_ends(who: str) -> None:
    with_node = who != "nobody" and os.geteuid() == 0
    before = _traces()
    cluster = tool(lambda: RealCluster.start("ending", operator="none", nodes=0, with_node=with_node))
    folder, sockets, supervisor = cluster.plan.folder, cluster.plan.sockets, cluster.state()["pid"]
    try:
        assert _commands_of(folder)
        if who == "supervisor":
            os.kill(supervisor, signal.SIGKILL)
        elif who == "caretaker":
            parent = int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(parent, signal.SIGKILL)
        if who != "nobody":
            until(lambda: not _commands_of(folder), seconds=60, what="end of all processes")
            until(lambda: not sockets.exists(), seconds=60, what="removal of what was left")
    finally:
        cluster.stop()
    assert _commands_of(folder) == []
    assert not folder.exists()
    assert not sockets.exists()
    assert _traces() <= before
