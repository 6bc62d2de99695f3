"""Which parts of objects are read out of what a server sends: lists and watches are decoded straight into those.

What nobody looks at (who wrote which field, most of a pod's spec) is skipped in the text and never becomes an object:
that is what makes a list of ten thousand pods cheap. A shape is a type; what it yields are plain mappings as JSON gives
them, only with less in them. It refuses nothing: text that does not have the shape is decoded whole. Of what changes
seldom a shape may keep the text (it is folded), for :func:`unfold` to decode when it is looked at.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict, get_type_hints

from jupyterlab_kf.model import Obj, meta

if TYPE_CHECKING:
    import msgspec

# The types are met at run time: they tell the decoder what to read. Leaves are Any, so that a null is no error.


class _Head(TypedDict, total=False):
    name: str
    namespace: str
    uid: str
    resourceVersion: str
    generation: int
    creationTimestamp: Any
    deletionTimestamp: Any
    labels: Any
    annotations: Any
    ownerReferences: Any


class _Object(TypedDict, total=False):
    apiVersion: str
    kind: str
    metadata: _Head
    spec: Any
    status: Any
    code: Any
    message: Any
    reason: Any
    details: Any


class _Container(TypedDict, total=False):
    name: str
    image: Any
    resources: Any


class _PodSpec(TypedDict, total=False):
    nodeName: Any
    nodeSelector: Any
    tolerations: Any
    containers: list[_Container] | None
    initContainers: list[_Container] | None


class _Pod(_Object, total=False):
    spec: _PodSpec


class _Sized(TypedDict, total=False):
    resources: Any


class _UsageSpec(TypedDict, total=False):
    nodeName: Any
    containers: list[_Sized] | None


class _UsageStatus(TypedDict, total=False):
    phase: Any


class _Usage(TypedDict, total=False):
    spec: _UsageSpec
    status: _UsageStatus


class _NodeSpec(TypedDict, total=False):
    taints: Any
    unschedulable: Any


class _NodeStatus(TypedDict, total=False):
    allocatable: Any
    capacity: Any
    conditions: Any


class _Node(_Object, total=False):
    spec: _NodeSpec
    status: _NodeStatus


class _TrialSpec(TypedDict, total=False):
    objective: Any
    parameterAssignments: Any


class _Trial(_Object, total=False):
    spec: _TrialSpec


@dataclass(frozen=True)
class Shape:
    """What is read of each object; with ``folded``, spec and the writers of fields stay text."""

    item: Any
    folded: bool = False

    def page(self, content: bytes) -> Any:
        """One answer to a list.

        Raises:
            ValueError: it is not JSON.
        """
        return _decode(self, content, event=False)

    def event(self, line: bytes) -> Any:
        """One line of a watch.

        Raises:
            ValueError: it is not JSON.
        """
        return _decode(self, line, event=True)


WHOLE: Final = Shape(Any)
OBJECT: Final = Shape(_Object)
"""Spec and status whole, without who wrote which field."""
JOB: Final = Shape(_Object, folded=True)
"""Head and status of a job, whose manifest is unfolded once for all its changes of status."""
POD: Final = Shape(_Pod)
"""What is shown of a pod: its status whole, its place and its requests."""
USAGE: Final = Shape(_Usage)
"""Where a pod is, whether it has ended, and what it asks for; not even its name."""
NODE: Final = Shape(_Node)
"""A node's size, conditions and taints."""
TRIAL: Final = Shape(_Trial)
"""What a trial was given, and how it stands; not the job that it runs."""


def is_folded(obj: Obj) -> bool:
    """Whether a shape has left the object's spec as text."""
    return not isinstance(obj.get("spec", {}), dict)


def unfold(obj: Obj) -> Obj:
    """The object with everything in it that a shape had left as text."""
    return {**_opened(obj), "metadata": _opened(meta(obj))}


def _opened(part: Mapping[str, Any]) -> Obj:
    import msgspec

    return {key: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value for key, value in part.items()}


def _decode(shape: Shape, content: bytes, *, event: bool) -> Any:
    import msgspec

    try:
        return _decoder(shape, event).decode(content)
    except msgspec.ValidationError:  # something of another shape: an error's Status, or what a newer server says
        return json.loads(content)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


@functools.cache
def _decoder(shape: Shape, event: bool) -> msgspec.json.Decoder[Any]:  # noqa: FBT001  a key of the cache
    import msgspec

    if shape.item is Any:
        return msgspec.json.Decoder()
    item = _folded(shape.item) if shape.folded else shape.item
    return msgspec.json.Decoder(_event(item) if event else _page(item))


_make: Any = TypedDict
"""Its fields are values below, which type checkers do not follow."""


def _folded(item: Any) -> Any:
    import msgspec

    head = _make("Head", {**get_type_hints(_Head), "managedFields": msgspec.Raw}, total=False)
    return _make("Item", {**get_type_hints(item), "metadata": head, "spec": msgspec.Raw}, total=False)


def _event(item: Any) -> Any:
    return _make("Event", {"type": str, "object": item}, total=False)


def _page(item: Any) -> Any:
    fields = {"metadata": Any, "items": list[item] | None, "kind": Any, "message": Any, "code": Any}
    return _make("Page", fields, total=False)
