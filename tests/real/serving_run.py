"""A model's life on real pods, by the user who serves it: served, asked, replaced, canaried, rolled back, ended.

Run by ``test_serving.py`` as a user with few rights. It raises at the first thing that is not as it should be. What its
test is to do in between it asks for by a line, and waits for a line back.
"""

from __future__ import annotations

import collections
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import jupyterlab_kf as kf

X, Y = load_iris(return_X_y=True)
NAME = "iris"
WORSE = """
class Always:
    def predict(self, X, names=None):
        return [7] * len(X)
"""
BROKEN = """
class Broken:
    def load(self):
        raise ValueError("the weights are gone")
    def predict(self, X, names=None):
        return X
"""
WORDS = {"cpu": "100m", "timeout": 120}


def do(what: str) -> None:
    """Have the test do something."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()
    assert sys.stdin.readline() == f"{what}\n"


class Asked:
    """What came back of requests that were sent one after the other, all the time."""

    def __init__(self) -> None:
        self.answers: collections.Counter[str] = collections.Counter()
        self.failed: list[BaseException] = []
        self._over = threading.Event()

    @contextmanager
    def all_the_time(self) -> Iterator[Asked]:
        """Ask until the block has ended; nothing may have failed."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()
        assert not self.failed, (self.failed, self.answers)
        sys.stderr.write(f"no request of {self.answers.total()} failed: {dict(self.answers)}\n")

    def _run(self) -> None:
        endpoint = kf.endpoint(NAME)
        while not self._over.is_set():
            try:
                answer = endpoint.ask(X[::50])
                self.answers[answer.version] += 1
            except Exception as error:  # noqa: BLE001  all of it is counted
                self.failed.append(error)
            time.sleep(0.02)


def took(began: float, what: str) -> None:
    sys.stderr.write(f"{what}: {time.monotonic() - began:.1f} s\n")


def main() -> int:
    """All of it."""
    began = time.monotonic()
    model = LogisticRegression(max_iter=500).fit(X, Y)
    endpoint = kf.serve(model, name=NAME, **WORDS)
    took(began, "served")
    assert np.array_equal(endpoint.predict(X), model.predict(X))
    assert endpoint.ask(X[:1]).version == "v1"
    with Asked().all_the_time():
        do("roll")
        took(began, "replaced, pod by pod")
        endpoint = kf.serve(WORSE, name=NAME, canary=40, **WORDS)
        took(began, "canary")
        assert endpoint.versions == {"v1": 60, "v2": 40}
    answers: collections.Counter[str] = collections.Counter()
    for _ in range(60):
        answer = endpoint.ask(X[:1])
        assert answer.value[0] == (7 if answer.version == "v2" else 0)
        endpoint.feedback(reward=float(answer.value[0] == Y[0]))
        answers[answer.version] += 1
    assert 6 <= answers["v2"] <= 42, answers
    measured = endpoint.metrics()
    assert measured["v2"].feedbacks == answers["v2"]
    assert measured["v1"].mean_reward == 1.0
    assert measured["v2"].mean_reward == 0.0
    try:
        kf.serve(BROKEN, name=NAME, canary=10, **WORDS)
    except kf.EndpointNotReadyError as error:
        assert "the weights are gone" in str(error), error  # noqa: PT017
    else:
        raise AssertionError("a version that cannot load came up")
    took(began, "a broken version told")
    with Asked().all_the_time() as seen:
        endpoint = kf.endpoint(NAME)
        endpoint.remove("v3")
        endpoint.traffic(v1=100, v2=0)
        endpoint.promote("v2")
        took(began, "promoted")
        endpoint.rollback()
        took(began, "rolled back")
    assert seen.answers["v1"]
    assert seen.answers["v2"]
    assert endpoint.versions == {"v1": 100, "v2": 0}
    assert np.array_equal(endpoint.predict(X), model.predict(X))
    endpoint.delete()
    assert kf.endpoints() == []
    sys.stdout.write("the day is done\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
