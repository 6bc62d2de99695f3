"""Rows of all that serves models: InferenceServices, TensorFlow Serving and Triton beside SeldonDeployments."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

import jupyterlab_kf as kf
from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.transport import Reply
from jupyterlab_kf.handlers import endpoints as handlers
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests.serving import inference, rows, servers
from jupyterlab_kf.manifests.serving.servers import ServerSpec, Version
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services import session
from jupyterlab_kf.services.serving.rows import EndpointRows


def made(server: servers.Server, *versions: tuple[str, int, int]) -> list[Obj]:
    """What is made of a server with these versions (name, weight, ready replicas), with its status."""
    spec = ServerSpec(
        name="digits",
        namespace="here",
        server=server,
        versions=tuple(Version(name=name, source="claim/model", traffic=share) for name, share, _ in versions),
        model="numbers" if server is servers.TENSORFLOW else "",
    )
    found = servers.encode(spec)
    ready = {name: count for name, _, count in versions}
    for number, one in enumerate(found):
        one["metadata"] |= {"uid": f"u{number}", "creationTimestamp": f"2026-11-30T10:0{number}:00Z"}
        if one["kind"] == "Deployment":
            one["status"] = {"availableReplicas": ready[one["metadata"]["labels"]["version"]]}
    return found


def of(kind: str, found: list[Obj]) -> list[Obj]:
    return [one for one in found if one["kind"] == kind]


def service(*, ready: bool, **spec: Any) -> Obj:
    condition = {"type": "Ready", "status": str(ready), "message": "" if ready else "Revision failed with image"}
    return {
        "apiVersion": kinds.INFERENCE_SERVICE.api_version,
        "kind": "InferenceService",
        "metadata": {"name": "flowers", "namespace": "here", "uid": "i", "creationTimestamp": "2026-11-30T10:30:00Z"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "protocolVersion": "v2"}}, **spec},
        "status": {"url": "http://flowers.here.example.com", "conditions": [condition]},
    }


def test_versions_of_a_server_are_one_row_with_the_weights_of_its_route() -> None:
    found = made(servers.TENSORFLOW, ("v1", 80, 1), ("v2", 20, 0))
    parts = [row for one in of("Deployment", found) if (row := rows.server_row(one)) is not None]
    (row,) = rows.merged(parts, map(rows.server_route, of("VirtualService", found)))
    assert (row.kind, row.namespace, row.name, row.protocol) == ("Deployment", "here", "digits", "tensorflow")
    assert [(one.name, one.traffic, one.ready) for one in row.versions] == [("v1", 80, 1), ("v2", 20, 0)]
    assert (row.state, row.message) == ("Starting", "v2 is not ready")
    assert row.url == "http://digits.here.svc.cluster.local:8501"
    assert row.path.startswith("/serving/here/digits/v1/models/")
    (alone,) = rows.merged(parts[:1], ())
    assert (alone.state, alone.versions[0].traffic) == ("Ready", 100)


def test_deployments_of_something_else_are_no_rows() -> None:
    (deployment,) = of("Deployment", made(servers.TRITON, ("v1", 100, 1)))
    assert rows.server_row(deployment) is not None
    foreign = {**deployment, "metadata": {**deployment["metadata"], "labels": {"app": "digits"}}}
    assert rows.server_row(foreign) is None
    other = json.loads(json.dumps(deployment).replace('"name": "triton"', '"name": "proxy"'))
    assert rows.server_row(other) is None


@pytest.mark.parametrize(("ready", "state", "detail"), [(True, "Ready", ""), (False, "Starting", "Revision failed")])
def test_an_inference_service_is_a_row(*, ready: bool, state: str, detail: str) -> None:
    row = rows.inference_row(service(ready=ready))
    assert (row.kind, row.name, row.state, row.protocol) == ("InferenceService", "flowers", state, "v2")
    assert row.url == "http://flowers.here.example.com"
    assert row.detail.startswith(detail)


class Part:
    """The listing of a kind, as it would be."""

    def __init__(self, every: tuple[Any, ...], *, served: bool = True) -> None:
        self.every, self.served, self.known, self.version = every, served, True, 1


def test_the_list_has_all_that_serves_newest_first() -> None:
    found = made(servers.TRITON, ("v1", 100, 1))

    def listing(kind: Kind, project: Any, _selector: str) -> Any:
        objects = {
            "InferenceService": [service(ready=True)],
            "Deployment": of("Deployment", found),
            "VirtualService": of("VirtualService", found),
        }.get(kind.kind, [])
        return Part(tuple(map(project, objects)), served=kind is not kinds.SELDON_DEPLOYMENT)

    listed = EndpointRows(listing)
    assert [(row.kind, row.name) for row in listed.newest()] == [
        ("InferenceService", "flowers"),
        ("Deployment", "digits"),
    ]
    assert (listed.total, listed.known, listed.served) == (2, True, True)
    assert not EndpointRows(lambda *_: Part((), served=False)).served  # type: ignore[arg-type,return-value]


class Cluster:
    """Objects, and a Service that answers."""

    def __init__(self, *objects: Obj) -> None:
        self.objects, self.asked = objects, []  # type: ignore[var-annotated]

    async def serves(self, _kind: Kind) -> bool:
        return True

    async def get(self, kind: Kind, _namespace: str, name: str) -> Obj:
        for one in self.objects:
            if (one["kind"], one["metadata"]["name"]) == (kind.kind, name):
                return one
        raise kf.NotFoundError(f"{kind.plural} {name!r} not found")

    async def list(self, kind: Kind, _namespace: str, **_: Any) -> list[Obj]:
        return [one for one in self.objects if one["kind"] == kind.kind]

    async def proxy(self, *place: Any, body: bytes, **_: Any) -> Reply:
        self.asked.append((*place, json.loads(body)))
        v2 = {"outputs": [{"name": "y", "shape": [1], "datatype": "INT64", "data": [7]}]}
        told = v2 if "/v2/" in place[3] else {"predictions": [7]}
        return Reply(200, {}, json.dumps(told).encode())


def predicted(cluster: Cluster, kind: str, name: str) -> Any:
    async def client() -> Cluster:
        return cluster

    desk: Any = SimpleNamespace(client=client)
    return asyncio.run(handlers.predict_other(desk, kind, ("here", name), {"value": [[1, 2]]}))


def test_a_server_is_asked_in_its_own_protocol_through_the_api_server() -> None:
    cluster = Cluster(*made(servers.TENSORFLOW, ("v1", 100, 1)))
    assert predicted(cluster, "Deployment", "digits").value == [7]
    assert cluster.asked == [("here", "digits", "http", "/v1/models/numbers:predict", {"instances": [[1, 2]]})]
    cluster = Cluster(service(ready=True))
    assert predicted(cluster, "InferenceService", "flowers").value == [7]
    assert cluster.asked[0][:4] == ("here", "flowers-predictor", 80, "/v2/models/flowers/infer")


def test_what_cannot_be_asked_through_the_api_server_says_where_it_can() -> None:
    obj = service(ready=True)
    obj["metadata"]["annotations"] = {inference.ANNOTATION_MODE: "Serverless"}
    with pytest.raises(kf.UsageError, match="served by Knative"):
        predicted(Cluster(obj), "InferenceService", "flowers")
    with pytest.raises(kf.NotFoundError, match="not on the cluster any more"):
        predicted(Cluster(), "Deployment", "digits")


def test_what_serves_without_seldon_is_held_by_its_name_and_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(*made(servers.TENSORFLOW, ("v1", 100, 1)), service(ready=True))
    here: Any = SimpleNamespace(namespace="here", run=lambda work: asyncio.run(work(cluster)))
    monkeypatch.setattr(session, "current", lambda: here)
    for name, kind in (("digits", "Deployment"), ("flowers", "InferenceService")):
        server = kf.server(name).wait(1)
        assert (server.ref.kind, server.status, server.why) == (kind, "Ready", "")
        assert server.predict([[1, 2]]) == [7]
    cluster.objects = (service(ready=False),)
    with pytest.raises(kf.EndpointNotReadyError, match="Revision failed with image"):
        kf.server("flowers").wait(0)
    with pytest.raises(kf.NotFoundError, match="nothing serves a model as 'digits'"):
        kf.server("digits")
