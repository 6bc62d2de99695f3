"""That Istio's objects are obeyed where its definitions are and Istio is not: our gateway, as real pods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import yaml
from bed import gateways
from bed.api import Api, ApiStatusError, until
from bed.cluster import RealCluster
from beside import Controllers
from rights import give
from test_rights import allowed, granted, used

Obj = dict[str, Any]
HERE = Path(__file__).parent
MANIFESTS = HERE.parents[1] / "hub_config" / "gateway"
ROOT = "istio-system"
GATEWAY = "istio-ingressgateway"
ACCOUNT = f"system:serviceaccount:{ROOT}:kf-gateway"
USER = ("viewer", "trainer", "serving")
# Requests one after the other, each on a connection of its own and never again, until the last version answers.
LOAD = """
import collections, http.client, json, time
body = json.dumps({{"data": {{"ndarray": [[5.1, 3.5, 1.4, 0.2]]}}}})
answers, failed = collections.Counter(), collections.Counter()
while not answers["9"]:
    try:
        connection = http.client.HTTPConnection("istio-ingressgateway.istio-system", timeout=30)
        connection.request("POST", "{path}", body, {{"Content-Type": "application/json"}})
        reply = connection.getresponse()
        content = reply.read()
        if reply.status == 200:
            answers[str(json.loads(content)["data"]["ndarray"][0])] += 1
        else:
            failed[f"{{reply.status}} {{content[:200]}}"] += 1
        connection.close()
    except OSError as error:
        failed[repr(error)] += 1
    if not answers.total() % 50:
        print(json.dumps([answers, failed]), flush=True)
    time.sleep(0.01)
