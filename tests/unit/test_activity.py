"""What a notebook server reports as its work, and which kernels in pods it ends, in a clock of its own."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from jupyterlab_kf.handlers.activity import SETTING, Rounds

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Kernels:
    def __init__(self, **kernels: Any) -> None:
        self.kernels = kernels

    def list_kernel_ids(self) -> list[str]:
        return list(self.kernels)

    def get_kernel(self, kernel_id: str) -> Any:
        return self.kernels[kernel_id]

    async def shutdown_kernel(self, kernel_id: str) -> None:
        del self.kernels[kernel_id]


def kernel(state: str, minutes: float, allowed: int | None = 3600, *, pod: bool = True) -> Any:
    """A kernel whose last message came so many minutes before noon."""
    provisioner = SimpleNamespace(idle_timeout=allowed) if pod else SimpleNamespace()
    last = NOON - timedelta(minutes=minutes)
    return SimpleNamespace(execution_state=state, last_activity=last, provisioner=provisioner)


def rounds(kernels: Kernels, settings: dict[str, Any], *, watching: bool = False) -> Rounds:
    return Rounds(kernels, settings, lambda: watching, logging.getLogger("test"), now=lambda: NOON)


@pytest.mark.parametrize(
    ("one", "stays"),
    [
        (kernel("idle", 59), True),
        (kernel("idle", 61), False),
        (kernel("busy", 600), True),  # it computes, and says nothing
        (kernel("starting", 600), True),
        (kernel("idle", 600, None), True),
        (kernel("idle", 600, pod=False), True),  # it goes with its server
    ],
)
async def test_an_idle_kernel_in_a_pod_ends_after_its_profiles_time(one: Any, stays: Any) -> None:
    kernels = Kernels(one=one)
    await rounds(kernels, {}).go()
    assert list(kernels.kernels) == (["one"] if stays else [])


@pytest.mark.parametrize(
    ("kernels", "watching", "working"),
    [
        ({"a": kernel("idle", 1)}, False, False),
        ({"a": kernel("idle", 1)}, True, True),
        ({"a": kernel("idle", 1), "b": kernel("busy", 600, pod=False)}, False, True),
        ({"a": kernel("busy", 600)}, False, True),
        ({}, False, False),
    ],
)
async def test_work_in_silence_is_activity(kernels: dict[str, Any], watching: Any, working: Any) -> None:
    settings: dict[str, Any] = {}
    await rounds(Kernels(**kernels), settings, watching=watching).go()
    assert settings == ({SETTING: NOON} if working else {})


async def test_a_kernel_that_cannot_be_ended_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    silent = asyncio.Event()
    asked: list[str] = []

    class Stuck(Kernels):
        async def shutdown_kernel(self, kernel_id: str) -> None:
            asked.append(kernel_id)
            if kernel_id == "away":
                raise ConnectionError("the cluster is away")
            if kernel_id == "silent":
                await silent.wait()
            await super().shutdown_kernel(kernel_id)

    settings: dict[str, Any] = {}
    kernels = Stuck(**{name: kernel("idle", 600) for name in ("away", "silent", "last")}, working=kernel("busy", 600))
    turn = Rounds(kernels, settings, lambda: False, logging.getLogger("test"), now=lambda: NOON, patience=0.01)
    await turn.go()
    assert list(kernels.kernels) == ["away", "silent", "working"]
    assert settings == {SETTING: NOON}
    assert "Kernel away could not be ended, and is tried again: the cluster is away" in caplog.text
    await turn.go()
    assert asked == ["away", "silent", "last", "away"]
    silent.set()
    await turn.go()
    assert list(kernels.kernels) == ["away", "working"]
