"""Two versions of a server behind the gateway, routes for a test, and clients that count what fails."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from bed.api import Api, ApiStatusError, Obj, until

from jupyterlab_kf.settings import Settings

PROGRAMS = Path(__file__).with_name("programs")
GATEWAY, ROOT = "istio-ingressgateway", "istio-system"
ADDRESS = "jupyterlab-kf.io/address"
NETWORK, SECURITY = "networking.istio.io/v1", "security.istio.io/v1"
PORTS = {"m": 18000, "g": 18001, "spans": 18002}
_OF = {"m": "upstream.py", "g": "upstream_grpc.py", "spans": "collector.py"}
STURDY = {"attempts": 5, "retryOn": "reset,gateway-error,connect-failure,refused-stream"}
"""Retries for requests that may be sent twice."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Obj:
        return dict(json.loads(self.body))


@dataclass
class Load:
    """Clients that send one request after the other until told to stop."""

    statuses: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    @property
    def failures(self) -> int:
        return sum(n for status, n in self.statuses.items() if status != "200")


def _rewritten(rule: Obj) -> Obj:
    """A rule whose pods see paths from the root, unless it says otherwise; Istio takes no empty rewriting."""
    made = {"rewrite": {"uri": "/"}, **rule} if "route" in rule else rule
    return {key: value for key, value in made.items() if value != {}}


