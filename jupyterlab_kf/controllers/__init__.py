"""What Kubernetes' and Kubeflow's controllers know, as pure functions: ``react(object, view, now) -> [Action]``.

A controller sees one object and a read-only view of the cluster, and answers with the actions that bring the cluster
closer to what the object asks for. It never waits, reads a clock, draws a random number or talks to a server, so every
behaviour is a table of inputs and outputs. :mod:`jupyterlab_kf.manager` runs controllers and executes their actions.

Rules of the protocol:

- ``react`` is level-triggered: called again with the same state it answers the same, and with the goal reached it
  answers nothing.
- An action names what it was decided on (uid), so that a late one cannot hit a successor of the same name.
- The object and everything in the view is immutable input.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, Ref

Key: TypeAlias = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""


class View(Protocol):
    """A read-only look at the cluster, consistent for the length of one ``react`` call."""

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        """The object, or None."""

    def list(self, kind: Kind, namespace: str | None = None) -> list[Obj]:
        """All objects of a kind in a namespace, or everywhere, by namespace and name."""

    def owned(self, kind: Kind, uid: str) -> builtins.list[Obj]:
        """Objects of a kind whose controlling owner reference has that uid, by namespace and name."""

    def served(self, api_version: str, kind: str) -> Kind | None:
        """The row of a kind that this cluster serves, also of one that only a definition brings; None if none."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object, complete but for what the server fills in. A name that exists is left alone."""

    kind: Kind
    obj: Obj


@dataclass(frozen=True, slots=True)
class Patch:
    """JSON merge patch (RFC 7386) of an object's main or status subresource; dropped if its uid has changed."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    patch: Mapping[str, Any]
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Replace ``status``; the manager leaves an equal status alone. Dropped if the uid has changed."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object, its dependents in the background; dropped if its uid has changed.

    ``grace`` is in seconds and only pods use it; None takes the object's own.
    """

    kind: Kind
    namespace: str
    name: str
    uid: str
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """Record an Event about an object. Equal events are counted, not repeated."""

    about: Ref
    api_version: str
    type: str
    reason: str
    message: str
    source: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """React to this object again at that time (epoch seconds), even if nothing changes."""

    at: float


@dataclass(frozen=True, slots=True)
class Consult:
    """Ask a service outside the cluster a question; what it answers decides what is done next.

    For computations that are too heavy to be done between two looks, or need libraries that take seconds to import.
    The answer must be decided by the question alone: it may be asked again after a crash.

    Attributes:
        question: plain JSON.
        then: the actions for an answer; pure, as ``react`` is.
    """

    question: Mapping[str, Any]
    then: Callable[[Mapping[str, Any]], list[Action]] = field(compare=False)


Action: TypeAlias = Create | Patch | SetStatus | Delete | Emit | Requeue | Consult
Mapper: TypeAlias = Callable[[Obj, View], Iterable[Key]]


@dataclass(frozen=True, slots=True)
class Controller:
    """One controller: what it looks after, what else wakes it, and what it does.

    Attributes:
        name: as in events' source, such as ``pytorchjob-controller``.
        kind: the kind it looks after.
        owns: kinds whose changes wake the object that their controlling owner reference names.
        watches: other kinds whose changes wake the keys that the mapper answers.
        react: the pure function.
        owns_any: every kind counts as owned, also those that definitions will bring.
        workers: how many objects are looked at at the same time; more than one only where a look may wait.
    """

    name: str
    kind: Kind
    react: Callable[[Obj, View, float], list[Action]]
    owns: tuple[Kind, ...] = ()
    watches: Mapping[Kind, Mapper] = field(default_factory=dict)
    owns_any: bool = False
    workers: int = 1
