"""A bench for engines: units that write down what they are asked, a real engine process, and a table of cases.

The same table is played to Seldon's own executor by ``tests/tools/record_executor.py``, which writes what it saw into
``tests/golden/serving``, and to ours by ``test_engine_processes.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

GOLDEN = Path(__file__).parents[1] / "golden/serving/executor-1.17.1.json"
METRICS = GOLDEN.with_name("executor-1.17.1-metrics.json")
COPIES = GOLDEN.with_name("executor-1.17.1-copies.json")
Obj = dict[str, Any]
_PASSING = {"date", "content-length", "connection", "keep-alive", "transfer-encoding", "server"}
_FORWARDED = ("content-type", "content-encoding", "seldon-puid", "x-custom", "authorization")


def free_port() -> int:
    """A port that nobody has, for a moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class Call:
    """What one unit was asked."""

    unit: str
    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Units:
    """Units of any name, each at a port of its own; what they answer is decided by what they are asked."""

    names: list[str]
    ports: dict[str, int] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    script: str = ""

    async def __aenter__(self) -> Self:
        self._runners = []
        for name in self.names:
            app = web.Application(client_max_size=2**28)
            app.router.add_route("*", "/{rest:.*}", functools.partial(self._answer, name))
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            self._runners.append(runner)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.ports[name] = runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _answer(self, name: str, request: web.Request) -> web.Response:
        body = await request.read()
        kept = [one for one in request.headers if one.lower() in _FORWARDED or one.lower().startswith("ce-")]
        headers = {one.lower(): request.headers[one] for one in kept}
        text = gzip.decompress(body).decode() if body[:2] == b"\x1f\x8b" else body.decode()
        self.calls.append(Call(name, request.method, request.path, headers, text))
        scripted = self.script or request.headers.get(f"X-Unit-{name}", "")
        if scripted == "hang":
            await asyncio.sleep(60)
        if scripted == "slow":
            await asyncio.sleep(0.7)
            return web.json_response({"strData": "late"})
        if scripted == "drop":
            assert request.transport is not None
            request.transport.close()
        if scripted.isdigit():
            failure = {"status": {"code": int(scripted), "info": f"{name} refuses", "status": "FAILURE"}}
            return web.json_response(failure, status=int(scripted))
        if scripted:
            return _special(scripted)
        return web.json_response(_message(name, request, text))


def _special(wanted: str) -> web.Response:
    if wanted == "text":
        return web.Response(text="no JSON at all")
    if wanted == "html":
        return web.json_response({"strData": "<b>&</b>\u2028"})
    if wanted == "gzip":
        packed = gzip.compress(b'{"strData":"packed"}')
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"}, content_type="application/json")
    return web.Response(text=wanted, content_type="application/json")


def _message(name: str, request: web.Request, text: str) -> Any:
    if request.path.startswith("/v2"):
        return {"model_name": name, "outputs": [{"name": name, "shape": [1], "datatype": "INT32", "data": [1]}]}
    if request.path.startswith("/v1"):
        return {"predictions": [name]} if ":predict" in request.path else {"said": name}
    return _seldon(name, request, text)


def _seldon(name: str, request: web.Request, text: str) -> Any:
    last = request.path.rpartition("/")[2]
    if request.method == "GET":
        return {"name": name, "inputs": [{"name": "x"}], "outputs": [{"name": "y"}], "versions": ["1"], "extra": 1}
    if last == "route":
        return {"data": {"ndarray": [int(request.headers.get(f"X-Route-{name}", "0"))]}}
    if last == "aggregate":
        return {
            "data": {"ndarray": [[one["data"]["ndarray"] for one in json.loads(text)]]},
            "meta": {"tags": {name: 1}},
        }
    if last == "send-feedback":
        return {"meta": {"tags": {"told": name}}}
    return {"data": {"ndarray": [name, last]}, "meta": {"tags": {name: 1}}}


@dataclass
class Running:
    """An engine that serves."""

    url: str
    port: int
    process: asyncio.subprocess.Process
    units: Units
    grpc_port: int = 0

    async def ask(self, case: Obj) -> Obj:
        """Play one case: what came back, and what the units were asked."""
        self.units.calls.clear()
        headers = {"Seldon-Puid": "case", "Content-Type": "application/json"} | case.get("headers", {})
        body = case.get("body")
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else b""
        if headers.get("Content-Encoding") == "gzip":
            data = gzip.compress(data)
        skipped = ["Accept", "Accept-Encoding", "User-Agent"]
        async with aiohttp.ClientSession(skip_auto_headers=skipped, auto_decompress=False) as session:
            try:
                request = session.request(
                    case.get("method", "POST"),
                    self.url + case["path"],
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                )
                async with request as response:
                    answer = _answer(response, await response.read())
            except aiohttp.ServerDisconnectedError:
                answer = {"aborted": True}
        return {**self._named(answer), "calls": self._named(self._calls())}

    def _calls(self) -> list[Obj]:
        calls = [
            {"unit": one.unit, "ask": f"{one.method} {one.path}", "headers": one.headers, "body": _json(one.body)}
            for one in self.units.calls
        ]
        return sorted(calls, key=lambda one: (one["unit"], one["ask"]))

    def _named(self, value: Any) -> Any:
        """Ports as the names of what is there."""
        text = json.dumps(value)
        for name, port in {**self.units.ports, "nobody": 1}.items():
            text = text.replace(f":{port}", f":<{name}>")
        return json.loads(text)


