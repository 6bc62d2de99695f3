"""What a request to a unit costs: processor time of the server, which a busy machine hardly changes, and rate.

The peers answer the same bytes with the same model: the model called directly, a plain handler of starlette's, and
MLServer, KServe's server and LitServe where ``KF_MLSERVER``, ``KF_KSERVE`` and ``KF_LITSERVE`` name the Python of an
environment that has them. What a peer does in several processes is added up.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))

from measure import Row
from unit_process import PROGRAM, ROOT, free_port, iris

CLIENTS = 16
REQUESTS = 4000
TICK = os.sysconf("SC_CLK_TCK")
Load = tuple[float, float]
"""Milliseconds of processor time a request, and requests a second."""
V2 = {"inputs": [{"name": "input-0", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}]}
SELDON = {"data": {"ndarray": [[5.1, 3.5, 1.4, 0.2]]}}


def unit() -> Iterator[Row]:
    """The unit server with scikit-learn's logistic regression."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = iris(folder)
        bare = [_bare(model.predict) for _ in range(5)]
        with _running(folder, *PROGRAM, "unit", "--model", ".", "--name", "iris") as ours:
            peer = [sys.executable, str(Path(__file__).with_name("unit_peer.py")), "model.joblib"]
            with _running(folder, *peer, port_last=True) as other:
                yield from _rows("V2", _turns(ours, other, V2), bare, "starlette by hand")
            yield from _rows("Seldon", _turns(ours, ours, SELDON), [_bare(model.predict_proba) for _ in range(5)], "")
            for title in ("KServe", "LitServe"):
                if python := os.environ.get(f"KF_{title.upper()}"):
                    program = str(Path(__file__).with_name(f"unit_{title.lower()}.py"))
                    with _running(folder, python, program, "model.joblib", port_last=True) as other:
                        yield from _rows("V2", _turns(ours, other, V2), [], title)
            if python := os.environ.get("KF_MLSERVER"):
                with _mlserver(folder, python) as other:
                    yield from _rows("V2", _turns(ours, other, V2), [], "MLServer")


def _rows(what: str, turns: tuple[list[Load], list[Load]], bare: list[float], peer: str) -> Iterator[Row]:
    ours, theirs = turns
    costs = [cost for cost, _ in ours]
    if bare:
        yield Row(f"{what}: CPU of a request", costs, bare, "the bare model", "", "ms")
    if peer:
        yield Row(f"{what}: CPU of a request", costs, [cost for cost, _ in theirs], peer, "", "ms")
        goal = ">= 3" if peer == "MLServer" else ""
        yield Row(
            f"{what}: rate, {CLIENTS} clients",
            [rate for _, rate in ours],
            [rate for _, rate in theirs],
            peer,
            goal,
            "/s",
        )


def _bare(method: Callable[..., Any]) -> float:
    """Milliseconds of processor time that the model itself takes for one row."""
    import numpy as np

    row = np.array([[5.1, 3.5, 1.4, 0.2]])
    start = time.process_time()
    for _ in range(2000):
        method(row)
    return (time.process_time() - start) / 2


Server = tuple[int, int]
"""Process and port."""


@contextmanager
def _running(folder: Path, *command: str, port_last: bool = False) -> Iterator[Server]:
    port = free_port()
    last = [str(port)] if port_last else ["--http-port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with _process([*command, *last], folder, environment) as pid:
        _wait(port)
        yield pid, port


@contextmanager
def _mlserver(folder: Path, python: str, *, settle: float = 3) -> Iterator[Server]:
    ports = {name: free_port() for name in ("http", "grpc", "metrics")}
    settings = {f"{name}_port": port for name, port in ports.items()} | {"debug": False, "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps(settings))
    uri = {"uri": "./model.joblib"}
    told = {"name": "iris", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": uri}
    (folder / "model-settings.json").write_text(json.dumps(told))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with _process([str(Path(python).with_name("mlserver")), "start", "."], folder, environment) as pid:
        _wait(ports["http"])
        time.sleep(settle)
        yield pid, ports["http"]


@contextmanager
def _process(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[int]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)
        with suppress(ProcessLookupError):  # LitServe leaves its workers
            os.killpg(process.pid, signal.SIGKILL)


def _wait(port: int) -> None:
    import socket

    for _ in range(1200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nothing listens at {port}")


def _turns(ours: Server, other: Server, body: Any, runs: int = 5) -> tuple[list[Load], list[Load]]:
    """Both measured in turn, after a warm-up of each."""
    path = "/predict" if body is SELDON else "/v2/models/iris/infer"
    _load(ours, path, body, 500)
    if other is ours:
        return [_load(ours, path, body, REQUESTS) for _ in range(runs)], []
    _load(other, path, body, 500)
    pairs = [(_load(ours, path, body, REQUESTS), _load(other, path, body, REQUESTS)) for _ in range(runs)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _load(server: Server, path: str, body: Any, count: int) -> Load:
    pid, port = server
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: unit\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    before, start = _cpu(pid), time.perf_counter()
    asyncio.run(_clients(port, head.encode() + raw, count // CLIENTS))
    seconds = time.perf_counter() - start
    done = count // CLIENTS * CLIENTS
    return (_cpu(pid) - before) * 1000 / done, done / seconds


async def _clients(port: int, request: bytes, each: int) -> None:
    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(each):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
        writer.close()

    await asyncio.gather(*(one() for _ in range(CLIENTS)))


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process and those that it started, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = [one for task in Path(f"/proc/{pid}/task").glob("*/children") for one in task.read_text().split()]
    return (int(fields[11]) + int(fields[12])) / TICK + sum(_cpu(int(one)) for one in children)