class Bed:
    """The servers, and what tests do with them."""

    def __init__(self, settings: Settings, api: Api, namespace: str) -> None:
        self.settings, self.api, self.namespace = settings, api, namespace

    # --- servers --------------------------------------------------------------------------------------------------

    def deploy(self, name: str, version: str, replicas: int, **env: str) -> None:
        labels = {"app": name, "version": version}
        words = [version, str(PORTS[name])] if name == "m" else [str(PORTS[name])]
        variables: list[Obj] = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
        variables += [{"name": key, "value": value} for key, value in env.items()]
        container = {
            "name": "main",
            "image": "upstream",
            "command": [sys.executable, str(PROGRAMS / _OF[name]), *words],
            "env": variables,
            "ports": [{"containerPort": PORTS[name]}],
            "readinessProbe": {"tcpSocket": {"port": PORTS[name]}, "periodSeconds": 1},
        }
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        metadata = {"name": f"{name}-{version}", "namespace": self.namespace}
        self.api.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})

    def serve(self, name: str, port: str) -> None:
        ports = [{"name": port, "port": PORTS[name]}]
        self.put("v1", "Service", name, {"selector": {"app": name}, "ports": ports})

    def put(self, version: str, kind: str, name: str, spec: Obj, namespace: str = "") -> Obj:
        metadata = {"name": name, "namespace": namespace or self.namespace}
        return self.api.apply({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})

    def ready(self, deployment: str, replicas: int) -> None:
        def there() -> bool:
            found = self.api.get("apps/v1", "Deployment", deployment, self.namespace)
            status, generation = found.get("status") or {}, found["metadata"]["generation"]
            counts = [status.get(key, 0) for key in ("updatedReplicas", "readyReplicas", "replicas")]
            return status.get("observedGeneration") == generation and counts == [replicas] * 3

        until(there, seconds=60, what=f"{deployment} with {replicas} replicas", every=0.05)

    def pods(self, version: str, name: str = "m") -> list[Obj]:
        found = self.api.list("v1", "Pod", self.namespace)
        return [
            pod
            for pod in found
            if pod["metadata"]["labels"].items() >= {"app": name, "version": version}.items()
            and not pod["metadata"].get("deletionTimestamp")
        ]

    def log(self, pod: Obj) -> list[str]:
        """What a pod has printed."""
        head = pod["metadata"]
        path = f"/api/v1/namespaces/{head['namespace']}/pods/{head['name']}/log"
        return str(self.api.request("GET", path)).splitlines()

    def pid(self, pod: Obj, container: str = "*") -> int:
        """The process of a pod's only container, or of the one that is named."""
        place = self.settings.cluster_dir / "pods" / pod["metadata"]["uid"] / "containers"
        runs = sorted(place.glob(f"{container}/*/run.json"), key=lambda path: int(path.parent.name))
        return int(json.loads(runs[-1].read_text())["pid"])

    def kill(self, pod: Obj, container: str = "*") -> None:
        os.kill(self.pid(pod, container), signal.SIGKILL)

    # --- routes ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the gateway is, once it is."""

        def found() -> str:
            with suppress(ApiStatusError):
                service = self.api.get("v1", "Service", GATEWAY, ROOT)
                return str((service["metadata"].get("annotations") or {}).get(ADDRESS, ""))
            return ""

        return str(until(found, seconds=60, what="a gateway"))

    def gateway_pod(self) -> Obj:
        def found() -> Obj | None:
            for pod in self.api.list("v1", "Pod", ROOT):
                conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions") or ()}
                if conditions.get("Ready") == "True" and not pod["metadata"].get("deletionTimestamp"):
                    return pod
            return None

        return dict(until(found, seconds=60, what="a ready gateway"))

    def route(self, name: str, *http: Obj, ready: str = "") -> str:
        """Routes below ``/NAME/``; back when Envoy has them."""
        mark = ready or f"{time.monotonic_ns()}"
        probe = {"match": [{"uri": {"exact": f"/{name}-{mark}"}}], "directResponse": {"status": 200}}
        full = [{"match": [{"uri": {"prefix": f"/{name}/"}}], **_rewritten(rule)} for rule in http]
        spec = {"hosts": ["*"], "gateways": ["istio-system/seldon-gateway"], "http": [probe, *full]}
        self.put(NETWORK, "VirtualService", name, spec)
        self.settled(f"/{name}-{mark}")
        return f"/{name}/"

    def settled(self, path: str) -> None:
        until(lambda: self.get(path).status == 200, seconds=60, what=f"the route {path}", every=0.005)

    def to(self, subset: str = "", **more: Any) -> Obj:
        where = {"host": "m", **({"subset": subset} if subset else {})}
        return {"destination": where, **more}

    def get(self, path: str, body: bytes | None = None, **headers: str) -> Answer:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(self._base() + path, data=body, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=10) as found:
                return Answer(found.status, dict(found.headers.items()), found.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers.items()), error.read())
        except (OSError, urllib.error.URLError) as error:
            return Answer(0, {}, str(error).encode())

    def _base(self) -> str:
        if not hasattr(self, "_known"):
            self._known = self.url
        return self._known

    def events(self, kind: str, name: str, namespace: str = "") -> list[str]:
        found = self.api.list("v1", "Event", namespace or self.namespace)
        about = [e for e in found if (e["involvedObject"]["kind"], e["involvedObject"]["name"]) == (kind, name)]
        return [f"{e['type']} {e['reason']}: {e['message']}" for e in about]

    def under_load(
        self, path: str, deed: Callable[[], None], *, clients: int = 8, after: float = 0.5, body: str = "[1, 2]"
    ) -> Load:
        """What clients see that send requests all the time, while something is done, and a moment after."""
        load, over = Load(), threading.Event()
        url = self._base() + path
        thread = threading.Thread(target=lambda: asyncio.run(_send(url, body.encode(), load, over, clients)))
        thread.start()
        try:
            time.sleep(0.3)
            deed()
            time.sleep(after)
        finally:
            over.set()
            thread.join()
        return load

    def under_load_beside_a_hung(self, path: str, pod: Obj) -> Load:
        """What they see while a pod hangs for a while."""
        pid = self.pid(pod)

        def hang() -> None:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1.5)

        try:
            return self.under_load(path, hang)
        finally:
            os.kill(pid, signal.SIGCONT)


async def _send(url: str, sent: bytes, load: Load, over: threading.Event, clients: int) -> None:
    headers = {"x-wait": "0.01", "Content-Type": "application/json"}

    async def client(session: aiohttp.ClientSession) -> None:
        while not over.is_set():
            begun = time.monotonic()
            try:
                async with session.post(url, data=sent, headers=headers) as answer:
                    body = await answer.read()
                    load.statuses[str(answer.status)] += 1
                    if answer.status == 200:
                        load.versions[json.loads(body).get("version", "")] += 1
            except aiohttp.ClientError as error:
                load.statuses[type(error).__name__] += 1
                await asyncio.sleep(0.01)
            load.slowest = max(load.slowest, time.monotonic() - begun)

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))


def token(secret: bytes, **claims: Any) -> str:
    """A token signed with a shared secret (HS256)."""
    head = _part(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "test"}).encode())
    body = _part(json.dumps({"iat": int(time.time()), "exp": int(time.time()) + 600, **claims}).encode())
    signature = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{_part(signature)}"


def key_set(secret: bytes) -> str:
    return json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "kid": "test", "k": _part(secret)}]})


def _part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
