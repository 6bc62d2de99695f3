"""Whatever happens to the pods of a job: reacting settles, answers the same twice, and never asks for too many pods."""

from __future__ import annotations

from typing import Any

from controllers_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Create, Requeue, training, workloads
from jupyterlab_kf.controllers.support import FINISHED, phase, terminating
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

SHAPES: dict[Kind, tuple[str, str, tuple[str, ...]]] = {
    kinds.TF_JOB: ("tfReplicaSpecs", "tensorflow", ("Chief", "PS", "Worker", "Evaluator")),
    kinds.PYTORCH_JOB: ("pytorchReplicaSpecs", "pytorch", ("Master", "Worker")),
    kinds.MPI_JOB: ("mpiReplicaSpecs", "mpi", ("Launcher", "Worker")),
    kinds.MPI_JOB_V2: ("mpiReplicaSpecs", "mpi", ("Launcher", "Worker")),
    kinds.MX_JOB: ("mxReplicaSpecs", "mxnet", ("Scheduler", "Server", "Worker")),
}
SINGLE = {"Chief", "Master", "Launcher", "Scheduler"}


def optional(strategy: Any) -> Any:
    return st.none() | strategy


policies = st.fixed_dictionaries(
    {},
    optional={
        "cleanPodPolicy": st.sampled_from(["None", "Running", "All"]),
        "backoffLimit": st.integers(0, 3),
        "activeDeadlineSeconds": st.integers(1, 100),
        "ttlSecondsAfterFinished": st.integers(0, 100),
        "suspend": st.booleans(),
    },
)


@st.composite
def jobs(draw: Any) -> tuple[Kind, Obj]:
    kind = draw(st.sampled_from(list(SHAPES)))
    field, container, types = SHAPES[kind]
    restarts = ["Never", "OnFailure"] if kind == kinds.MPI_JOB_V2 else ["Never", "OnFailure", "Always", "ExitCode"]
    specs: Obj = {}
    for type_ in types:
        needed = type_ == "Launcher" or (kind == kinds.MX_JOB and type_ == "Scheduler")
        if needed or draw(st.booleans()):
            specs[type_] = {
                "replicas": 1 if type_ in SINGLE else draw(st.integers(1, 3)),
                "restartPolicy": draw(st.sampled_from(restarts)),
                "template": {"spec": {"containers": [{"name": container, "image": "x"}]}},
            }
    spec = {field: specs, "runPolicy": draw(policies)}
    return kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "j"}, "spec": spec}


steps = st.lists(
    st.tuples(
        st.sampled_from(["Running", "Succeeded", "Failed", "delete", "wait", "suspend", "gone"]),
        st.integers(0, 9),
        st.sampled_from([1, 2, 127, 128, 137, 255]),
        st.integers(0, 3),
    ),
    max_size=12,
)


def check(world: World, kind: Kind, obj: Obj) -> None:
    """After settling there is nothing left to do but to wait, and no more pods than asked for."""
    actions = world.decide()
    assert all(isinstance(action, Requeue) for action in actions), actions
    stored = world.get(kind, "default", "j")
    if stored is None:
        return
    conditions = stored["status"]["conditions"]
    types = [c["type"] for c in conditions]
    assert len(types) == len(set(types))
    true = {c["type"] for c in conditions if c["status"] == "True"}
    assert not {"Running", "Restarting"} <= true
    assert not ({"Succeeded", "Failed"} & true and "Running" in true)
    wanted = sum(s["replicas"] for s in obj["spec"][SHAPES[kind][0]].values())
    alive = [p for p in world.pods().values() if phase(p) not in FINISHED]
    if kind == kinds.MPI_JOB_V2:  # a batch Job replaces a pod while it is still ending, as its policy says
        alive = [p for p in alive if not terminating(p)]
    assert len(alive) <= wanted


def play(world: World, kind: Kind, step: tuple[str, int, int, int]) -> None:
    what, which, code, restarts = step
    pods = [n for n, p in world.pods().items() if phase(p) not in FINISHED]
    if what == "wait":
        world.wait(which * 10)
    elif what == "suspend":
        place = ("kubeflow.org", kind.plural, "default", "j")
        if place in world.objects:
            policy = world.objects[place]["spec"]["runPolicy"]
            policy["suspend"] = not policy.get("suspend")
    elif what == "gone":
        world.finish_terminating()
    elif pods:
        pod = pods[which % len(pods)]
        if what == "delete":
            world.remove(kinds.POD, pod)
        else:
            world.phase(pod, what, code=code if what == "Failed" else None, restarts=restarts, settle=False)
    world.settle()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(job=jobs(), steps=steps, lingering=st.booleans())
def test_reactions_settle(job: tuple[Kind, Obj], steps: list[tuple[str, int, int, int]], lingering: bool) -> None:  # noqa: FBT001
    kind, obj = job
    world = World(*workloads.CONTROLLERS, *training.CONTROLLERS, lingering=lingering)
    world.add(kind, obj)
    world.settle()
    check(world, kind, obj)
    for step in steps:
        play(world, kind, step)
        check(world, kind, obj)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(job=jobs())
def test_a_view_that_lags_makes_no_second_pod(job: tuple[Kind, Obj]) -> None:
    kind, obj = job
    world = World(*workloads.CONTROLLERS, *training.CONTROLLERS)
    world.add(kind, obj)
    early = world.decide()
    world.apply(early)
    first = {place: o["metadata"]["uid"] for place, o in world.objects.items()}
    world.apply(early)
    assert {place: o["metadata"]["uid"] for place, o in world.objects.items()} == first
    names = [a.obj["metadata"]["name"] for a in early if isinstance(a, Create) and a.kind == kinds.POD]
    assert len(names) == len(set(names))
