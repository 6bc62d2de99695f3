"""The table of training frameworks: which kind runs them, which roles they have, and how replicas are laid out.

One row says everything that differs between frameworks on the client's side. Pure. Refuses unknown frameworks and
roles with the nearest real one, and counts that no operator would accept.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.kinds import Kind


@dataclass(frozen=True, slots=True)
class Role:
    """One replica type: its name for people, its key in the manifest, and how many there may be (0: any number)."""

    name: str
    key: str
    most: int = 0


@dataclass(frozen=True, slots=True)
class Framework:
    """One row of the table.

    Attributes:
        name: the word people use; ``aliases`` are accepted too.
        specs: the key under ``spec`` that holds the replica specs (ChainerJob has another shape and none).
        container: the name that the operator looks for.
        image: what replicas run unless the user names an image; the embedded node maps these to environments.
        base: replicas that are there whatever is asked for, before ``workers`` are counted.
        leads: True when the leader is one of the ``workers`` (PyTorch's master, Chainer's master).
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    kind: Kind
    specs: str
    container: str
    image: str
    roles: tuple[Role, ...]
    base: tuple[tuple[str, int], ...] = ()
    leads: bool = False

    def role(self, name: str) -> Role:
        """The role of that name.

        Raises:
            UsageError: the framework has no such role.
        """
        for role in self.roles:
            if role.name == name.lower():
                return role
        known = [role.name for role in self.roles]
        raise UsageError(f"{self.title} has no role {name!r}", hint=nearest(name, known, "its roles are"))


FRAMEWORKS: Final[tuple[Framework, ...]] = (
    Framework(
        name="pytorch",
        title="PyTorch",
        aliases=("torch",),
        kind=kinds.PYTORCH_JOB,
        specs="pytorchReplicaSpecs",
        container="pytorch",
        image="jupyterlab-kf/pytorch:1",
        roles=(Role("master", "Master", 1), Role("worker", "Worker")),
        base=(("master", 1),),
        leads=True,
    ),
    Framework(
        name="tensorflow",
        title="TensorFlow",
        aliases=("tf",),
        kind=kinds.TF_JOB,
        specs="tfReplicaSpecs",
        container="tensorflow",
        image="jupyterlab-kf/tensorflow:1",
        roles=(
            Role("chief", "Chief", 1),
            Role("master", "Master", 1),
            Role("ps", "PS"),
            Role("worker", "Worker"),
            Role("evaluator", "Evaluator", 1),
        ),
    ),
    Framework(
        name="mpi",
        title="MPI",
        aliases=("mpi4py", "openmpi", "horovod"),
        kind=kinds.MPI_JOB,
        specs="mpiReplicaSpecs",
        container="mpi",
        image="jupyterlab-kf/mpi:1",
        roles=(Role("launcher", "Launcher", 1), Role("worker", "Worker")),
        base=(("launcher", 1),),
    ),
    Framework(
        name="mxnet",
        title="MXNet",
        aliases=("mx",),
        kind=kinds.MX_JOB,
        specs="mxReplicaSpecs",
        container="mxnet",
        image="jupyterlab-kf/mxnet:1",
        roles=(Role("scheduler", "Scheduler", 1), Role("server", "Server"), Role("worker", "Worker")),
        base=(("scheduler", 1), ("server", 1)),
    ),
    Framework(
        name="chainer",
        title="Chainer",
        aliases=("chainermn",),
        kind=kinds.CHAINER_JOB,
        specs="",
        container="chainer",
        image="jupyterlab-kf/chainer:1",
        roles=(Role("master", "master", 1), Role("worker", "worker")),
        base=(("master", 1),),
        leads=True,
    ),
)


def framework(name: str) -> Framework:
    """The row of a framework by its name, an alias, or its kind (``PyTorchJob``).

    Raises:
        UsageError: there is no such framework.
    """
    wanted = name.lower()
    for row in FRAMEWORKS:
        if wanted in (row.name, *row.aliases, row.kind.singular):
            return row
    known = [word for row in FRAMEWORKS for word in (row.name, *row.aliases)]
    main = [row.name for row in FRAMEWORKS]
    raise UsageError(f"{name!r} is not a framework", hint=nearest(name, known, "the frameworks are", listed=main))


