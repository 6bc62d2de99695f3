"""What a pod may ask of a node, one by one, with real processes.

On the embedded cluster alone: each is looked at from inside the node, with what differs from containers.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from node_cluster import Cluster, Obj, running

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.images import ImageError
from jupyterlab_kf.embedded.kubelet import Kubelet
from jupyterlab_kf.embedded.kubelet.machine import processors
from jupyterlab_kf.embedded.kubelet.processes import Attempt
from jupyterlab_kf.errors import ApiError

SERVER = """
import http.server, sys, os, time
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists("ok") or self.path == "/live" else 503); self.end_headers()
    def log_message(self, *a): pass
open("ok", "w").close()
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), H).serve_forever()
"""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(tmp_path) as made:
        yield made


def make(cluster: Cluster, kind: Any, name: str, **content: Any) -> Obj:
    return cluster.registry.create(kind, {"metadata": {"name": name}, **content}, namespace="default")


async def test_environment_from_everywhere(cluster: Cluster) -> None:
    make(cluster, kinds.CONFIG_MAP, "conf", data={"A": "a", "B": "b"})
    make(cluster, kinds.SECRET, "sec", data={"PW": base64.b64encode(b"geheim").decode()})
    field = {"fieldRef": {"fieldPath": "metadata.name"}}
    env = [
        {"name": "X", "value": "x"},
        {"name": "Y", "value": "$(X)-$(A)-$$(X)-$(NO)"},
        {"name": "ME", "valueFrom": field},
        {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "PW"}}},
        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k", "optional": True}}},
    ]
    container = {
        "env": env,
        "envFrom": [{"configMapRef": {"name": "conf"}, "prefix": "P_"}, {"configMapRef": {"name": "conf"}}],
        "resources": {"limits": {"memory": "256Mi"}},
        "args": ["$(Y)"],
    }
    cluster.run("env", "sh", "-c", 'echo "$0|$ME|$PW|$MEM|$P_A|$IP|${NONE-unset}|$HOSTNAME"', container=container)
    pod = await cluster.ended("env")
    ip = pod["status"]["podIP"]
    assert await cluster.log("env") == f"x-a-$(X)-$(NO)|env|geheim|256|a|{ip}|unset|env\n"


async def test_a_missing_key_is_a_configuration_error_until_it_is_there(cluster: Cluster) -> None:
    env = [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}]
    cluster.run("late", "sh", "-c", "echo $K", container={"env": env})
    await cluster.until(lambda: "CreateContainerConfigError" in str(cluster.state("late").get("state")))
    assert cluster.state("late")["state"]["waiting"]["message"] == 'configmap "late" not found'
    make(cluster, kinds.CONFIG_MAP, "late", data={"k": "here"})
    await cluster.ended("late")
    assert await cluster.log("late") == "here\n"


async def test_volumes_of_every_kind(cluster: Cluster) -> None:
    make(cluster, kinds.CONFIG_MAP, "conf", data={"a": "A"}, binaryData={"b": base64.b64encode(b"\xff").decode()})
    make(cluster, kinds.SECRET, "sec", data={"s": base64.b64encode(b"S").decode()})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    make(cluster, kinds.PERSISTENT_VOLUME_CLAIM, "disk", spec=claim)
    labels = {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    sources = [{"configMap": {"name": "conf", "items": [{"key": "a", "path": "deep/a"}]}}, {"secret": {"name": "sec"}}]
    volumes = [
        {"name": "conf", "configMap": {"name": "conf", "defaultMode": 0o600}},
        {"name": "all", "projected": {"sources": [*sources, {"downwardAPI": labels}]}},
        {"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts = [
        {"name": "conf", "mountPath": "/etc/conf"},
        {"name": "all", "mountPath": "/all"},
        {"name": "disk", "mountPath": "/disk", "subPath": "mine"},
        {"name": "tmp", "mountPath": "/scratch"},
        {"name": "conf", "mountPath": "/scratch/inside"},
    ]
    script = "ls /scratch; cat /etc/conf/a /all/deep/a /all/s /all/labels; wc -c < /etc/conf/b; echo kept > /disk/f; "
    script += "stat -c %a /etc/conf/a"
    spec = {"restartPolicy": "Never", "volumes": volumes}
    spec["containers"] = [{"name": "c", "image": "i", "command": ["sh", "-c", script], "volumeMounts": mounts}]
    cluster.create("vols", spec, labels={"x": "y"})
    await cluster.ended("vols")
    assert await cluster.log("vols") == 'inside\nAASx="y"1\n600\n'
    bound = cluster.registry.get(kinds.PERSISTENT_VOLUME_CLAIM, "default", "disk")
    assert bound["status"]["phase"] == "Bound"
    assert (cluster.kubelet.commons.claims_dir / bound["spec"]["volumeName"] / "mine" / "f").read_text() == "kept\n"
    assert any("MountPathRewritten" in e for e in cluster.events("vols"))
    cluster.registry.delete(kinds.PERSISTENT_VOLUME_CLAIM, "default", "disk")
    await cluster.until(lambda: not [*cluster.kubelet.commons.claims_dir.iterdir()])


async def test_probes_make_ready_and_restart(cluster: Cluster) -> None:
    get = {"httpGet": {"path": "/ready", "port": "web"}, "periodSeconds": 1, "failureThreshold": 1}
    live = {"httpGet": {"path": "/live", "port": "web"}, "periodSeconds": 1, "failureThreshold": 2}
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    container = {
        "env": env,
        "args": [SERVER, "$(IP)", "18931"],
        "ports": [{"name": "web", "containerPort": 18931}],
        "readinessProbe": get,
        "livenessProbe": {**live, "initialDelaySeconds": 1},
        "startupProbe": {**get, "failureThreshold": 20},
    }
    cluster.run(
        "web", sys.executable, "-c", container=container, restartPolicy="Always", terminationGracePeriodSeconds=1
    )
    await cluster.until(lambda: cluster.state("web").get("ready") is True)
    assert cluster.kubelet.address("default", "web", 18931)[1] == 18931
    pid = {"exec": {"command": ["sh", "-c", "exit 1"]}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.run("sick", "sleep", "60", container={"livenessProbe": pid}, restartPolicy="Always")
    await cluster.until(lambda: cluster.state("sick").get("restartCount", 0) >= 1)
    events = cluster.events("sick")
    assert "Unhealthy: Liveness probe failed: no output" in events
    assert "Killing: Container main failed liveness probe, will be restarted" in events


async def test_a_pods_deadline(cluster: Cluster) -> None:
    cluster.run("slow", "sleep", "60", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    pod = await cluster.ended("slow")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    await cluster.until(lambda: "terminated" in str(cluster.state("slow").get("state")))


async def test_a_container_over_its_memory_limit_is_killed(cluster: Cluster) -> None:
    code = "x = bytearray(300_000_000); import time; time.sleep(60)"
    cluster.run("fat", sys.executable, "-c", code, container={"resources": {"limits": {"memory": "100Mi"}}})
    await cluster.ended("fat")
    ended = cluster.state("fat")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


async def test_an_environment_that_cannot_be_made_is_an_image_that_cannot_be_pulled(cluster: Cluster) -> None:
    table = "images: [{match: mine, recipe: mine}]\nrecipes: {mine: {requirements: ['./no-such-folder']}}\n"
    cluster.settings.images_file.write_text(table)
    cluster.run("pull", "true", container={"image": "mine"})
    await cluster.until(lambda: "ImagePullBackOff" in str(cluster.state("pull").get("state")), limit=60)
    events = " ".join(cluster.events("pull"))
    assert 'Pulling: Pulling image "mine"' in events
    assert "Failed: Error: ErrImagePull" in events


async def test_the_users_table_names_environments_and_breaks_visibly(cluster: Cluster) -> None:
    cluster.settings.images_file.write_text(f"images: [{{match: mine, python: {sys.prefix}}}]\n")
    cluster.run("mine", "sh", "-c", "echo $VIRTUAL_ENV", container={"image": "mine"})
    await cluster.ended("mine")
    assert await cluster.log("mine") == f"{sys.prefix}\n"
    cluster.settings.images_file.write_text("images: [")
    cluster.run("broken", "true", container={"image": "mine"})
    await cluster.until(lambda: any("cannot be read" in e for e in cluster.events("broken")))


async def test_what_cannot_be_honoured_is_said(cluster: Cluster) -> None:
    cluster.run("odd", "true", hostNetwork=True, container={"securityContext": {"privileged": True}})
    await cluster.ended("odd")
    said = [e for e in cluster.events("odd") if e.startswith("FieldNotHonoured")]
    assert len(said) == 2


async def test_a_sidecar_serves_until_the_others_are_done(cluster: Cluster) -> None:
    side = {"name": "side", "image": "i", "command": ["sleep", "60"], "restartPolicy": "Always"}
    main = {"name": "main", "image": "i", "command": ["sh", "-c", "echo done"]}
    spec = {
        "restartPolicy": "Never",
        "initContainers": [side],
        "containers": [main],
        "terminationGracePeriodSeconds": 1,
    }
    cluster.create("sidecar", spec)
    await cluster.ended("sidecar")
    assert cluster.phase("sidecar") == "Succeeded"
    await cluster.until(lambda: not any(w.alive for w in cluster.kubelet._workers.values()))


async def test_logs_refuse_in_the_kubelets_words(cluster: Cluster) -> None:
    one = {"image": "i", "command": ["sh", "-c", "for i in 1 2 3 4; do echo line $i; done"]}
    cluster.create("two", {"restartPolicy": "Never", "containers": [{"name": "a", **one}, {"name": "b", **one}]})
    await cluster.ended("two")
    with pytest.raises(ApiError, match=r"a container name must be specified for pod two, choose one of: \[a b\]"):
        cluster.kubelet.logs("default", "two")
    with pytest.raises(ApiError, match="container zz is not valid for pod two"):
        cluster.kubelet.logs("default", "two", "zz")
    with pytest.raises(ApiError, match='previous terminated container "a" in pod "two" not found'):
        cluster.kubelet.logs("default", "two", "a", previous=True)
    assert await cluster.log("two", container="a", tail_lines=2) == "line 3\nline 4\n"
    assert await cluster.log("two", container="a", tail_lines=0) == ""
    assert await cluster.log("two", container="a", limit_bytes=9) == "line 1\nli"
    stamped = (await cluster.log("two", container="a", timestamps=True)).splitlines()
    assert stamped[0].endswith("Z line 1")
    assert await cluster.log("two", container="a", since_time="2100-01-01T00:00:00Z") == ""


async def test_a_new_line_is_seen_at_once(cluster: Cluster) -> None:
    cluster.run("tick", "sh", "-c", "for i in 1 2 3 4 5; do sleep 0.3; date +%s.%N; done")
    await cluster.until(lambda: cluster.phase("tick") == "Running")
    pieces = cluster.kubelet.logs("default", "tick", follow=True)
    delays = [time.time() - float(piece.split()[-1]) async for piece in pieces]
    assert min(delays) < 0.2, "the fastest of some, since a busy machine only adds to it"


async def test_the_node_and_its_lease(cluster: Cluster) -> None:
    node = cluster.registry.get(kinds.NODE, "", "here")
    assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"
    assert int(node["status"]["allocatable"]["cpu"]) >= 1
    assert cluster.registry.get(kinds.LEASE, "kube-node-lease", "here")["spec"]["holderIdentity"] == "here"


async def test_no_step_of_a_burst_is_long_and_starts_take_turns(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    worst, starting, most = 0.0, 0, 0
    plain, start, announced = asyncio.Handle._run, Attempt.start, Attempt._announced

    def timed(self: asyncio.Handle) -> None:
        nonlocal worst
        before = time.thread_time()  # not the wall clock: the machine may be busy
        plain(self)
        worst = max(worst, time.thread_time() - before)

    async def counted(self: Attempt, *args: Any) -> None:
        nonlocal starting, most
        starting += 1
        most = max(most, starting)
        await start(self, *args)

    def done(self: Attempt) -> None:
        nonlocal starting
        starting -= 1
        announced(self)

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    monkeypatch.setattr(Attempt, "start", counted)
    monkeypatch.setattr(Attempt, "_announced", done)
    for index in range(30):
        cluster.run(f"p{index}", "true")
    worst = 0.0
    for index in range(30):
        await cluster.ended(f"p{index}")
    assert worst < 0.05  # of CPU, as a busy machine's caches have it; a burst in one step takes 30 times a start
    assert most <= processors() + 1


async def test_deleting_a_pod_does_not_wait_for_its_environment(cluster: Cluster) -> None:
    begun, release = threading.Event(), threading.Event()

    def make(*_: Any, **__: Any) -> None:
        begun.set()
        release.wait(120)
        raise ImageError("given up")

    cluster.kubelet.commons.images.make = make  # type: ignore[method-assign,assignment]
    cluster.settings.images_file.write_text("images: [{match: m, recipe: m}]\nrecipes: {m: {requirements: [m]}}")
    cluster.run("pulls", "true", container={"image": "m"})
    await cluster.until(begun.is_set)
    cluster.registry.delete(kinds.POD, "default", "pulls")
    await cluster.until(lambda: not cluster.registry.list(kinds.POD, "default"))
    release.set()


async def test_a_node_that_shuts_down_ends_its_pods(cluster: Cluster) -> None:
    cluster.kubelet.commons.backoff_base = 30
    cluster.run("crashes", "false", restartPolicy="Always")
    for index in range(20):
        cluster.run(f"runs{index}", "sleep", "60", terminationGracePeriodSeconds=1)
    await cluster.until(lambda: all(cluster.phase(f"runs{index}") == "Running" for index in range(10)))
    await cluster.until(lambda: "CrashLoopBackOff" in str(cluster.state("crashes").get("state")))
    await cluster.kubelet.drain()
    await cluster.kubelet.stop()
    said = {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."}
    ended = [pod for pod in cluster.registry.list(kinds.POD) if pod["status"]["phase"] == "Failed"]
    assert len(ended) >= 11
    assert "crashes" in [pod["metadata"]["name"] for pod in ended]
    for pod in ended:
        status = pod["status"]
        assert said.items() <= status.items()
        condition = next(c for c in status["conditions"] if c["type"] == "DisruptionTarget")
        assert (condition["status"], condition["reason"]) == ("True", "TerminationByKubelet")
        assert condition["message"] == said["message"]
        state = status["containerStatuses"][0]["state"]
        assert state["terminated"]["exitCode"] == (1 if pod["metadata"]["name"] == "crashes" else 143)
    for pod in cluster.registry.list(kinds.POD):  # what had not begun yet goes on with the next daemon
        assert pod in ended or pod["status"]["phase"] == "Pending"
    cluster.kubelet = Kubelet(cluster.registry, cluster.settings, node="here")
    await cluster.kubelet.start()


async def test_adopted_pods_keep_their_status(cluster: Cluster) -> None:
    cluster.run("stays", "sleep", "60", terminationGracePeriodSeconds=1)
    await cluster.until(lambda: cluster.state("stays").get("ready") is True)
    before = cluster.pod("stays")
    await cluster.restart()
    await asyncio.sleep(0.2)
    assert cluster.pod("stays") == before


async def test_names_lead_to_moved_ports_where_all_pods_share_an_address(tmp_path: Path) -> None:
    async with running(tmp_path, shared_address=True) as cluster:
        labels = {"training.kubeflow.org/job-name": "j"}
        service = {"clusterIP": "None", "selector": labels, "ports": [{"port": 23456}]}
        make(cluster, kinds.SERVICE, "j-master-0", spec=service)
        env = [{"name": "MASTER_ADDR", "value": "j-master-0"}, {"name": "MASTER_PORT", "value": "23456"}]
        container = {"name": "c", "image": "i", "command": ["sh", "-c", "echo $MASTER_ADDR:$MASTER_PORT"], "env": env}
        container["ports"] = [{"containerPort": 23456}]
        cluster.create("j-master-0", {"restartPolicy": "Never", "containers": [container]}, labels=labels)
        pod = await cluster.ended("j-master-0")
        moved = json.loads(pod["metadata"]["annotations"]["jupyterlab-kf.io/ports"])["23456"]
        assert moved != 23456
        assert await cluster.log("j-master-0") == f"127.0.0.1:{moved}\n"
        node = cluster.registry.get(kinds.NODE, "", "here")
        assert "jupyterlab-kf.io/shared-address" in node["metadata"]["annotations"]
        assert pod["spec"]["containers"][0]["env"] == env


LISTEN = """
import os, socket, sys, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", int(os.environ["MASTER_PORT"]))); s.listen()
open("first", "x").close() if not os.path.exists("first") else time.sleep(60)
time.sleep(0.5); sys.exit(1)
"""


def replica(cluster: Cluster, name: str, *argv: str, policy: str = "Never") -> Obj:
    labels = {"training.kubeflow.org/job-name": "j"}
    env = [{"name": "MASTER_ADDR", "value": "j-master-0"}, {"name": "MASTER_PORT", "value": "23456"}]
    container = {"name": "c", "image": "i", "command": list(argv), "env": env, "ports": [{"containerPort": 23456}]}
    spec = {"restartPolicy": policy, "containers": [container], "terminationGracePeriodSeconds": 1}
    return cluster.create(name, spec, labels=labels)


async def test_a_replica_whose_told_port_is_taken_fails_visibly_and_goes_on_when_it_is_free(cluster: Cluster) -> None:
    selector = {"training.kubeflow.org/job-name": "j"}
    service = {"clusterIP": "None", "selector": selector, "ports": [{"port": 23456}]}
    for name in ("j-master-0", "j-worker-0"):
        make(cluster, kinds.SERVICE, name, spec=service)
    replica(cluster, "j-master-0", sys.executable, "-c", LISTEN, policy="OnFailure")
    replica(cluster, "j-worker-0", "sh", "-c", "echo $MASTER_PORT; sleep 60")
    await cluster.until(lambda: cluster.phase("j-worker-0") == "Running")
    await cluster.until(lambda: "running" in str(cluster.state("j-master-0").get("state")))
    port = int(json.loads(cluster.pod("j-master-0")["metadata"]["annotations"]["jupyterlab-kf.io/ports"])["23456"])
    assert port != 23456
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def squat() -> bool:
            try:
                squatter.bind(("127.0.0.1", port))
            except OSError:
                return False
            squatter.listen()
            return True

        await cluster.until(squat)
        await cluster.until(lambda: "PortTaken" in str(cluster.state("j-master-0")))
        assert any(
            e.startswith(f"PortTaken: port 23456 of j-master-0 is port {port}") for e in cluster.events("j-master-0")
        )
        await cluster.restart()
    await cluster.until(lambda: cluster.state("j-master-0").get("ready") is True)
    assert await cluster.log("j-worker-0") == f"{port}\n"
    assert cluster.state("j-master-0")["lastState"]["terminated"]["reason"] == "PortTaken"


async def test_a_server_that_is_told_where_to_listen_is_found_elsewhere_and_stays_there(cluster: Cluster) -> None:
    serve = (
        "import http.server, os; H = http.server.SimpleHTTPRequestHandler; H.do_POST = lambda self: os._exit(1); "
        "http.server.HTTPServer((os.environ['IP'], int(os.environ['PORT'])), H).serve_forever()"
    )
    ip = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    server = {
        "name": "server",
        "image": "busybox",
        "command": [sys.executable, "-c", serve],
        "env": [ip, {"name": "PORT", "value": "18932"}],
        "ports": [{"name": "web", "containerPort": 18932}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1},
    }
    told = "echo $URL $DB_PORT $0; sleep 60"
    neighbour = {
        "name": "neighbour",
        "image": "busybox",
        "command": ["sh", "-c", told, "--server=localhost:18932"],
        "env": [
            {"name": "URL", "value": "http://0.0.0.0:18932/x"},
            {"name": "DB_HOST", "value": "db.example"},
            {"name": "DB_PORT", "value": "18932"},
        ],
    }
    spec = {"restartPolicy": "Always", "containers": [server, neighbour], "terminationGracePeriodSeconds": 1}
    with socket.create_server(("0.0.0.0", 18932)):  # as a hub's proxy does
        cluster.create("pair", spec, annotations={"jupyterlab-kf.io/ports-may-move": "true"})
        await cluster.until(lambda: cluster.state("pair").get("ready") is True)
    host, port = cluster.kubelet.address("default", "pair", 18932)
    assert port != 18932
    assert cluster.pod("pair")["spec"]["containers"][0]["env"][1]["value"] == "18932"
    said = f"http://0.0.0.0:{port}/x 18932 --server=localhost:{port}\n"
    assert await cluster.log("pair", container="neighbour") == said
    await cluster.restart()
    _, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST / HTTP/1.1\r\n\r\n")
    await cluster.until(lambda: cluster.state("pair").get("restartCount", 0) == 1)
    writer.close()
    await cluster.until(lambda: cluster.state("pair").get("ready") is True)
    assert cluster.kubelet.address("default", "pair", 18932) == (host, port)
