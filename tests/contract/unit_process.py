"""Units as real processes on loopback, and model files for them to serve."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "jupyterlab_kf.runtime.serving")
PATIENCE = 120


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class UnitProcess:
    """One started ``unit``, ready when its constructor returns."""

    def __init__(self, folder: Path, *words: str, program: tuple[str, ...] = PROGRAM, **environment: str) -> None:
        self.port, self.grpc_port = free_port(), free_port()
        self.log = folder / f"unit-{self.port}.log"
        ports = {
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(self.port),
            "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": str(self.grpc_port),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTIVE_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*program, "unit", *words],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**inherited, "PYTHONPATH": str(ROOT), "POD_IP": "127.0.0.1", **ports, **environment},
            )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"not ready after {PATIENCE} s: {self.log.read_text()}")

    @property
    def url(self) -> str:
        """Where HTTP is."""
        return f"127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        """Where gRPC is."""
        return f"127.0.0.1:{self.grpc_port}"

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """One request by a new connection: the code and the JSON, or the text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request("GET" if raw is None else "POST", path, raw)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text[:1] in b"{[" else text.decode()

    def end(self) -> int:
        """Ask it to end, and wait until it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def iris(folder: Path) -> Any:
    """A classifier that scikit-learn fitted, as ``model.joblib`` in the folder."""
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    features, kinds = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(features, kinds)
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    return model


def doubler(file: Path) -> None:
    """An ONNX model of ``y = x + x`` for rows of two floats, written as the bytes that it is."""

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3, value])
        return bytes([number << 3 | 2, len(value)]) + value

    rows, columns = field(1, field(2, b"N")), field(1, field(1, 2))
    kind = field(1, field(1, 1) + field(2, rows + columns))
    node = field(1, b"x") + field(1, b"x") + field(2, b"y") + field(4, b"Add")
    values = [field(number, field(1, name) + field(2, kind)) for number, name in ((11, b"x"), (12, b"y"))]
    graph = field(1, node) + field(2, b"g") + b"".join(values)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13)))


def rows(count: int) -> Any:
    """Measurements of so many flowers."""
    return np.random.default_rng(count).uniform(0.1, 7, (count, 4))
