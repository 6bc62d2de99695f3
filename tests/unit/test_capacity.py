"""What is free on a cluster, and whether pods of some hardware would find a place."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from jupyterlab_kf.manifests.capacity import Ground, capacity, room, survey

GIB = 2**30


def node(name: str, cpu: str, memory: str, gpu: str = "", **more: Any) -> dict[str, Any]:
    has = {"cpu": cpu, "memory": memory, "pods": "110", **({"nvidia.com/gpu": gpu} if gpu else {})}
    return {
        "metadata": {"name": name, "labels": more.get("labels", {})},
        "spec": {"taints": more.get("taints", []), "unschedulable": more.get("cordoned", False)},
        "status": {
            "allocatable": has,
            "conditions": [{"type": "Ready", "status": "True" if more.get("ready", True) else "False"}],
        },
    }


def pod(where: str, cpu: str, memory: str, phase: str = "Running") -> dict[str, Any]:
    resources = {"requests": {"cpu": cpu, "memory": memory}}
    return {"spec": {"nodeName": where, "containers": [{"resources": resources}]}, "status": {"phase": phase}}


def quota(**hard: str) -> dict[str, Any]:
    names = {key.replace("_", "."): value for key, value in hard.items()}
    return {"metadata": {"name": "team"}, "status": {"hard": names, "used": {"requests.cpu": "3"}}}


NODES = [node("a", "4", "8Gi"), node("b", "8", "16Gi", "2", taints=[{"key": "gpu", "effect": "NoSchedule"}])]
TOLERANT = [{"key": "gpu", "operator": "Exists"}]


def asked(cpu: str, memory: int = 1, gpu: int = 0) -> dict[str, Decimal]:
    return {"cpu": Decimal(cpu), "memory": Decimal(memory * GIB), "nvidia.com/gpu": Decimal(gpu)}


def test_free_is_allocatable_less_what_unfinished_pods_ask_for() -> None:
    ground = survey(NODES, [pod("a", "1", "2Gi"), pod("a", "1", "1Gi", "Succeeded"), pod("", "9", "9Gi", "Pending")])
    sums = capacity(ground)
    assert (sums.nodes, sums.cpu, sums.gpu, sums.largest_cpu) == (2, 12.0, 2.0, 8.0)
    assert (sums.free_cpu, sums.free_memory) == (11.0, 22.0 * GIB)


def test_machines_that_take_no_pods_are_not_counted() -> None:
    ground = survey([*NODES, node("c", "64", "1Ti", cordoned=True), node("d", "64", "1Ti", ready=False)], [])
    assert capacity(ground).cpu == 12.0


def test_a_quota_lowers_what_is_free() -> None:
    sums = capacity(survey(NODES, [], [quota(requests_cpu="4")]))
    assert sums.free_cpu == 1.0
    assert sums.quota == "the quota 'team' leaves 1 CPU"


@pytest.mark.parametrize(
    ("wanted", "tolerations", "known", "said"),
    [
        (asked("1"), [], (2, True), "Starts at once; 2 like it would."),
        (asked("2"), [], (1, True), "Starts at once."),
        (asked("3"), [], (0, True), "It would wait: at most 2 CPUs free now."),
        (asked("6"), [], (0, False), "Too large: the largest machine has 4 CPUs."),
        (asked("6"), TOLERANT, (1, True), "Starts at once."),
        (asked("1", 1, 1), [], (0, False), "This cluster has no GPU."),
        (asked("1", 1, 1), TOLERANT, (2, True), "Starts at once; 2 like it would."),
        (asked("4", 12, 0), [], (0, False), "Too large: the largest machine has 8 GiB of memory."),
        ({}, [], (2, True), "Starts at once; more than 100 like it would."),
    ],
)
def test_room(wanted: dict[str, Decimal], tolerations: list[Any], known: tuple[int, bool], said: str) -> None:
    ground = survey(NODES, [pod("a", "2", "2Gi")])
    got = room(ground, wanted, tolerations=tolerations)
    assert ((min(got.now, 2), got.ever), got.sentence) == (known, said)


def test_room_by_labels_and_quota() -> None:
    labelled = [node("a", "4", "8Gi", labels={"zone": "x"})]
    assert room(survey(labelled, []), asked("1"), node_selector={"zone": "x"}).now == 4
    assert not room(survey(labelled, []), asked("1"), node_selector={"zone": "y"}).ever
    limited = survey(labelled, [], [quota(requests_cpu="4")])
    assert room(limited, asked("2")).sentence == "It would wait: the quota 'team' leaves 1 CPU."
    assert room(limited, asked("0.5")).now == 2


def test_a_full_machine_takes_no_more_pods() -> None:
    small = node("a", "4", "8Gi")
    small["status"]["allocatable"]["pods"] = "1"
    assert room(survey([small], [pod("a", "1", "1Gi")]), asked("1")).now == 0


def test_without_machines_there_is_no_opinion() -> None:
    assert room(Ground(), asked("1000")).ever
    assert capacity(Ground()).nodes == 0
