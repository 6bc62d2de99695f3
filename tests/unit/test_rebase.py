"""An edit on top of somebody else's: nothing that only one of the two changed is lost."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterlab_kf.manifests.rebase import rebase

BASE = {"spec": {"replicas": 1, "suspend": False, "containers": [{"name": "a", "image": "one", "args": ["x"]}]}}


def changed(**spec: Any) -> dict[str, Any]:
    return {"spec": {**BASE["spec"], **spec}}


def container(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "a", "image": "one", "args": ["x"], **fields}]


@pytest.mark.parametrize(
    ("mine", "theirs", "both"),
    [
        (changed(replicas=3), changed(suspend=True), changed(replicas=3, suspend=True)),
        (changed(replicas=3), changed(replicas=5), changed(replicas=3)),
        (BASE, changed(replicas=5), changed(replicas=5)),
        (changed(added=1), changed(other=2), changed(added=1, other=2)),
        ({"spec": {}}, changed(suspend=True, added=1), {"spec": {"added": 1}}),
        (
            changed(suspend=True),
            {"spec": {"containers": container()}},
            {"spec": {"suspend": True, "containers": container()}},
        ),
        (
            changed(containers=container(image="two")),
            changed(containers=container(args=["y", "z"])),
            changed(containers=container(image="two", args=["y", "z"])),
        ),
        (
            changed(containers=[*container(), {"name": "b"}]),
            changed(replicas=2),
            changed(containers=[*container(), {"name": "b"}], replicas=2),
        ),
    ],
)
def test_what_only_one_changed_is_kept_and_else_it_is_mine(mine: Any, theirs: Any, both: Any) -> None:
    assert rebase(BASE, mine, theirs) == both


def test_without_a_beginning_it_is_mine_and_what_only_they_have() -> None:
    assert rebase(None, {"a": 1, "c": {"x": 1}}, {"a": 2, "b": 3, "c": {"y": 2}}) == {
        "a": 1,
        "b": 3,
        "c": {"x": 1, "y": 2},
    }