def _answer(response: aiohttp.ClientResponse, body: bytes) -> Obj:
    headers = {name.lower(): value for name, value in response.headers.items() if name.lower() not in _PASSING}
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return {"code": response.status, "headers": dict(sorted(headers.items())), "body": _json(body.decode())}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def located(root: Obj, ports: dict[str, int]) -> Obj:
    """The graph with endpoints: units that no server has are at a port where nobody listens."""
    children = [located(child, ports) for child in root.get("children", [])]
    if root.get("implementation"):
        return {**root, "children": children}
    port = ports.get(root["name"], 1)
    endpoint = {"service_host": "localhost", "service_port": port, "httpPort": port, "grpcPort": port}
    return {**root, "children": children, "endpoint": endpoint}


def names(root: Obj) -> list[str]:
    """The units of a graph that have servers."""
    own = [] if root.get("implementation") or root.get("absent") else [root["name"]]
    return own + [name for child in root.get("children", []) for name in names(child)]


@contextlib.asynccontextmanager
async def engine(program: list[str], group: Obj, environment: dict[str, str], folder: Path) -> AsyncIterator[Running]:
    """An engine of that program over a group's graph, and its units."""
    elsewhere: dict[str, int] = group.get("elsewhere", {})
    kind = group.get("units", Units)
    async with kind([name for name in names(group["graph"]) if name not in elsewhere]) as units:
        predictor = {
            "name": "main",
            "graph": located(group["graph"], units.ports | elsewhere),
            "annotations": {"version": "v1"},
            "componentSpecs": [
                {"spec": {"containers": [{"name": name, "image": f"me/{name}:1"} for name in units.names]}}
            ],
        }
        file = folder / "deployment.yaml"
        file.write_text(json.dumps({"spec": {"predictors": [predictor]}}))
        port, grpc_port = free_port(), free_port()
        arguments = ["--sdep", "dep", "--namespace", "ns", "--predictor", "main", "--file", str(file)]
        ports = ["--http_port", str(port), "--grpc_port", str(grpc_port), "--protocol", group.get("protocol", "seldon")]
        output = (folder / "engine.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            *program, *arguments, *ports, *group.get("arguments", []),
            env=os.environ | {"SELDON_ENABLE_ROUTING_INJECTION": "1"} | environment, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            running = Running(f"{group.get('scheme', 'http')}://127.0.0.1:{port}", port, process, units, grpc_port)
            await _serves(running, folder / "engine.log")
            yield running
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
            output.close()


async def _serves(running: Running, log: Path) -> None:
    for _ in range(1200):
        if running.process.returncode is not None:
            break
        if await status(running.url + "/live") == 200:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the engine does not serve; its log is {log}")


async def status(url: str) -> int:
    """The code that a GET is answered with; 0 when there is nobody."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url, ssl=False) as response:
            return response.status
    except aiohttp.ClientError:
        return 0


async def until(true: Callable[[], bool]) -> None:
    """Wait until it is so; a minute at most."""
    for _ in range(6000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come so far")


async def answers(url: str) -> None:
    """Wait until it is answered with 200."""
    for _ in range(1200):
        if await status(url) == 200:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{url} is never answered with 200")


async def listens(port: int) -> None:
    """Wait until somebody listens there."""
    for _ in range(3000):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"nobody listens at port {port}")


def series(page: str) -> set[tuple[str, str]]:
    """The samples of Seldon's own metrics: their names, and labels with those values that do not depend on the run."""
    found = set()
    for line in page.splitlines():
        name, _, rest = line.partition("{")
        if name.startswith("seldon_"):
            labels = re.findall(r'(\w+)="([^"]*)"', rest.rpartition("}")[0])
            found.add((name, ",".join(sorted(f"{key}={value}" for key, value in labels))))
    return found


_ROWS = {"data": {"names": ["x0", "x1"], "ndarray": [[1.0, 2.0], [3.0, 4.0]]}}
_TENSOR = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}]}
_TOLD = {
    "request": _ROWS,
    "response": {"data": {"ndarray": [1, 2]}},
    "reward": 1,
    "truth": {"data": {"ndarray": [1, 1]}},
}
COPIED: dict[str, list[Obj]] = {
    "seldon": [{"path": "/api/v1.0/predictions", "body": _ROWS}, {"path": "/api/v1.0/feedback", "body": _TOLD}],
    "v2": [{"path": "/v2/models/m/infer", "body": _TENSOR}],
}
"""By protocol what is asked of a model whose payloads are copied."""


async def copies(command: list[str], protocol: str, folder: Path) -> list[Obj]:
    """The copies that a logger gets of these, in an order of their own; without what is another each time."""
    async with Units(["log"]) as log:
        logger = {"mode": "all", "url": f"http://127.0.0.1:{log.ports['log']}/"}
        graph = {"name": "m", "type": "MODEL", "logger": logger}
        group = {"name": "copied", "graph": graph, "arguments": ["--protocol", protocol]}
        async with engine(command, group, {"POD_NAME": "pod-0"}, folder) as running:
            for case in COPIED[protocol]:
                await running.ask(case)
            await until(lambda: len(log.calls) >= sum(1 + ("feedback" not in one["path"]) for one in COPIED[protocol]))
    passing = ("ce-id", "ce-time", "ce-source", "ce-traceparent")
    found = [
        {
            "headers": {name: value for name, value in sorted(one.headers.items()) if name not in passing},
            "body": _json(one.body),
        }
        for one in log.calls
    ]
    return sorted(found, key=lambda one: one["headers"]["ce-type"])