def of_kind(kind: str) -> Framework | None:
    """The row of a job's kind as it stands in a manifest, or None for kinds that are not training jobs."""
    return next((row for row in FRAMEWORKS if row.kind.kind == kind), None)


def nearest(word: str, known: Iterable[str], rest: str, *, listed: Iterable[str] | None = None) -> str:
    """A hint: the nearest known word if one is near, in whatever case, and all of them."""
    names = list(known)
    every = {one.lower(): one for one in names}
    close = difflib.get_close_matches(word.lower(), every, n=1, cutoff=0.5)
    guess = f"did you mean {every[close[0]]!r}? " if close else ""
    return f"{guess}{rest} {', '.join(listed or names)}"


def layout(
    row: Framework,
    *,
    workers: int | None = None,
    replicas: Mapping[str, int] | None = None,
    elastic: tuple[int, int] | None = None,
) -> dict[str, int]:
    """How many replicas of each role: ``workers`` counts those that train, ``replicas`` names roles.

    Raises:
        UsageError: a role or a count that the framework cannot have.
    """
    if elastic is not None:
        return _elastic(row, workers, replicas, elastic)
    if replicas:
        counts = _by_role(row, replicas)
        if workers is not None:
            if row.leads or "worker" in counts:
                raise UsageError("both workers and replicas say how many workers there are", hint="give one of the two")
            counts["worker"] = _count("workers", workers)
    else:
        total = 1 if workers is None else _count("workers", workers)
        counts = {"worker": total - 1 if row.leads else total}
    full = {**dict(row.base), **counts}
    ordered = {role.name: full[role.name] for role in row.roles if full.get(role.name)}
    _check_complete(row, ordered)
    return ordered


def trainers(counts: Mapping[str, int]) -> int:
    """How many replicas train (ranks, before processes per replica): without launchers, servers and schedulers."""
    idle = {"launcher", "scheduler", "server", "ps", "evaluator"}
    return sum(count for role, count in counts.items() if role not in idle)


def _by_role(row: Framework, replicas: Mapping[str, int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, count in replicas.items():
        role = row.role(name)
        value = _count(role.name, count)
        if role.most and value > role.most:
            raise UsageError(f"{row.title} has at most {role.most} {role.name}, not {value}")
        counts[role.name] = value
    return counts


def _count(what: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{what} is {value!r}; it must be a whole number")
    if value < 1:
        raise UsageError(f"{what} is {value}; it must be 1 or more", hint=f"leave {what} out if you want none")
    return value


def _check_complete(row: Framework, counts: Mapping[str, int]) -> None:
    if row.name == "tensorflow" and "chief" in counts and "master" in counts:
        raise UsageError("TensorFlow has a chief or a master, not both", hint="use chief; master is its older name")
    needs = {"tensorflow": ("chief", "master", "worker"), "mpi": ("worker",), "mxnet": ("worker",)}.get(row.name)
    if needs and not any(role in counts for role in needs):
        raise UsageError(f"nothing would train: {row.title} needs at least one {' or '.join(needs)}")


def _elastic(
    row: Framework, workers: int | None, replicas: Mapping[str, int] | None, elastic: tuple[int, int]
) -> dict[str, int]:
    if row.name != "pytorch":
        raise UsageError(f"only PyTorch jobs can be elastic, not {row.title}")
    least, most = elastic
    _count("the least number of elastic workers", least)
    if most < least:
        raise UsageError(f"elastic is {least} to {most}; the second number must not be the smaller one")
    if replicas and set(replicas) - {"worker"}:
        raise UsageError("an elastic PyTorch job has only workers", hint="give workers, or leave elastic out")
    count = _count("workers", workers or (replicas or {}).get("worker") or least)
    if not least <= count <= most:
        raise UsageError(f"workers is {count}, outside the elastic range {least} to {most}")
    return {"worker": count}