print(json.dumps([answers, failed]), flush=True)
"""


@pytest.fixture
def manifests(kubectl_path: Path, node_cluster: RealCluster, namespace: Callable[[RealCluster], str]) -> Iterator[str]:
    """What an administrator applies, with the image and the namespace as the file says; the namespace."""
    if not os.environ.get("KF_CRDS"):
        pytest.skip("KF_CRDS names no folder with Istio's definitions")
    space, api = namespace(node_cluster), node_cluster.api
    command = [str(kubectl_path), "kustomize", str(MANIFESTS)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text = text.replace("registry.example.com/jupyterlab-kf:latest", gateways.IMAGE).replace("team-a", space)
    found = [one for one in yaml.safe_load_all(text) if one]
    give(api, space, "seldon", "serving-controllers")
    give(api, space, ACCOUNT, "gateway")
    for one in found:
        api.apply(one)
    bind(api, "kf-gateway-user", "ada")
    yield space
    for one in found:
        if one["kind"] != "Namespace":
            api.delete(one["apiVersion"], one["kind"], one["metadata"]["name"], ROOT)
    api.delete("v1", "Namespace", ROOT, "")


def bind(api: Api, role: str, user: str) -> None:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]
    head = {"name": f"{role}-{user}", "namespace": ROOT}
    body = {"metadata": head, "roleRef": reference, "subjects": subjects}
    api.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", **body})


def answers_at_all(api: Api) -> bool:
    try:
        return bool(api.request("GET", "/readyz") == "ok")
    except (OSError, ApiStatusError):
        return False


class Day:
    """The user's own process, which does a step when told."""

    def __init__(self, cluster: RealCluster, space: str, folder: Path) -> None:
        give(cluster.api, space, "ada", *USER)
        self.said = folder / "said.log"
        self._environment = os.environ | {
            "KUBECONFIG": str(cluster.kubeconfig_for("ada", namespace=space)),
            "KF_DATA_DIR": str(folder),
            "KF_CONTEXT": "",
            "KF_NAMESPACE": "",
        }
        self._folder = folder

    @contextmanager
    def begun(self, told: Callable[[], str]) -> Iterator[Callable[[str], None]]:
        """The process, as what makes it do a step; ``told`` is what others said, for when a step fails."""
        words = [sys.executable, str(HERE / "gateway_run.py")]
        with (
            self.said.open("wb") as err,
            subprocess.Popen(
                words, env=self._environment, text=True, cwd=self._folder, stdin=PIPE, stdout=PIPE, stderr=err
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            went_in, came_out = process.stdin, process.stdout

            def do(step: str) -> None:
                went_in.write(f"{step}\n")
                went_in.flush()
                assert came_out.readline() == f"{step}\n", f"{step}: {self.said.read_text()[-4000:]} {told()}"

            yield do
            went_in.close()


def test_routes_are_obeyed_by_a_gateway_of_ours_and_no_request_fails(
    manifests: str, node_cluster: RealCluster, kubectl_path: Path, tmp_path: Path
) -> None:
    space, api = manifests, node_cluster.api
    kubectl = [str(kubectl_path), "--kubeconfig", str(node_cluster.kubeconfig), "-n", ROOT]

    def rolled() -> bool:
        found = api.get("apps/v1", "Deployment", GATEWAY, ROOT)
        status = found.get("status") or {}
        counts = [status.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas")]
        return counts == [2, 2, 2] and status.get("observedGeneration") == found["metadata"]["generation"]

    until(rolled, seconds=120, what="two pods of the gateway")
    day = Day(node_cluster, space, tmp_path)

    def logs() -> str:
        """What the gateway's pods and the controllers said."""
        words = [*kubectl, "logs", f"-lapp={GATEWAY}", "-c", "routes", "--prefix", "--tail=40", "--timestamps"]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
        return f"{time.time():.0f} {done.stdout}{done.stderr}\n{controllers.told()}"

    with Controllers(node_cluster, "serving", "seldon", space, tmp_path) as controllers, day.begun(logs) as do:
        do("serve")
        script = LOAD.format(path=f"/seldon/{space}/iris/api/v1.0/predictions")
        container = {"name": "main", "image": "python:3", "command": ["python3", "-c", script]}
        spec = {"restartPolicy": "Never", "containers": [container]}
        head = {"name": "load", "namespace": space}
        api.create({"apiVersion": "v1", "kind": "Pod", "metadata": head, "spec": spec})

        def load() -> tuple[dict[str, int], dict[str, int]]:
            try:
                told = api.request("GET", f"/api/v1/namespaces/{space}/pods/load/log").splitlines()
            except ApiStatusError:  # it has not begun
                told = []
            answers, failed = json.loads(told[-1]) if told else ({}, {})
            return answers, failed

        def answered(value: str, times: int) -> Callable[[], bool]:
            begun = load()[0].get(value, 0)
            return lambda: load()[0].get(value, 0) >= begun + times

        until(answered("0", 50), seconds=60, what="answers to who is no notebook")
        do("canary")
        until(answered("7", 50), seconds=60, what="answers of the canary")
        before = load()[0]
        until(lambda: sum(load()[0].values()) >= sum(before.values()) + 400, seconds=120, what="400 more answers")
        after = load()[0]
        share = (after["7"] - before["7"]) / (sum(after.values()) - sum(before.values()))
        assert 0.3 < share < 0.5, (before, after)
        # The gateway itself is replaced, pod by pod.
        template = {"metadata": {"annotations": {"again": "yes"}}}
        api.merge("apps/v1", "Deployment", GATEWAY, {"spec": {"template": template}}, ROOT)
        until(rolled, seconds=180, what="two other pods of the gateway")
        # Who writes its configuration ends in both pods, and comes back.
        for pod in api.list("v1", "Pod", ROOT, labels=f"app={GATEWAY}"):
            name = pod["metadata"]["name"]
            subprocess.run(
                [*kubectl, "exec", name, "-c", "routes", "--", "kill", "-TERM", "1"], check=False, timeout=60
            )
        do("mirror")
        # With the API server away, requests go on.
        node_cluster.order("kill", "kube-apiserver")
        time.sleep(5)
        node_cluster.order("resume", "kube-apiserver")
        until(lambda: answers_at_all(api), seconds=60, what="the API server")
        controllers.again()
        do("back")
        until(answered("7", 50), seconds=60, what="answers as they were before")
        what = {"http": [{"route": [{"destination": {"host": "iris-v1"}}], "retries": {"retryRemoteLocalities": True}}]}
        spec = {"hosts": ["a.example"], "gateways": [f"{ROOT}/seldon-gateway"], **what}
        head = {"name": "own", "namespace": space}
        api.create({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": head, "spec": spec})

        def told() -> list[str]:
            return [e["message"] for e in api.list("v1", "Event", space) if e["involvedObject"]["name"] == "own"]

        until(lambda: any("retryRemoteLocalities" in one for one in told()), seconds=60, what="what is not honoured")
        do("last")
        until(lambda: "9" in load()[0], seconds=60, what="the end of the requests")
    answers, failed = load()
    print(answers, failed)
    assert not failed, (answers, failed)
    assert len([one for one in told() if "retryRemoteLocalities" in one]) == 1, "two pods, one event"
    accounts = yaml.safe_load_all((MANIFESTS / "account.yaml").read_text())
    mine = allowed(next(one for one in accounts if one["kind"] == "Role"))
    assert used(node_cluster, ACCOUNT, space) ^ granted("gateway") == set(), "granted and not used, or the reverse"
    assert used(node_cluster, ACCOUNT, ROOT) - mine == set(), "used, but not by this role"
    assert {use for use in mine - used(node_cluster, ACCOUNT, ROOT) if use[1] != "events"} == set(), "never used"
    assert used(node_cluster, "ada", space) - granted(*USER) == set(), "used, but not by these roles"
