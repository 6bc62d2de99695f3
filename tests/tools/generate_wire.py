"""Writes the TypeScript types of the wire from the Python dataclasses; a test fails when they are stale."""

from __future__ import annotations

import enum
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from jupyterlab_kf import model
from jupyterlab_kf.handlers import wire
from jupyterlab_kf.manifests import studyviews
from jupyterlab_kf.services import board, trials
from jupyterlab_kf.services.serving import editing

TARGET = Path(__file__).parents[2] / "labextension" / "src" / "wire.ts"
HEAD = "// Generated from the Python side by tests/tools/generate_wire.py (make wire); a test fails when it is stale.\n"
ROOTS: tuple[Any, ...] = (
    model.Phase,
    model.Event,
    model.JobView,
    board.JobPage,
    board.JobsRecord,
    wire.ClusterInfo,
    wire.Contexts,
    wire.UseRequest,
    wire.LaunchRequest,
    wire.PlanAnswer,
    wire.JobDetail,
    wire.Copies,
    wire.StudyCopies,
    trials.TrialDetail,
    wire.Failure,
    wire.EndpointDetail,
    editing.Workshop,
    wire.ChangeRequest,
    wire.ChangePlan,
    wire.ChangeDone,
    wire.TryRequest,
    wire.TryAnswer,
    wire.FeedbackRequest,
    wire.AskRows,
    wire.AskJob,
    wire.AskLines,
    wire.AskStudies,
    wire.AskEndpoints,
    wire.AskKernels,
    wire.AskEndpoint,
    wire.AskStudy,
    wire.Close,
    wire.LinkFrame,
    wire.RowsFrame,
    wire.JobFrame,
    wire.LinesFrame,
    wire.StudiesFrame,
    wire.EndpointsFrame,
    wire.KernelsFrame,
    wire.EndpointFrame,
    wire.StudyFrame,
    studyviews.StudyRecord,
    wire.EndedFrame,
)
# A frame tells what changed of a view, and nothing else.
PARTIAL = {("JobFrame", "view")}
PLAIN = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null", Any: "unknown"}


def render() -> str:
    """The text of the file."""
    done: dict[str, str] = {}
    for root in ROOTS:
        _declare(root, done)
    return HEAD + "\n" + "\n\n".join(done.values()) + "\n"


def _declare(cls: Any, done: dict[str, str]) -> str:
    name = cls.__name__
    if name in done:
        return name
    done[name] = ""
    if issubclass(cls, enum.Enum):
        done.pop(name)
        values = " | ".join(f"'{member.value}'" for member in cls)
        done[name] = f"export type {name} = {values};" if len(values) < 80 else _union(name, cls)
        return name
    hints = typing.get_type_hints(cls, include_extras=True)
    lines = []
    for entry in fields(cls):
        text = _type(hints[entry.name], done)
        if (name, entry.name) in PARTIAL:
            text = f"Partial<{text}>"
        lines.append(f"  {entry.name}: {text};")
    done.pop(name)
    done[name] = f"export interface {name} {{\n" + "\n".join(lines) + "\n}"
    return name


def _union(name: str, cls: Any) -> str:
    return f"export type {name} =\n" + "\n".join(f"  | '{member.value}'" for member in cls) + ";"


def _type(hint: Any, done: dict[str, str]) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if origin is typing.Literal:
        return " | ".join(f"'{value}'" for value in args)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type(arg, done) for arg in args)
    if origin in (dict, Mapping):
        return f"Record<{_type(args[0], done)}, {_type(args[1], done)}>"
    if origin in (tuple, list, Sequence):
        inner = _type(args[0], done)
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    if is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, enum.Enum)):
        return _declare(hint, done)
    raise TypeError(f"no TypeScript type is known for {hint}")


if __name__ == "__main__":
    TARGET.write_text(render())
    sys.stdout.write(f"{TARGET}\n")
