"""Connecting to a real API server: every way of proving who one is, what the doctor says, and changing clusters."""

from __future__ import annotations

import asyncio
import base64
import shlex
import subprocess
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from bed.cluster import RealCluster
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import jupyterlab_kf as kf
from jupyterlab_kf import kinds, settings
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.transport import Reply
from jupyterlab_kf.errors import ApiError, ForbiddenError, UnauthorizedError
from jupyterlab_kf.services import diagnosis, doctor, session
from jupyterlab_kf.services.namespaces import whoami

RBAC = Path(__file__).parents[2] / "hub_config" / "rbac"


def client_for(kubeconfig: Path, data: Path) -> Client:
    here = settings.load({"KF_DATA_DIR": str(data), "KUBECONFIG": str(kubeconfig)})
    return Client(connection.open_connection(connection.choose(here), here))


async def test_a_user_with_few_rights_is_told_what_lacks_and_what_is_told_helps(
    real_cluster: RealCluster, namespace: Callable[[RealCluster], str], tmp_path: Path, kubectl_path: Path
) -> None:
    space = namespace(real_cluster)
    ada = client_for(real_cluster.kubeconfig_for("ada", ("researchers",), namespace=space), tmp_path)
    assert await whoami(ada) == "ada"

    async def found(section: str, what: str) -> diagnosis.Finding:
        report = diagnosis.diagnose(
            await doctor.examine(ada, space), cluster="real", why="", server="", namespace=space
        )
        findings = next(one.findings for one in report.sections if one.name == section)
        assert section != "training" or report.ready == all(one.state != "lacks" for one in findings)
        return next(one for one in findings if one.what == what)

    rights = await found("training", "Rights")
    assert "create, list, patch, delete configmaps" in rights.detail.replace("get, ", "")
    assert (await found("hardware", "Machines")).state == "unknown", "what may not be seen is not called missing"
    for role in ("viewer", "trainer"):
        made = yaml.safe_load((RBAC / f"{role}.yaml").read_text())
        real_cluster.api.create({**made, "metadata": {**made["metadata"], "namespace": space}})
    said, *commands = rights.hint.splitlines()
    assert "kf-viewer and kf-trainer" in said
    for command in commands:
        words = [str(kubectl_path), f"--kubeconfig={real_cluster.kubeconfig}", *shlex.split(command)[1:]]
        await asyncio.to_thread(subprocess.run, words, check=True, capture_output=True, timeout=60)
    assert (await found("training", "Rights")).state == "ok"
    assert "--role=kf-results" in (await found("results", "Rights")).hint
    await ada.close()


async def test_an_administrator_is_told_that_jobs_can_be_trained(
    real_cluster: RealCluster, namespace: Callable[[RealCluster], str], tmp_path: Path
) -> None:
    space = namespace(real_cluster)
    admin = client_for(real_cluster.kubeconfig_for("root", ("system:masters",), namespace=space), tmp_path)
    facts = await doctor.examine(admin, space)
    report = diagnosis.diagnose(facts, cluster="real", why="", server="", namespace=space)
    assert report.ready
    assert facts.version == "v1.36.3"
    assert facts.skew is not None
    assert abs(facts.skew) < 5
    await admin.close()


async def test_an_administrator_acts_as_another_with_no_more_rights_than_hers(
    real_cluster: RealCluster, namespace: Callable[[RealCluster], str], tmp_path: Path
) -> None:
    space = namespace(real_cluster)
    config = yaml.safe_load(real_cluster.kubeconfig_for("root", ("system:masters",), namespace=space).read_text())
    config["users"][0]["user"] |= {"as": "ada", "as-groups": ["researchers", "system:authenticated"]}
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    client = client_for(path, tmp_path)
    assert await whoami(client) == "ada"
    with pytest.raises(ForbiddenError, match='User "ada" cannot list'):
        await client.list(kinds.POD, space)
    await client.close()


