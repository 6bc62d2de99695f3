"""Whatever a client sends, the answer is an object or an error of the API; nothing else escapes."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import apply, defaults, patches, tables, validation
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

RECORDS = json.loads((Path(__file__).parents[1] / "golden" / "apimachinery" / "creations.json").read_text())
VALUES = [None, "", 0, -1, 1.5, True, [], {}, "x y", [1], [{}], {"a": {}}, "Always", [None], [{"name": "a"}]]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if path or key not in ("apiVersion", "kind"):
            yield from places(item, (*path, key))


def damaged(obj: Obj, chance: random.Random) -> Obj:
    out = copy.deepcopy(obj)
    for _ in range(chance.randint(1, 3)):
        found = list(places(out))
        if not found:
            break
        *way, last = chance.choice(found)
        target: Any = out
        for key in way:
            target = target[key]
        target[last] = copy.deepcopy(chance.choice(VALUES))
    return out


def write(kind: Kind, obj: Obj) -> None:
    validation.unknown_fields(kind, obj)
    made = defaults.default(kind, validation.prune(kind, obj))
    if not validation.validate(kind, made):
        assert len(tables.row(kind, made, 0.0)) == len(tables.columns(kind))
        assert isinstance(apply.track_update(None, made, kind=kind, manager="m", now=0.0), list)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_objects_never_break_the_server(seed: int) -> None:
    chance = random.Random(seed)
    outcomes = set()
    for _ in range(120):
        record = chance.choice(RECORDS)["response_body"]
        kind = kinds.of(record["apiVersion"], record["kind"])
        obj = damaged(record, chance)
        try:
            write(kind, obj)
            patches.strategic_merge(record, {key: value for key, value in obj.items() if key != "metadata"}, kind)
            outcomes.add(200)
        except ApiError as error:
            outcomes.add(error.code)
    assert {200, 400} <= outcomes <= {200, 400, 500}  # 500: a list item of a patch without its merge key
