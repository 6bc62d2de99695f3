"""The controller manager: queues, owners, timers, back-off; with a loop whose time only waiting moves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Emit, Patch, Requeue, SetStatus
from jupyterlab_kf.embedded.collector import Collector
from jupyterlab_kf.embedded.operators import RegistryApi, controllers
from jupyterlab_kf.embedded.registry import MERGE_PATCH, Registry
from jupyterlab_kf.embedded.store import Store
from jupyterlab_kf.errors import AlreadyExistsError, ConflictError, InvalidError, NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manager import Listener, Manager
from jupyterlab_kf.model import Obj, Ref


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.virtual = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> Any:
            if timeout:
                self.virtual += timeout
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.virtual


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test)


def clock() -> float:
    return asyncio.get_running_loop().time()


class FakeApi:
    """Objects in a dictionary; actions are noted, and fail when told to."""

    def __init__(self) -> None:
        self.view = self
        self.objects: dict[tuple[str, str, str], Obj] = {}
        self.done: list[tuple[float, Action]] = []
        self.failures: Iterator[Exception | None] = iter(())
        self.listener: Listener | None = None
        self.pace = 0.0

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        return self.objects.get((kind.kind, namespace, name))

    def list(self, kind: Kind, namespace: str | None = None) -> list[Obj]:
        return [o for (k, ns, _), o in sorted(self.objects.items()) if k == kind.kind and namespace in (None, ns)]

    def owned(self, kind: Kind, uid: str) -> Any:
        return [o for o in self.list(kind) if o["metadata"].get("owner") == uid]

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self.listener = listener
        return lambda: setattr(self, "listener", None)

    def put(self, kind: Kind, name: str, **fields: Any) -> Obj:
        old = self.objects.get((kind.kind, "ns", name))
        metadata = {"name": name, "namespace": "ns", "uid": f"uid-{name}"}
        obj: Obj = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}
        self.objects[kind.kind, "ns", name] = obj
        if self.listener:
            self.listener("MODIFIED" if old else "ADDED", kind, obj, old)
        return obj

    def drop(self, kind: Kind, name: str) -> None:
        obj = self.objects.pop((kind.kind, "ns", name))
        if self.listener:
            self.listener("DELETED", kind, obj, obj)

    async def execute(self, action: Create | Patch | SetStatus | Delete | Emit) -> None:
        if self.pace:
            await asyncio.sleep(self.pace)
        self.done.append((clock(), action))
        error = next(self.failures, None)
        if error:
            raise error


def emit(text: str) -> Emit:
    return Emit(Ref("Pod", "p"), "v1", "Normal", "R", text, "test")


POD_ACTION = Create(kinds.POD, {"metadata": {"name": "p", "namespace": "ns"}})


class Notes:
    """A controller that notes when it was asked about what, and answers what it is told."""

    def __init__(self, *answers: Action, kind: Kind = kinds.JOB, **more: Any) -> None:
        self.seen: list[tuple[float, str]] = []
        self.answers: list[Action] = [*answers]
        self.controller = Controller("notes", kind, self.react, **more)

    def react(self, obj: Obj, view: Any, now: float) -> list[Action]:
        del view
        self.seen.append((now, obj["metadata"]["name"]))
        return [a for a in self.answers if not isinstance(a, Requeue) or a.at > now]

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.seen]


async def rest() -> None:
    """Let everything that is ready run, without moving time."""
    for _ in range(50):
        await asyncio.sleep(0)


async def started(api: FakeApi, *notes: Notes, workers: int = 1) -> Manager:
    manager = Manager(api, [n.controller for n in notes], clock=clock, workers=workers)
    await manager.start()
    await rest()
    return manager


def test_looks_at_what_is_there_and_at_what_changes() -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes()
        api.put(kinds.JOB, "a")
        manager = await started(api, notes)
        api.put(kinds.JOB, "b")
        api.put(kinds.POD, "c")
        await rest()
        assert notes.names == ["a", "b"]
        await manager.stop()
        api.put(kinds.JOB, "d")
        await rest()
        assert notes.names == ["a", "b"]
        assert api.listener is None

    run(test())


def test_many_changes_at_once_are_one_look() -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes()
        manager = await started(api, notes)
        for _ in range(10):
            api.put(kinds.JOB, "a")
        await rest()
        assert notes.names == ["a"]
        await manager.stop()

    run(test())


def test_owners_and_mapped_objects_are_woken() -> None:
    def mapper(obj: Obj, view: Any) -> list[tuple[str, str]]:
        del view
        return [("ns", obj["for"])]

    async def test() -> None:
        api = FakeApi()
        notes = Notes(owns=(kinds.POD,), watches={kinds.CONFIG_MAP: mapper})
        for name in ("a", "b", "c", "d"):
            api.put(kinds.JOB, name)
        manager = await started(api, notes)
        notes.seen.clear()
        pod = api.put(kinds.POD, "p")
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "a", "controller": True}
        pod["metadata"]["ownerReferences"] = [owner]
        assert api.listener
        api.listener("ADDED", kinds.POD, pod, None)
        foreign = {**pod, "metadata": {**pod["metadata"], "ownerReferences": [{**owner, "kind": "Other", "name": "d"}]}}
        api.listener("ADDED", kinds.POD, foreign, None)
        api.put(kinds.CONFIG_MAP, "m", **{"for": "b"})
        api.put(kinds.CONFIG_MAP, "m", **{"for": "c"})
        await rest()
        assert notes.names == ["a", "b", "c"]
        await manager.stop()

    run(test())


def test_timers_wake_at_their_time_and_a_new_answer_replaces_them() -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes(Requeue(10), Requeue(20))
        api.put(kinds.JOB, "a")
        manager = await started(api, notes)
        await asyncio.sleep(5)
        notes.answers = [Requeue(150)]
        api.put(kinds.JOB, "a")
        await asyncio.sleep(6)
        assert [at for at, _ in notes.seen] == [0, 5]
        await asyncio.sleep(140)
        assert [at for at, _ in notes.seen] == [0, 5, 65, 125, 150], "long timers look in between"
        notes.answers = []
        api.drop(kinds.JOB, "a")
        await asyncio.sleep(500)
        assert len(notes.seen) == 5
        await manager.stop()

    run(test())


def test_actions_are_carried_out_in_order_and_a_known_status_is_not_written() -> None:
    async def test() -> None:
        api = FakeApi()
        same = SetStatus(kinds.JOB, "ns", "a", "uid-a", {"x": 1})
        other = SetStatus(kinds.JOB, "ns", "a", "uid-a", {"x": 2})
        notes = Notes(emit("1"), same, POD_ACTION, other, emit("2"))
        api.put(kinds.JOB, "a", status={"x": 1})
        manager = await started(api, notes)
        assert [a for _, a in api.done] == [emit("1"), POD_ACTION, other, emit("2")]
        await manager.stop()

    run(test())


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (POD_ACTION, AlreadyExistsError("there")),
        (Delete(kinds.POD, "ns", "p", "u"), NotFoundError("gone")),
        (Patch(kinds.POD, "ns", "p", "u", {}), NotFoundError("gone")),
    ],
)
def test_what_is_done_already_is_fine(action: Action, error: Exception) -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes(action, emit("after"))
        api.failures = iter([error])
        api.put(kinds.JOB, "a")
        manager = await started(api, notes)
        assert [a for _, a in api.done] == [action, emit("after")]
        await asyncio.sleep(100)
        assert len(notes.seen) == 1
        await manager.stop()

    run(test())


def test_failures_are_retried_later_and_later_and_forgiven(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes(emit("1"), emit("2"))
        api.failures = iter([ConflictError("changed")] * 4)
        api.put(kinds.JOB, "a")
        manager = await started(api, notes)
        await asyncio.sleep(1)
        assert [round(at, 3) for at, _ in notes.seen] == [0, 0.01, 0.03, 0.07, 0.15]
        assert [a for _, a in api.done].count(emit("2")) == 1
        api.failures = iter([ConflictError("changed")])
        api.put(kinds.JOB, "a")
        await asyncio.sleep(1)
        assert round(notes.seen[-1][0] - notes.seen[-2][0], 3) == 0.01
        await manager.stop()

    with caplog.at_level(logging.WARNING):
        run(test())
    assert not caplog.records


def test_what_cannot_be_created_is_said_on_the_object(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes(POD_ACTION, emit("created"), kind=kinds.TF_JOB)
        api.failures = iter([InvalidError('Pod "p" is invalid')])
        api.put(kinds.TF_JOB, "a")
        manager = await started(api, notes)
        said = api.done[1][1]
        assert isinstance(said, Emit)
        assert (said.type, said.reason, said.message) == (
            "Warning",
            "FailedCreatePod",
            'Error creating: Pod "p" is invalid',
        )
        assert said.about == Ref("TFJob", "a", "ns", "uid-a")
        assert emit("created") not in [a for _, a in api.done]
        await asyncio.sleep(1)
        assert emit("created") in [a for _, a in api.done]
        await manager.stop()

    run(test())
    assert 'Pod "p" is invalid' in caplog.text


def test_a_fault_in_one_reaction_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes()
        calm = notes.react

        def react(obj: Obj, view: Any, now: float) -> list[Action]:
            if obj["metadata"]["name"] == "bad":
                raise KeyError("spec")
            return calm(obj, view, now)

        notes.controller = Controller("notes", kinds.JOB, react)
        for name in ("bad", "good"):
            api.put(kinds.JOB, name)
        manager = await started(api, notes)
        assert notes.names == ["good"]
        await manager.stop()

    run(test())
    assert "KeyError" in caplog.text


def test_one_key_is_never_worked_on_twice_at_once() -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes(emit("x"))
        api.pace = 1.0
        for name in ("a", "b"):
            api.put(kinds.JOB, name)
        manager = await started(api, notes, workers=4)
        assert notes.seen == [(0, "a"), (0, "b")], "different keys at the same time"
        api.put(kinds.JOB, "a")
        api.put(kinds.JOB, "a")
        await asyncio.sleep(0.5)
        assert len(notes.seen) == 2
        await asyncio.sleep(1)
        assert notes.seen[2:] == [(1, "a")]
        await manager.stop()

    run(test())


def test_stopping_finishes_what_is_at_hand() -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes(emit("1"), emit("2"))
        api.pace = 1.0
        api.put(kinds.JOB, "a")
        api.put(kinds.JOB, "b")
        manager = await started(api, notes)
        await manager.stop()
        assert [a for _, a in api.done] == [emit("1"), emit("2")]
        assert notes.names == ["a"]

    run(test())


def test_stopping_does_not_wait_for_ever() -> None:
    async def test() -> None:
        api, notes = FakeApi(), Notes(emit("1"))
        api.pace = 1000.0
        api.put(kinds.JOB, "a")
        manager = await started(api, notes)
        await manager.stop()
        assert clock() < 10
        assert not api.done

    run(test())


# --- over the embedded registry

AUTHORITY = "the authority's certificate"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = Store(tmp_path / "store.db")
    yield Registry(store, clock=lambda: 1_800_000_000.0)
    store.close()


def training_job(name: str, field: str, container: str, *types: str) -> Obj:
    replica = {"replicas": 1, "template": {"spec": {"containers": [{"name": container, "image": "x"}]}}}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {field: dict.fromkeys(types, replica)}}


def set_phase(registry: Registry, pod: Obj, phase: str) -> None:
    registry.update(kinds.POD, {**pod, "status": {**pod.get("status", {}), "phase": phase}}, subresource="status")


def test_a_job_runs_through_over_the_registry(registry: Registry) -> None:
    async def test() -> None:
        manager = Manager(RegistryApi(registry), controllers(AUTHORITY), clock=lambda: 1_800_000_000.0)
        await manager.start()
        job = training_job("j", "pytorchReplicaSpecs", "pytorch", "Master", "Worker")
        registry.create(kinds.PYTORCH_JOB, job)
        await rest()
        for phase in ("Running", "Succeeded"):
            for pod in registry.view.list(kinds.POD):
                set_phase(registry, pod, phase)
            await rest()
        status = registry.get(kinds.PYTORCH_JOB, "default", "j")["status"]
        assert [c["type"] for c in status["conditions"] if c["status"] == "True"] == ["Created", "Succeeded"]
        revision = registry.store.revision
        await rest()
        assert registry.store.revision == revision
        registry.delete(kinds.PYTORCH_JOB, "default", "j")
        await rest()
        await manager.stop()

    run(test())


def test_each_mpi_job_belongs_to_the_operator_of_its_version(registry: Registry) -> None:
    async def test() -> None:
        manager = Manager(RegistryApi(registry), controllers(AUTHORITY), clock=lambda: 1_800_000_000.0)
        for kind, name in ((kinds.MPI_JOB, "one"), (kinds.MPI_JOB_V2, "two")):
            registry.create(kind, training_job(name, "mpiReplicaSpecs", "mpi", "Launcher", "Worker"))
        await manager.start()
        await rest()
        three = training_job("three", "mpiReplicaSpecs", "mpi", "Launcher", "Worker")
        registry.create(kinds.MPI_JOB_V2, three)
        await rest()
        jobs = [j["metadata"]["name"] for j in registry.view.list(kinds.JOB)]
        assert jobs == ["three-launcher", "two-launcher"]
        pods = {p["metadata"]["name"]: p["metadata"]["labels"] for p in registry.view.list(kinds.POD)}
        operators = {n: labels["training.kubeflow.org/operator-name"] for n, labels in pods.items() if "worker" in n}
        assert operators == {
            "one-worker-0": "mpijob-controller",
            "three-worker-0": "mpi-operator",
            "two-worker-0": "mpi-operator",
        }
        await manager.stop()

    run(test())


def test_controllers_outlive_the_definition_of_their_kind(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        collector = Collector(registry)
        collector.attach()
        manager = Manager(RegistryApi(registry), controllers(AUTHORITY), clock=lambda: 1_800_000_000.0)
        await manager.start()
        definition = registry.get(kinds.CUSTOM_RESOURCE_DEFINITION, "", "tfjobs.kubeflow.org")
        for _ in range(2):
            registry.create(kinds.TF_JOB, training_job("j", "tfReplicaSpecs", "tensorflow", "Worker"))
            await rest()
            assert [pod["metadata"]["name"] for pod in registry.list(kinds.POD)] == ["j-worker-0"]
            registry.delete(kinds.CUSTOM_RESOURCE_DEFINITION, "", "tfjobs.kubeflow.org")
            collector.run()
            await rest()
            collector.run()
            assert registry.list(kinds.POD) == []
            assert registry.list(kinds.SERVICE) == []
            registry.create(
                kinds.CUSTOM_RESOURCE_DEFINITION,
                {"metadata": {"name": "tfjobs.kubeflow.org"}, "spec": definition["spec"]},
            )
        await manager.stop()

    with caplog.at_level("WARNING"):
        run(test())
    assert not caplog.records


def test_an_action_on_a_successor_of_the_same_name_is_dropped(registry: Registry) -> None:
    async def test() -> None:
        api = RegistryApi(registry)
        pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
        registry.create(kinds.POD, pod)
        before = registry.store.revision
        await api.execute(Delete(kinds.POD, "default", "p", "another"))
        await api.execute(Patch(kinds.POD, "default", "p", "another", {"metadata": {"labels": {"a": "b"}}}))
        await api.execute(SetStatus(kinds.POD, "default", "p", "another", {"phase": "Failed"}))
        assert registry.store.revision == before

    run(test())


@pytest.mark.parametrize("jobs", [20, 80])
def test_work_grows_with_the_number_of_jobs_only(registry: Registry, jobs: int) -> None:
    looks = 0

    def counting(controller: Controller) -> Controller:
        def react(obj: Obj, view: Any, now: float) -> list[Action]:
            nonlocal looks
            looks += 1
            return controller.react(obj, view, now)

        return Controller(controller.name, controller.kind, react, controller.owns, controller.watches)

    async def test() -> None:
        manager = Manager(
            RegistryApi(registry), [counting(c) for c in controllers(AUTHORITY)], clock=lambda: 1_800_000_000.0
        )
        await manager.start()
        for n in range(jobs):
            job = training_job(f"j{n}", "pytorchReplicaSpecs", "pytorch", "Master", "Worker")
            registry.create(kinds.PYTORCH_JOB, job)
        for _ in range(jobs // 10):
            await rest()
        assert len(registry.view.list(kinds.POD)) == 2 * jobs
        await manager.stop()

    run(test())
    assert looks <= 10 * jobs


def test_a_namespace_has_its_account_and_the_clusters_certificate_whatever_happens(registry: Registry) -> None:
    async def test() -> None:
        manager = Manager(RegistryApi(registry), controllers(AUTHORITY), clock=lambda: 1_800_000_000.0)
        await manager.start()
        registry.create(kinds.NAMESPACE, {"metadata": {"name": "n"}})
        await rest()
        mine = [(kinds.CONFIG_MAP, "kube-root-ca.crt"), (kinds.SERVICE_ACCOUNT, "default")]
        for kind, name in mine:
            registry.delete(kind, "n", name)
        await rest()
        assert registry.get(kinds.SERVICE_ACCOUNT, "n", "default")
        change = {"data": {"ca.crt": "another's", "more": "x"}}
        registry.patch(kinds.CONFIG_MAP, "n", "kube-root-ca.crt", change, MERGE_PATCH)
        await rest()
        assert registry.get(kinds.CONFIG_MAP, "n", "kube-root-ca.crt")["data"] == {"ca.crt": AUTHORITY}
        for space in ("default", "kube-system"):
            assert registry.get(kinds.CONFIG_MAP, space, "kube-root-ca.crt")["data"] == {"ca.crt": AUTHORITY}
        registry.delete(kinds.NAMESPACE, "", "n")
        for kind, name in mine:
            registry.delete(kind, "n", name)
        await rest()
        assert [registry.list(kind, "n") for kind, _ in mine] == [[], []]
        await manager.stop()

    run(test())
