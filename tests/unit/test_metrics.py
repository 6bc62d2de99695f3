"""Metrics, progress and log lines as programs really print them."""

from __future__ import annotations

import math

import pytest

from jupyterlab_kf.model import LogLine
from jupyterlab_kf.services import logs
from jupyterlab_kf.services.metrics import MOST_POINTS, Metrics, read


@pytest.mark.parametrize(
    ("line", "values", "step", "progress"),
    [
        ("loss=0.31 accuracy=0.9", {"loss": 0.31, "accuracy": 0.9}, None, None),
        ("epoch=3/10 loss=1.5e-3", {"loss": 0.0015}, 3, 0.3),
        ("Epoch 3/10", {}, 3, 0.3),
        ("epoch 2/10 step 50/100 loss = 0.5", {"loss": 0.5}, 50, 0.15),
        ("step=5/100 val/loss=nan", {"val/loss": math.nan}, 5, 0.05),
        ("[Epoch 1] lr=1e-4", {"lr": 0.0001}, 1, None),
        ("32/64 [====>....] - 1s - loss: 0.6914 - accuracy: 0.52", {"loss": 0.6914, "accuracy": 0.52}, None, 0.5),
        (" 45%|####5     | 9/20 [00:01<00:01]", {}, None, 0.45),
        ("\x1b[32mloss=2\x1b[0m", {"loss": 2.0}, None, None),
        ("rank=1 world_size=4 seed=3", {}, None, None),
        ("INFO:root: 12:30:45 started", {}, None, None),
        ("see http://x/y?z=1", {"z": 1.0}, None, None),
        ("version=1.2.3 path=/tmp/1", {}, None, None),
        ("x==1", {}, None, None),
        ("set TF_ENABLE_ONEDNN_OPTS=0 to turn it off; AUC=0.5", {"AUC": 0.5}, None, None),
        ("nothing here", {}, None, None),
    ],
)
def test_what_lines_say(line: str, values: dict[str, float], step: float | None, progress: float | None) -> None:
    reading = read(line)
    assert reading.values == pytest.approx(values, nan_ok=True)
    assert reading.step == step
    assert reading.progress == (None if progress is None else pytest.approx(progress))


def test_progress_is_the_slowest_replicas_and_the_rest_is_estimated() -> None:
    metrics = Metrics()
    for second, (fast, slow) in enumerate([(1, 1), (4, 2), (8, 3)]):
        metrics.feed(LogLine("worker-0", f"epoch={fast}/10", float(second)))
        metrics.feed(LogLine("worker-1", f"epoch={slow}/10", float(second)))
    assert metrics.progress == pytest.approx(0.3)
    assert metrics.eta(2.0) == pytest.approx(7.0)
    assert metrics.eta(4.0) == pytest.approx(5.0)


def test_series_stay_bounded_and_keep_their_ends() -> None:
    metrics = Metrics()
    for value in range(3 * MOST_POINTS):
        metrics.feed(LogLine("worker-0", f"loss={value}"))
    points = metrics.frozen()["loss"]["worker-0"]
    assert len(points) <= MOST_POINTS
    assert (points[0].value, points[-1].value) == (0.0, 3 * MOST_POINTS - 1.0)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2026-11-23T10:00:00.123456789Z hello", LogLine("worker-0", "hello", 1795428000.123456)),
        ("2026-11-23T10:00:00Z ", LogLine("worker-0", "", 1795428000.0)),
        ("2026-11-23T10:00:00Z [1,3]<stdout>: loss=1", LogLine("rank-3", "loss=1", 1795428000.0)),
        ("[1,0]<stderr>:old style", LogLine("rank-0", "old style", None)),
        ("[prterun-vm-1@1,2]<stdout>: x", LogLine("rank-2", "x", None)),
        ("10%\r20%\r30%", LogLine("worker-0", "30%", None)),
        ("[1,2] is a list", LogLine("worker-0", "[1,2] is a list", None)),
    ],
)
def test_raw_lines(raw: str, expected: LogLine) -> None:
    assert logs.parse(raw, "worker-0") == expected


def test_lines_of_several_replicas_in_the_order_of_their_times() -> None:
    lines = [LogLine("a", "1", 1.0), LogLine("a", "3", 3.0), LogLine("a", "more", None), LogLine("b", "2", 2.0)]
    assert [line.text for line in logs.merge(lines)] == ["1", "2", "3", "more"]
