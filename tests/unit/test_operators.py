"""Controllers over a real cluster: who works, and what they see. What they do there is in tests/real."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.watch import Change
from jupyterlab_kf.controllers import SetStatus, katib
from jupyterlab_kf.errors import AlreadyExistsError, ClusterError, ConflictError, NotFoundError, UnreachableError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.services.families import COLLECTED
from jupyterlab_kf.services.leader import DEADLINE, DURATION, PERIOD, Leader
from jupyterlab_kf.services.operators import Mirror


class Leases:
    """One Lease on a server with versions, and a clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.away = False

    def candidate(self, identity: str) -> Leader:
        return Leader(self, "l", "n", identity=identity, clock=lambda: self.now, sleep=self.sleep)  # type: ignore[arg-type]

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        assert (kind, namespace, name) == (kinds.LEASE, "n", "l")
        if self.away:
            raise UnreachableError("nobody answers")
        if self.lease is None:
            raise NotFoundError("none")
        return self.lease

    async def create(self, kind: Kind, body: dict[str, Any], *, namespace: str) -> dict[str, Any]:
        assert (kind, namespace) == (kinds.LEASE, "n")
        if self.lease is not None:
            raise AlreadyExistsError("there")
        return self._store(body)

    async def request(self, method: str, path: str, *, body: Mapping[str, Any]) -> dict[str, Any]:
        assert (method, path) == ("PUT", kinds.LEASE.path("n", "l"))
        if body["metadata"].get("resourceVersion") != str(self.version):
            raise ConflictError("changed meanwhile")
        return self._store(body)

    def _store(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        return self.lease

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


async def test_who_comes_second_waits_until_the_first_has_not_renewed_for_the_whole_duration() -> None:
    leases = Leases()
    first, second = leases.candidate("a"), leases.candidate("b")
    await first.acquire()
    for _ in range(20):
        assert await first._try()
        assert not await second._try()
        leases.now += PERIOD
    since = leases.now
    await second.acquire()
    assert leases.holder == "b"
    assert DURATION - PERIOD <= leases.now - since <= DURATION + PERIOD
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 1


async def test_what_is_released_is_taken_at_once() -> None:
    leases = Leases()
    first, second = leases.candidate("a"), leases.candidate("b")
    await first.acquire()
    assert not await second._try()
    await first.release()
    assert await second._try()
    await first.release()
    assert leases.holder == "b", "who does not hold it releases nothing"


async def test_of_two_who_take_it_at_once_one_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    leases = Leases()
    await leases.candidate("gone").acquire()
    first, second = leases.candidate("a"), leases.candidate("b")
    assert not await first._try()
    assert not await second._try()
    leases.now += DURATION + 1
    stale = leases.lease
    assert await first._try()

    async def late(*_: object) -> Any:
        return stale

    monkeypatch.setattr(leases, "get", late)
    assert not await second._try()
    assert leases.holder == "a"


async def test_a_holder_whose_lease_was_taken_ends() -> None:
    leases = Leases()
    first = leases.candidate("a")
    await first.acquire()
    assert leases.lease is not None
    leases._store({**leases.lease, "spec": {**leases.lease["spec"], "holderIdentity": "b"}})
    with pytest.raises(ClusterError, match="was taken by another"):
        await first.hold()


async def test_a_holder_that_cannot_renew_gives_up_before_anybody_could_take_over() -> None:
    leases = Leases()
    first = leases.candidate("a")
    await first.acquire()
    leases.away = True
    with pytest.raises(ClusterError, match="could not be renewed"):
        await first.hold()
    assert DEADLINE <= leases.now < DURATION


def trial(name: str, version: str, **more: Any) -> dict[str, Any]:
    head = {"name": name, "namespace": "n", "uid": f"u-{name}", "resourceVersion": version}
    return {"metadata": head | more, "spec": {}}


def test_our_own_write_counts_at_once_and_older_news_is_passed_over() -> None:
    mirror = Mirror()
    told: list[tuple[str, str]] = []
    mirror.subscribe(lambda type_, _, obj, __: told.append((type_, obj["metadata"]["resourceVersion"])))
    mirror.told(kinds.TRIAL, Change("ADDED", trial("t", "1")))
    mirror.wrote(kinds.TRIAL, trial("t", "5"))
    for version in ("2", "4"):
        mirror.told(kinds.TRIAL, Change("MODIFIED", trial("t", version)))
    assert told == [("ADDED", "1"), ("MODIFIED", "5")]
    mirror.told(kinds.TRIAL, Change("MODIFIED", trial("t", "5")))
    mirror.told(kinds.TRIAL, Change("MODIFIED", trial("t", "6")))
    assert told[2:] == [("MODIFIED", "5"), ("MODIFIED", "6")]
    mirror.wrote(kinds.TRIAL, trial("t", "8"))
    mirror.told(kinds.TRIAL, Change("DELETED", trial("t", "9")))
    assert mirror.get(kinds.TRIAL, "n", "t") is None
    mirror.told(kinds.TRIAL, Change("ADDED", trial("t", "10")))
    assert told[-1] == ("ADDED", "10"), "a successor is not waited for"
    # The watch was quicker than the answer to the write, once with that very write and once with a later one.
    mirror.told(kinds.TRIAL, Change("MODIFIED", trial("t", "11")))
    mirror.wrote(kinds.TRIAL, trial("t", "11"))
    mirror.told(kinds.TRIAL, Change("MODIFIED", trial("t", "13")))
    mirror.wrote(kinds.TRIAL, trial("t", "12"))
    mirror.told(kinds.TRIAL, Change("MODIFIED", trial("t", "14")))
    assert [version for _, version in told[-3:]] == ["11", "13", "14"]


def test_owned_objects_are_found_by_their_controller() -> None:
    mirror = Mirror()
    owner = [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "o1", "controller": True}]
    mirror.told(kinds.TRIAL, Change("ADDED", trial("b", "1", ownerReferences=owner)))
    mirror.told(kinds.TRIAL, Change("ADDED", trial("a", "2", ownerReferences=owner)))
    mirror.told(kinds.TRIAL, Change("ADDED", trial("c", "3")))
    assert [one["metadata"]["name"] for one in mirror.owned(kinds.TRIAL, "o1")] == ["a", "b"]
    mirror.told(kinds.TRIAL, Change("MODIFIED", trial("a", "4")))
    assert [one["metadata"]["name"] for one in mirror.owned(kinds.TRIAL, "o1")] == ["b"]
    assert [one["metadata"]["name"] for one in mirror.list(kinds.TRIAL)] == ["a", "b", "c"]
    assert mirror.list(kinds.TRIAL, "elsewhere") == []
    assert mirror.served("kubeflow.org/v1beta1", "Trial") == kinds.TRIAL
    assert mirror.served("batch/v1", "Job") is None


