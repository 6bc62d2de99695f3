"""What a graph costs: requests a second and milliseconds of CPU for each, over units that cost next to nothing.

The peer is Seldon's own executor where ``KF_SELDON_EXECUTOR`` names its binary (how it is built stands in
``tests/tools/record_executor.py``); without it a bare proxy of aiohttp, which asks one unit and counts nothing.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import Row
from stub_units import drive

_OURS = "import sys; from jupyterlab_kf.runtime.serving.engine import main; sys.exit(main(sys.argv[1:]))"
_PROXY = """
import sys, aiohttp, uvloop
from aiohttp import web
async def make():
    session = aiohttp.ClientSession()
    async def ask(request):
        async with session.post(f"http://127.0.0.1:{sys.argv[2]}/predict", data=await request.read()) as answer:
            return web.Response(body=await answer.read(), content_type="application/json")
    app = web.Application()
    app.router.add_post("/api/v1.0/predictions", ask)
    app.router.add_get("/live", lambda _: web.Response())
    return app
web.run_app(make(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, loop=uvloop.new_event_loop())
"""
_PORTS = {"r": 23101, "c": 23102, "a": 23103, "b": 23104}
_SECONDS, _CLIENTS, _RUNS = 4.0, 16, 3


def _node(name: str, kind: str, *children: dict[str, Any]) -> dict[str, Any]:
    port = _PORTS[name]
    endpoint = {"service_host": "localhost", "service_port": port, "httpPort": port, "grpcPort": port}
    return {"name": name, "type": kind, "endpoint": endpoint, "children": list(children)}


_MODELS = [_node(name, "MODEL") for name in "ab"]
_GRAPHS = {
    "one model": _MODELS[0],
    "router, two models, combiner": _node("r", "ROUTER", _node("c", "COMBINER", *_MODELS)),
}


def engine() -> Iterator[Row]:
    """Both graphs, ours and the peer in turn."""
    binary = os.environ.get("KF_SELDON_EXECUTOR", "")
    stubs = str(Path(__file__).parents[1] / "stub_units.py")
    with _running([sys.executable, stubs, *map(str, _PORTS.values())], {}):
        for what, graph in _GRAPHS.items():
            predictor = {"name": "main", "graph": graph}
            environment = {
                "ENGINE_PREDICTOR": base64.b64encode(json.dumps(predictor).encode()).decode(),
                "SELDON_ENABLE_ROUTING_INJECTION": "1",
            }
            arguments = ["--sdep", "d", "--namespace", "n", "--predictor", "main", "--http_port"]
            ours = [sys.executable, "-c", _OURS, *arguments, "23201", "--grpc_port", "23202"]
            peer = [sys.executable, "-c", _PROXY, "23301", str(_PORTS["a"])]
            if binary:
                peer = [binary, *arguments, "23301", "--grpc_port", "23302"]
            name = "Seldon's executor" if binary else "bare proxy, one model"
            with _running(ours, environment) as one, _running(peer, environment) as other:
                yield from _rows(what, name, (one, 23201), (other, 23301))


def _rows(what: str, name: str, *sides: tuple[int, int]) -> Iterator[Row]:
    found: list[list[tuple[float, float, float]]] = [[], []]
    for _, port in sides:
        _live(port)
        drive(port, 1.0, _CLIENTS)
    for _ in range(_RUNS):
        for figures, (process, port) in zip(found, sides, strict=True):
            before, start = _cpu(process), time.perf_counter()
            took = drive(port, _SECONDS, _CLIENTS)
            wall = time.perf_counter() - start
            figures.append(
                (len(took) / wall, (_cpu(process) - before) * 1000 / len(took), statistics.median(took) * 1000)
            )
    for index, (figure, unit, goal) in enumerate(
        [("rate", "1/s", "at least 1.7 times"), ("CPU for each request", "ms", "less"), ("median latency", "ms", "")]
    ):
        ours, peer = ([one[index] for one in figures] for figures in found)
        yield Row(f"graph of {what}, {_CLIENTS} clients: {figure}", ours, peer, name, goal, unit)


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _live(port: int) -> None:
    import urllib.request

    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/live"):
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody serves at {port}")


def _cpu(process: int) -> float:
    """Seconds of CPU that a process has had; its children's are not ours to count, as there are none."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
