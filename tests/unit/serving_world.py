"""A cluster in memory for the tests of serving: objects, pods that come up as told, and a gateway that answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.transport import Reply
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import names as operator
from jupyterlab_kf.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import endpoints
from jupyterlab_kf.model import Obj, labels
from jupyterlab_kf.services import session
from jupyterlab_kf.services.serving import shipping
from jupyterlab_kf.settings import Settings

Objects = list[Obj]
Answer = Callable[[str, str, Any], tuple[int, Any]]
"""From a version, a path and a request's message to a status and an answer's message."""
CRASH = """Traceback (most recent call last):
  File "cell.py", line 3, in load
    import nothing_of_that_name
ModuleNotFoundError: No module named 'nothing_of_that_name'"""


def echo(version: str, _path: str, message: Any) -> tuple[int, Any]:
    """Answers with the sum of each row, and says which version it was."""
    tensor = (message or {}).get("data", {}).get("tensor", {"shape": [1, 1], "values": [0]})
    rows, columns = tensor["shape"]
    sums = [sum(tensor["values"][row * columns : (row + 1) * columns]) for row in range(rows)]
    meta = {"routing": {}, "requestPath": {f"iris-{version}": "image"}, "tags": {"version": version}}
    return 200, {"data": {"names": [], "tensor": {"shape": [rows], "values": sums}}, "meta": meta}


class Table:
    """What a DataFrame can do, as far as predictions need it."""

    def __init__(self, data: Any, index: Any = None, columns: Any = None) -> None:
        self.data = np.asarray(data)
        self.index = list(range(len(self.data))) if index is None else index
        self.columns = columns
        self.dtypes = self.data.dtype
        self.iloc = self

    def to_numpy(self) -> Any:
        return self.data

    def __getitem__(self, key: Any) -> Table:
        several = isinstance(key, tuple) and isinstance(key[1], list)
        columns = [self.columns[at] for at in key[1]] if several else self.columns
        return Table(self.data[key], columns=columns)


class World:
    """What a client of a cluster with Seldon's operator and Istio meets.

    Attributes:
        broken: versions whose pods crash.
        slow: versions whose pods never become ready.
        gateway: whether Istio's gateway is there.
        sent: every request that passed: version, path and message.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Obj] = {}
        self.journal: list[str] = []
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.gateway = True
        self.answer: Answer = echo
        self.sent: list[tuple[str, str, Any]] = []
        self.count = 0
        self.served = True
        self.turn = 0

    async def serves(self, kind: Kind) -> bool:
        return self.served and kind.group != "keda.sh"

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        if kind is kinds.SERVICE and namespace == "istio-system" and self.gateway:
            return {"metadata": {"name": name}}
        found = self.objects.get((kind.kind, name))
        if found is None:
            raise NotFoundError(f"{kind.plural} {name!r} not found")
        return copied(found)

    async def list(self, kind: Kind, _namespace: str | None = None, *, selector: str = "", **_: Any) -> Objects:
        if kind is kinds.POD:
            return [pod for one in self.endpoints() for pod in self.pods(one)]
        key, _, value = selector.partition("=")
        found = [obj for (name, _), obj in self.objects.items() if name == kind.kind]
        return [copied(obj) for obj in found if not key or labels(obj).get(key) == value]

    def endpoints(self) -> Objects:
        return [obj for (kind, _), obj in self.objects.items() if kind == "SeldonDeployment"]

    async def create(self, kind: Kind, obj: Obj, *, namespace: str = "", **_: Any) -> Obj:
        key = (kind.kind, obj["metadata"]["name"])
        if key in self.objects:
            raise AlreadyExistsError(f"{key} exists")
        self.journal.append(f"create {kind.kind} {key[1]}")
        self.count += 1
        made = copied(obj)
        made["metadata"] |= {"uid": f"u{self.count}", "namespace": namespace, "resourceVersion": str(self.count)}
        made["metadata"].setdefault("creationTimestamp", "2026-11-30T10:00:00Z")
        self.objects[key] = made
        return copied(made)

    async def patch(self, kind: Kind, _namespace: str, name: str, body: Obj) -> Obj:
        found = self.objects[kind.kind, name]
        version = body["metadata"].get("resourceVersion")
        if version is not None and version != found["metadata"]["resourceVersion"]:
            raise ConflictError("the object has been modified")
        self.count += 1
        head = {**found["metadata"], **body["metadata"], "resourceVersion": str(self.count)}
        notes = {**(found["metadata"].get("annotations") or {}), **(body["metadata"].get("annotations") or {})}
        head["annotations"] = {key: value for key, value in notes.items() if value is not None}
        found["metadata"] = head
        if "spec" in body:
            found["spec"] = {**found["spec"], **copied(body["spec"])}
            shares = {one["name"]: one.get("traffic") for one in found["spec"]["predictors"]}
            self.journal.append(f"{name} has {json.dumps(shares)}")
        return copied(found)

    async def delete(self, kind: Kind, _namespace: str, name: str, *, uid: str = "", **_: Any) -> bool:
        found = self.objects.get((kind.kind, name))
        if found is None or (uid and found["metadata"]["uid"] != uid):
            return False
        self.journal.append(f"delete {kind.kind} {name}")
        del self.objects[kind.kind, name]
        if kind.kind == "SeldonDeployment":
            owned = [
                key
                for key, obj in self.objects.items()
                if any(one["uid"] == found["metadata"]["uid"] for one in obj["metadata"].get("ownerReferences") or ())
            ]
            for key in owned:
                del self.objects[key]
        return True

    async def events(self, _namespace: str, **_: Any) -> Objects:
        return []

    async def logs(self, _namespace: str, pod: str, **_: Any) -> AsyncIterator[str]:
        version = pod.rpartition("-")[0].removeprefix("iris-")
        for line in CRASH.splitlines() if version in self.broken else [f"serving {version}"]:
            yield line

    async def proxy(
        self, namespace: str, name: str, _port: int | str, path: str = "/", *, body: bytes | None = None, **_: Any
    ) -> Reply:
        if namespace == "istio-system":
            if not self.gateway:
                raise NotFoundError("services istio-ingressgateway not found")
            _, _, _, deployment, rest = path.split("/", 4)
            if ("SeldonDeployment", deployment) not in self.objects:
                return Reply(404, {}, b"")
            endpoint = self.objects[("SeldonDeployment", deployment)]
            version = self._choose(endpoint)
        else:
            endpoint, version, rest = self.endpoints()[0], name.removeprefix("iris-"), path.lstrip("/")
            if version not in endpoints.versions(endpoint):
                raise NotFoundError(f"services {name} not found")
        if not self._is_up(version):
            return Reply(503, {}, b"no healthy upstream")
        if rest == "ready":
            return Reply(200, {}, b"")
        message = json.loads(body or b"null")
        self.sent.append((version, rest, message))
        if version in self.broken:
            raise ApiError("no endpoints available", code=503)
        status, answer = self.answer(version, rest, message)
        return Reply(status, {}, json.dumps(answer).encode())

    def _choose(self, endpoint: Obj) -> str:
        """In turn, by weight: of a hundred requests each version gets its share exactly."""
        shares = endpoints.weights(endpoint)
        places = [name for name, share in shares.items() for _ in range(share)]
        self.turn += 1
        return places[(self.turn * 37) % len(places)]

    def _is_up(self, version: str) -> bool:
        return version not in self.broken and version not in self.slow

    def pods(self, endpoint: Obj) -> Iterator[Obj]:
        for one in endpoint["spec"]["predictors"]:
            version = str(one["name"])
            for number in range(one.get("replicas", 1)):
                up = self._is_up(version)
                state: Obj = {"name": f"iris-{version}", "ready": up, "restartCount": 0, "state": {"running": {}}}
                if version in self.broken:
                    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": CRASH}}
                    state |= {
                        "restartCount": 2,
                        "lastState": ended,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    }
                marks = {operator.LABEL_ID: endpoint["metadata"]["name"], "version": version}
                yield {
                    "metadata": {"name": f"iris-{version}-{number}", "uid": f"{version}{number}", "labels": marks},
                    "spec": {"containers": [{"name": f"iris-{version}"}]},
                    "status": {
                        "phase": "Running",
                        "conditions": [{"type": "Ready", "status": "True" if up else "False"}],
                        "containerStatuses": [state],
                    },
                }


class Here:
    """A session with that cluster."""

    namespace = "here"

    def __init__(self, world: World) -> None:
        self.world = world
        self.settings = Settings(Path("/none"), Path("/none"), user="ada", notebook="iris.ipynb", models="off")

    @property
    def client(self) -> Client:
        return cast("Client", self.world)

    def run(self, work: Callable[[Client], Any]) -> Any:
        return asyncio.run(work(self.client))

    glance = run

    async def awaited(self, work: Callable[[Client], Any]) -> Any:
        return await work(self.client)

    def iterate(self, work: Callable[[Client], AsyncGenerator[Any, None]]) -> Iterator[Any]:
        async def everything() -> list[Any]:
            return [one async for one in work(self.client)]

        return iter(asyncio.run(everything()))


def installed(monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster that this process works with, and on which nobody waits: time passes when it is asked for."""
    made = World()
    here = Here(made)
    monkeypatch.setattr(session, "current", lambda: here)
    monkeypatch.setattr(shipping, "runtime", lambda: b"the program")
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _seconds: real(0))
    return made
