"""TensorFlow Serving behind Seldon's protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from jupyterlab_kf.runtime.serving.messages import Refusal
from jupyterlab_kf.runtime.serving.proxies import TfServingProxy

Asked = list[tuple[str, dict[str, Any]]]


class Model(BaseHTTPRequestHandler):
    """Halves what it gets; ``broken`` is no model."""

    asked: Asked

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        known = "/broken" not in self.path
        rows = [row["x"] if isinstance(row, dict) else row for row in body["instances"]]
        halves = [{"y": [n / 2 for n in row]} if "signature_name" in body else [n / 2 for n in row] for row in rows]
        told = json.dumps({"predictions": halves} if known else {"error": "Servable not found"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class calls it so
        """Nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Asked]]:
    monkeypatch.setenv("POD_IP", "127.0.0.1")
    asked: Asked = []
    made = ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Model,), {"asked": asked}))
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://0.0.0.0:{made.server_port}", asked
    made.shutdown()
    thread.join()
    made.server_close()


def test_arrays_go_on_as_instances_and_come_back_as_predictions(server: tuple[str, Asked]) -> None:
    url, asked = server
    found = TfServingProxy(url, "0.0.0.0:2000", model_name="half").predict(np.array([[2.0, 4.0]]), [])
    assert found.tolist() == [[1.0, 2.0]]
    assert asked == [("/v1/models/half:predict", {"instances": [[2.0, 4.0]]})]


def test_inputs_outputs_and_signatures_can_be_named(server: tuple[str, Asked]) -> None:
    url, asked = server
    proxy = TfServingProxy(url, model_name="half", signature_name="s", model_input="x", model_output="y")
    assert proxy.predict(np.array([[2.0]]), []).tolist() == [[1.0]]
    assert asked[0][1] == {"instances": [{"x": [2.0]}], "signature_name": "s"}


def test_what_the_server_says_against_a_request_is_passed_on(server: tuple[str, Asked]) -> None:
    with pytest.raises(Refusal, match=r"answered 404.*Servable not found") as refused:
        TfServingProxy(server[0], model_name="broken").predict(np.array([[1.0]]), [])
    assert refused.value.code == 404


def test_a_server_that_is_not_there_is_named() -> None:
    proxy = TfServingProxy("http://127.0.0.1:9", model_name="half")
    with pytest.raises(Refusal, match=r"http://127\.0\.0\.1:9/v1/models/half:predict cannot be asked"):
        proxy.predict(np.array([[1.0]]), [])
