"""From a fitted model to the first prediction, against servers that are started by hand.

A peer is a process that loads the same model's file: a handler of starlette's, and MLServer and LitServe where
``KF_MLSERVER`` and ``KF_LITSERVE`` name the Python of an environment that has them. Ours includes what they leave out:
objects, a pod, readiness, routes, a record of the change, and what is kept of the model.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import joblib  # type: ignore[import-untyped]
from measure import Row, in_turn
from sklearn.datasets import load_iris  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

import jupyterlab_kf as kf

from .unit import V2, Server, _mlserver, _running

RUNS = 5


def deploy() -> Iterator[Row]:
    """A first version and a second one until they answer."""
    features, kinds = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(features, kinds)

    def served() -> float:
        began = time.perf_counter()
        endpoint = kf.serve(model, name="deploy")
        endpoint.predict(features[:1])
        took = time.perf_counter() - began
        endpoint.delete()
        return took

    for title, start in _peers():
        ours, peer = in_turn(served, lambda start=start: _by_hand(start, model), RUNS)
        yield Row("a fitted model to its first prediction", ours, peer, title)
    endpoint = kf.serve(model, name="deploy")
    times = []
    for number in range(RUNS):
        began = time.perf_counter()
        kf.serve(model, name="deploy", version=f"n{number}").predict(features[:1])
        times.append(time.perf_counter() - began)
        endpoint.promote(f"n{number}")
    endpoint.delete()
    yield Row("a next version to its first prediction", times, [], "")


Start = Callable[[Path], AbstractContextManager[Server]]


def _peers() -> Iterator[tuple[str, Start]]:
    here = Path(__file__)
    hand = [sys.executable, str(here.with_name("unit_peer.py")), "model.joblib"]
    yield "starlette by hand", lambda folder: _running(folder, *hand, port_last=True)
    if python := os.environ.get("KF_LITSERVE"):
        words = [python, str(here.with_name("unit_litserve.py")), "model.joblib"]
        yield "LitServe", lambda folder: _running(folder, *words, port_last=True)
    if python := os.environ.get("KF_MLSERVER"):
        yield "MLServer", lambda folder: _mlserver(folder, python, settle=0)


def _by_hand(start: Start, model: object) -> float:
    """Seconds from a fitted model to the first answer of a process that is started for it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        joblib.dump(model, folder / "model.joblib")
        with start(folder) as (_, port):
            _answered(port)
            return time.perf_counter() - began


def _answered(port: int) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/iris/infer", json.dumps(V2).encode(), {"Content-Type": "application/json"}
    )
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60):
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