def experiment(**spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "x", "args": ["${trialParameters.x}"]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [container]}}}}
    space = {"name": "x", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}
    template = {
        "primaryContainerName": "main",
        "trialParameters": [{"name": "x", "reference": "x"}],
        "trialSpec": job,
    }
    return {
        "metadata": {"name": "e", "namespace": "n", "uid": "u"},
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": "loss"},
            "algorithm": {"algorithmName": "random"},
            "parameters": [space],
            "maxTrialCount": 4,
            "trialTemplate": template,
            **spec,
        },
    }


PUSH = {"collector": {"kind": "Push"}}
SETTINGS = {"suggestion_trial_dir": "/kf", "n_population": "5", "truncation_threshold": "0.2"}
POPULATION = {
    "algorithmName": "pbt",
    "algorithmSettings": [{"name": name, "value": value} for name, value in SETTINGS.items()],
}
FILE = {"collector": {"kind": "File"}, "source": {"fileSystemPath": {"path": "/m/log", "kind": "File"}}}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"algorithm": {"algorithmName": "rnadom"}}, "did you mean random?"),
        ({"metricsCollectorSpec": FILE}, "metrics collector File reads files in pods, which nothing here can"),
        ({"metricsCollectorSpec": PUSH}, "metrics collector Push needs Katib's database, which nothing here runs"),
        ({"algorithm": POPULATION}, "algorithm pbt keeps checkpoints on a volume, which nothing here makes"),
    ],
)
def test_without_a_webhook_a_wrong_experiment_fails_with_its_reason(spec: dict[str, Any], said: str) -> None:
    mirror = Mirror()
    mirror.told(kinds.EXPERIMENT, Change("ADDED", experiment(**spec)))
    seen = mirror.get(kinds.EXPERIMENT, "n", "e")
    assert seen is not None
    controller = katib.unadmitted(katib.CONTROLLERS[0], COLLECTED)
    write = controller.react(seen, mirror, 1.0)[0]
    assert isinstance(write, SetStatus)
    assert said in write.status["conditions"][-1]["message"]
    failed = {**experiment(**spec), "status": dict(write.status)}
    mirror.told(kinds.EXPERIMENT, Change("MODIFIED", failed))
    again = mirror.get(kinds.EXPERIMENT, "n", "e")
    assert again is not None
    assert not [one for one in controller.react(again, mirror, 2.0) if not isinstance(one, SetStatus)]


def test_without_a_webhook_an_experiment_has_its_defaults() -> None:
    mirror = Mirror()
    mirror.told(kinds.EXPERIMENT, Change("ADDED", experiment()))
    seen = mirror.get(kinds.EXPERIMENT, "n", "e")
    assert seen is not None
    assert seen["spec"]["parallelTrialCount"] == 3
    created = katib.unadmitted(katib.CONTROLLERS[0], COLLECTED).react(seen, mirror, 1.0)
    assert any(getattr(one, "kind", None) == kinds.SUGGESTION for one in created)
