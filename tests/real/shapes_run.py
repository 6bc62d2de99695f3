"""What serves models without Seldon, asked on real pods by a user with few rights: run by ``test_shapes.py``."""

from __future__ import annotations

import sys

import numpy as np
from serving_day import listed
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import jupyterlab_kf as kf

X, Y = load_iris(return_X_y=True)
NAMES = ("setosa", "versicolor", "virginica")


def main() -> int:
    """All of it."""
    right = LogisticRegression(max_iter=500).fit(X, Y).predict(X)
    for name, kind in (("flowers", "Deployment"), ("blossoms", "Deployment"), ("petals", "InferenceService")):
        server = kf.server(name).wait(120)
        assert (server.ref.kind, server.status, server.why) == (kind, "Ready", "")
        if name == "petals":  # its transformer takes millimetres and knows the names
            assert list(server.predict(X * 10)) == [NAMES[one] for one in right]
            assert any(server.explain(X[:1])["explanations"][0])
        else:
            assert np.array_equal(np.ravel(server.predict(X)), right), name
        sys.stderr.write(f"{server.ref} answered in {server.ask(X[:1]).seconds * 1000:.0f} ms\n")
    try:
        kf.server("unknown").wait(60)
    except kf.EndpointNotReadyError as error:
        assert "no server of the format 'caffe'" in str(error), error  # noqa: PT017
    else:
        raise AssertionError("an unknown format is served")
    try:
        kf.server("petals").predict([[1.0]])
    except kf.PredictionError as error:
        assert "features" in str(error), error  # noqa: PT017
    else:
        raise AssertionError("a row that is too short was answered")
    import asyncio

    assert set(asyncio.run(listed())) == {"flowers", "blossoms", "petals", "unknown"}
    sys.stdout.write("the day is done\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
