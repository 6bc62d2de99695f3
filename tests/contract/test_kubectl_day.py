"""A day with the real kubectl against the whole embedded cluster: what is started runs, is watched, and goes away."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
import yaml

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
Follow = Callable[..., subprocess.Popen[str]]


def pod(name: str, *command: str, **spec: object) -> str:
    """A pod of one container as a manifest."""
    containers = [{"name": "main", "image": "busybox:1", "command": list(command)}]
    body = {"restartPolicy": "Never", "containers": containers, **spec}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body})


@pytest.fixture
def space(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own."""
    kubectl("create", "namespace", "day")
    yield "day"
    kubectl("delete", "namespace", "day", "--wait=true")


def test_a_pod_runs_and_its_log_is_followed(kubectl: Kubectl, space: str) -> None:
    script = "import sys,time\nfor i in range(3): print('line', i, flush=True)\nsys.exit(3)"
    kubectl("-n", space, "apply", "-f", "-", stdin=pod("p", "python3", "-c", script))
    followed = kubectl("-n", space, "logs", "-f", "p", "--pod-running-timeout=30s", check=False)
    kubectl("-n", space, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/p", "--timeout=30s")
    assert kubectl("-n", space, "logs", "p").stdout == "line 0\nline 1\nline 2\n"
    assert followed.stdout in {"", "line 0\nline 1\nline 2\n"}
    table = kubectl("-n", space, "get", "pod", "p").stdout.splitlines()
    assert table[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert table[1].split()[:4] == ["p", "0/1", "Error", "0"]
    described = kubectl("-n", space, "describe", "pod", "p").stdout
    for words in ("Exit Code:    3", "Scheduled", "Pulled", "Started", "busybox:1"):
        assert words in described, words


def test_a_pod_that_does_not_fit_waits_and_says_why(kubectl: Kubectl, space: str) -> None:
    resources = {"requests": {"cpu": "1000"}}
    manifest = yaml.safe_load(pod("big", "true"))
    manifest["spec"]["containers"][0]["resources"] = resources
    kubectl("-n", space, "apply", "-f", "-", stdin=json.dumps(manifest))
    kubectl("-n", space, "wait", "--for=condition=PodScheduled=false", "pod/big", "--timeout=30s")
    described = kubectl("-n", space, "describe", "pod", "big").stdout
    assert "FailedScheduling" in described
    assert "0/1 nodes are available: 1 Insufficient cpu." in described


def test_a_job_completes_and_wait_sees_it(kubectl: Kubectl, space: str) -> None:
    kubectl("-n", space, "create", "job", "j", "--image=busybox", "--", "python3", "-c", "print('done')")
    kubectl("-n", space, "wait", "--for=condition=complete", "job/j", "--timeout=60s")
    assert kubectl("-n", space, "logs", "job/j").stdout == "done\n"
    kubectl("-n", space, "delete", "job", "j", "--wait=true")
    assert kubectl("-n", space, "get", "pods", "-o", "name").stdout == ""


def test_a_deployment_rolls_out_scales_and_updates(kubectl: Kubectl, space: str) -> None:
    kubectl("-n", space, "create", "deployment", "d", "--image=busybox", "--", "sleep", "600")
    kubectl("-n", space, "rollout", "status", "deployment/d", "--timeout=60s")
    kubectl("-n", space, "scale", "deployment/d", "--replicas=2")
    kubectl("-n", space, "rollout", "status", "deployment/d", "--timeout=60s")
    assert len(kubectl("-n", space, "get", "pods", "-o", "name").stdout.split()) == 2
    kubectl("-n", space, "set", "env", "deployment/d", "COLOUR=blue")
    kubectl("-n", space, "rollout", "status", "deployment/d", "--timeout=120s")
    shown = json.loads(kubectl("-n", space, "get", "pods", "-o", "json").stdout)["items"]
    living = [item for item in shown if "deletionTimestamp" not in item["metadata"]]
    assert [c["env"] for item in living for c in item["spec"]["containers"]] == [
        [{"name": "COLOUR", "value": "blue"}]
    ] * 2


def test_deleting_a_pod_lets_it_end_by_itself_first(kubectl: Kubectl, follow: Follow, space: str) -> None:
    script = (
        "import signal,sys,time\n"
        "signal.signal(signal.SIGTERM, lambda *a: (print('closing', flush=True), sys.exit(0)))\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    kubectl("-n", space, "apply", "-f", "-", stdin=pod("graceful", "python3", "-c", script))
    kubectl("-n", space, "wait", "--for=condition=Ready", "pod/graceful", "--timeout=30s")
    with follow("-n", space, "logs", "-f", "graceful") as log:
        assert log.stdout is not None
        lines = [log.stdout.readline()]
        kubectl("-n", space, "delete", "pod", "graceful", "--wait=true", "--timeout=30s")
        lines += log.stdout.readlines()
    assert lines == ["ready\n", "closing\n"]


def test_get_watch_shows_each_step(kubectl: Kubectl, follow: Follow, space: str) -> None:
    with follow("-n", space, "get", "pods", "-w", "--output-watch-events") as watch:
        assert watch.stdout is not None
        kubectl("-n", space, "apply", "-f", "-", stdin=pod("w", "python3", "-c", "print(1)"))
        seen = []
        for line in watch.stdout:
            seen.append(line)
            if "Completed" in line:
                break
        watch.terminate()
    rows = [line.split() for line in seen[1:]]
    assert rows[0][:2] == ["ADDED", "w"]
    states = [row[3] for row in rows]
    assert states[0] == "Pending"
    assert states[-1] == "Completed"


def test_every_kind_of_the_house_is_listed_and_explained(kubectl: Kubectl) -> None:
    resources = kubectl("api-resources").stdout
    for plural in ("tfjobs", "pytorchjobs", "mpijobs", "mxjobs", "chainerjobs", "pods", "jobs", "leases"):
        assert plural in resources, plural
    assert "containers" in kubectl("explain", "pods.spec").stdout
    assert "pytorchReplicaSpecs" in kubectl("explain", "pytorchjobs.spec").stdout
    kubectl("get", "tfjobs,pytorchjobs,mpijobs,mxjobs,chainerjobs,pods", "-A")
