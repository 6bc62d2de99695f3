"""An endpoint's life behind the gateway, by the user who serves it: a step for each line of ``test_gateway.py``."""

from __future__ import annotations

import sys
import time

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import jupyterlab_kf as kf

X, Y = load_iris(return_X_y=True)
NAME = "iris"
WORDS = {"cpu": "100m", "timeout": 120}
ALWAYS = """
class Always:
    def predict(self, X, names=None):
        return [{0}] * len(X)
"""


def serve() -> None:
    """The first version."""
    model = LogisticRegression(max_iter=500).fit(X, Y)
    endpoint = kf.serve(model, name=NAME, **WORDS)
    assert np.array_equal(endpoint.predict(X), model.predict(X))


def canary() -> None:
    """A second one, with two fifths of the requests; feedback counts for who answered."""
    endpoint = kf.serve(ALWAYS.format(7), name=NAME, canary=40, **WORDS)
    assert endpoint.versions == {"v1": 60, "v2": 40}
    for _ in range(40):
        answer = endpoint.ask(X[:1])
        assert answer.value[0] == (7 if answer.version == "v2" else 0)
        endpoint.feedback(reward=float(answer.value[0] == Y[0]))
    measured = endpoint.metrics()
    assert (measured["v1"].mean_reward, measured["v2"].mean_reward) == (1.0, 0.0)


def mirror() -> None:
    """Copies of all requests to the second one, whose answers nobody gets."""
    endpoint = kf.endpoint(NAME)
    endpoint.traffic(v1=100, v2=0)
    answered(0)
    before = endpoint.metrics()["v2"].requests
    endpoint.mirror("v2", 100)
    deadline = time.monotonic() + 60
    while endpoint.metrics()["v2"].requests < before + 5:
        assert endpoint.ask(X[:1]).value[0] == 0
        assert time.monotonic() < deadline, "no copies came"
    endpoint.mirror("v2", 0)


def answered(value: int) -> None:
    """Wait until all pods of the gateway know: who writes their configuration may have just begun."""
    deadline = time.monotonic() + 60
    while {kf.endpoint(NAME).ask(X[:1]).value[0] for _ in range(20)} != {value}:
        assert time.monotonic() < deadline, f"not {value} alone"


def back() -> None:
    """The second one promoted, and rolled back."""
    endpoint = kf.endpoint(NAME)
    endpoint.traffic(v1=60, v2=40)
    endpoint.promote("v2")
    answered(7)
    endpoint.rollback()
    assert endpoint.versions == {"v1": 60, "v2": 40}


def last() -> None:
    """A third one in place of both."""
    kf.serve(ALWAYS.format(9), name=NAME, **WORDS)
    endpoint = kf.endpoint(NAME)
    endpoint.promote("v3")
    answered(9)


def main() -> int:
    """Each step when its name comes; its name goes back when it is done."""
    for line in sys.stdin:
        globals()[line.strip()]()
        sys.stdout.write(line)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