async def test_a_pods_token_is_read_again_when_the_server_takes_the_old_one_no_more(
    real_cluster: RealCluster,
    namespace: Callable[[RealCluster], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space, api = namespace(real_cluster), real_cluster.api

    def token() -> str:
        """A token that ends with a Secret, as a pod's ends with its pod."""
        secret = api.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "bound-", "namespace": space}}
        )
        bound = {
            "apiVersion": "v1",
            "kind": "Secret",
            "name": secret["metadata"]["name"],
            "uid": secret["metadata"]["uid"],
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": bound}}
        made = api.request("POST", f"/api/v1/namespaces/{space}/serviceaccounts/default/token", body)
        return str(made["status"]["token"])

    config = yaml.safe_load(real_cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text(token())
    (account / "namespace").write_text(space)
    (account / "ca.crt").write_bytes(base64.b64decode(config["certificate-authority-data"]))
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", account)
    address = urlsplit(config["server"])
    where = {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port)}
    here = settings.load({"KF_DATA_DIR": str(tmp_path), **where})
    client = Client(connection.open_connection(connection.choose(here), here))
    me = f"system:serviceaccount:{space}:default"
    assert await whoami(client) == me
    for secret in api.list("v1", "Secret", space):
        api.delete("v1", "Secret", secret["metadata"]["name"], space)

    async def refused() -> None:
        while True:
            await whoami(client)
            await asyncio.sleep(0.2)

    with pytest.raises(UnauthorizedError):
        await asyncio.wait_for(refused(), 90)  # the server looks anew after some seconds
    (account / "token").write_text(token())
    assert await whoami(client) == me
    await client.close()


async def test_a_service_is_asked_through_the_server(
    node_cluster: RealCluster, namespace: Callable[[RealCluster], str], tmp_path: Path
) -> None:
    space, api = namespace(node_cluster), node_cluster.api
    head = {"name": "web", "namespace": space, "labels": {"app": "web"}}
    container = {"name": "main", "image": "python:3", "command": ["python3", "-m", "http.server", "8000"]}
    api.create({"apiVersion": "v1", "kind": "Pod", "metadata": head, "spec": {"containers": [container]}})
    ports = [{"name": "http", "port": 80, "targetPort": 8000}]
    service = {"selector": {"app": "web"}, "ports": ports}
    api.create({"apiVersion": "v1", "kind": "Service", "metadata": head, "spec": service})
    client = client_for(node_cluster.kubeconfig, tmp_path)

    async def reached() -> Reply:
        while True:
            try:
                return await client.proxy(space, "web", "http", "/")
            except ApiError as error:  # the server has not heard of the service yet, or the program is being started
                if error.code not in (HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE):
                    raise
                await asyncio.sleep(0.2)

    reply = await asyncio.wait_for(reached(), 60)
    assert reply.status == HTTPStatus.OK
    assert b"Directory listing" in reply.content
    # What the program itself refuses is its answer, and no error of the cluster's.
    reply = await client.proxy(space, "web", 80, "no such page", method="POST", body=b"{}")
    assert (reply.status, b"Unsupported method" in reply.content) == (HTTPStatus.NOT_IMPLEMENTED, True)
    await client.close()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """IPython without a kernel, with our magics and no session yet."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("KF_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(session, "_sessions", [])
    made = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    made.extension_manager.load_extension("jupyterlab_kf")
    yield made
    made.history_manager = None


def test_the_magic_changes_cluster_and_namespace_only_where_one_answers(
    real_cluster: RealCluster,
    namespace: Callable[[RealCluster], str],
    tmp_path: Path,
    shell: InteractiveShell,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space, other = namespace(real_cluster), namespace(real_cluster)
    owner = {"labels": {"app.kubernetes.io/part-of": "kubeflow-profile"}, "annotations": {"owner": "ada"}}
    real_cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other, **owner}})
    config = yaml.safe_load(real_cluster.kubeconfig_for("ada", ("system:masters",), namespace=space).read_text())
    [found] = config["contexts"]
    config["clusters"].append({"name": "gone", "cluster": {"server": "https://127.0.0.1:9"}})
    gone = {"name": "away", "context": {**found["context"], "cluster": "gone"}}
    nameless = {"name": "profiles", "context": {key: found["context"][key] for key in ("cluster", "user")}}
    config["contexts"] = [{**found, "name": "work"}, gone, nameless]
    config["current-context"] = "work"
    (tmp_path / "config").write_text(yaml.safe_dump(config))

    def run(line: str) -> BaseException | None:
        return shell.run_cell(line).error_in_exec

    assert run("%kf_cluster") is None
    assert (kf.cluster().name, kf.cluster().namespace) == ("work", space)
    assert "current context" in capsys.readouterr().out
    assert "away" in str(run("%kf_cluster use away"))
    assert "'work' is still the cluster in use" in capsys.readouterr().out
    assert kf.cluster().name == "work"
    assert run(f"%kf_cluster use work --namespace {other}") is None
    assert kf.cluster().namespace == other
    assert run("%kf_cluster use profiles") is None
    # Nobody names a namespace there: it is the one that Kubeflow says is hers.
    assert (kf.cluster().name, kf.cluster().namespace) == ("profiles", other)
    assert [one.name for one in kf.jobs()] == []
    assert "did you mean 'work'" in str(run("%kf_cluster use wrok"))
