"""The store: versions, the mirror, the change window, and what survives."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.store import Change, Store
from jupyterlab_kf.errors import AlreadyExistsError, ClusterError, ConflictError, ExpiredError, NotFoundError
from jupyterlab_kf.model import Obj


def config(name: str, namespace: str = "default", **meta: object) -> Obj:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace, **meta}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.db")
    yield opened
    opened.close()


def test_versions_grow_over_all_kinds(store: Store) -> None:
    first = store.put(kinds.CONFIG_MAP, config("a"))
    second = store.put(kinds.NAMESPACE, {"metadata": {"name": "n"}})
    assert int(second["metadata"]["resourceVersion"]) == int(first["metadata"]["resourceVersion"]) + 1
    assert store.revision == int(second["metadata"]["resourceVersion"])


def test_put_does_not_change_what_it_was_given(store: Store) -> None:
    obj = config("a")
    store.put(kinds.CONFIG_MAP, obj)
    assert "resourceVersion" not in obj["metadata"]


def test_expectations(store: Store) -> None:
    stored = store.put(kinds.CONFIG_MAP, config("a"), expect="")
    with pytest.raises(AlreadyExistsError, match='configmaps "a" already exists'):
        store.put(kinds.CONFIG_MAP, config("a"), expect="")
    with pytest.raises(ConflictError, match="the object has been modified"):
        store.put(kinds.CONFIG_MAP, config("a"), expect="999")
    with pytest.raises(NotFoundError):
        store.put(kinds.CONFIG_MAP, config("b"), expect="1")
    store.put(kinds.CONFIG_MAP, config("a"), expect=stored["metadata"]["resourceVersion"])


def test_lists_by_namespace_and_name(store: Store) -> None:
    for namespace, name in (("b", "x"), ("a", "z"), ("a", "y")):
        store.put(kinds.CONFIG_MAP, config(name, namespace))
    assert [o["metadata"]["name"] for o in store.list(kinds.CONFIG_MAP)] == ["y", "z", "x"]
    assert [o["metadata"]["name"] for o in store.list(kinds.CONFIG_MAP, "a")] == ["y", "z"]
    store.remove(kinds.CONFIG_MAP, "a", "y")
    assert [o["metadata"]["name"] for o in store.list(kinds.CONFIG_MAP, "a")] == ["z"]


def test_both_versions_of_a_kind_share_a_place(store: Store) -> None:
    store.put(kinds.MPI_JOB, {"metadata": {"name": "m", "namespace": "default"}})
    assert store.get(kinds.MPI_JOB_V2, "default", "m") is not None


def test_owner_index_follows_writes(store: Store) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u-1", "controller": True}
    store.put(kinds.CONFIG_MAP, config("a", ownerReferences=[owner]))
    store.put(kinds.CONFIG_MAP, config("b", ownerReferences=[{**owner, "controller": False}]))
    assert [o["metadata"]["name"] for o in store.owned(kinds.CONFIG_MAP, "u-1")] == ["a"]
    assert [key[3] for key in store.dependents("u-1")] == ["a", "b"]
    store.put(kinds.CONFIG_MAP, config("a"))
    store.remove(kinds.CONFIG_MAP, "default", "b")
    assert store.dependents("u-1") == []


def test_changes_since_a_version(store: Store) -> None:
    start = store.revision
    store.put(kinds.CONFIG_MAP, config("a"))
    store.put(kinds.NAMESPACE, {"metadata": {"name": "n"}})
    store.put(kinds.CONFIG_MAP, config("a"))
    store.remove(kinds.CONFIG_MAP, "default", "a")
    changes = store.since(kinds.CONFIG_MAP, start)
    assert [c.type for c in changes] == ["ADDED", "MODIFIED", "DELETED"]
    assert changes[-1].obj["metadata"]["resourceVersion"] == str(store.revision)
    assert store.since(kinds.CONFIG_MAP, store.revision) == []


def test_the_window_is_bounded(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db", window=3)
    for at in range(6):
        store.put(kinds.CONFIG_MAP, config(f"c{at}"))
    assert len(store.since(kinds.CONFIG_MAP, 3)) == 3
    with pytest.raises(ExpiredError, match=r"too old resource version: 2 \(4\)"):
        store.since(kinds.CONFIG_MAP, 2)
    store.close()


def test_a_restart_keeps_objects_and_version_and_expires_older_watches(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    store.put(kinds.CONFIG_MAP, config("a"))
    store.put(kinds.CONFIG_MAP, config("b"))
    store.remove(kinds.CONFIG_MAP, "default", "b")
    revision = store.revision
    store.close()
    again = Store(tmp_path / "store.db")
    assert again.revision == revision
    assert [o["metadata"]["name"] for o in again.list(kinds.CONFIG_MAP)] == ["a"]
    assert again.since(kinds.CONFIG_MAP, revision) == []
    with pytest.raises(ExpiredError):
        again.since(kinds.CONFIG_MAP, revision - 1)
    again.close()


def test_a_listener_that_writes_is_told_in_order(store: Store) -> None:
    seen: list[str] = []

    def reply(change: Change) -> None:
        if change.obj["metadata"]["name"] == "a":
            store.put(kinds.CONFIG_MAP, config("b"))

    store.subscribe(reply)
    stop = store.subscribe(lambda change: seen.append(change.obj["metadata"]["name"]))
    store.put(kinds.CONFIG_MAP, config("a"))
    assert seen == ["a", "b"]
    stop()
    store.put(kinds.CONFIG_MAP, config("c"))
    assert seen == ["a", "b"]


def test_a_damaged_database_is_moved_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is not a database, but it is long enough to look like a file" * 100)
    with pytest.raises(ClusterError, match="damaged"):
        Store(path)
    assert not path.exists()
    assert [p for p in tmp_path.iterdir() if ".corrupt-" in p.name]


def test_an_unreadable_object_is_damage_too(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(path)
    store.put(kinds.CONFIG_MAP, config("a"))
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE objects SET body = '{'")
    connection.commit()
    connection.close()
    with pytest.raises(ClusterError, match="damaged"):
        Store(path)


@pytest.mark.usefixtures("store")
def test_a_second_process_is_refused_not_tolerated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyterlab_kf.embedded.store._PATIENCE", 0.05)
    with pytest.raises(ClusterError, match="cannot be opened"):
        Store(tmp_path / "store.db")
    assert (tmp_path / "store.db").exists()


def test_a_failed_write_changes_nothing(store: Store) -> None:
    store.put(kinds.CONFIG_MAP, config("a"))
    revision = store.revision
    store._connection.execute("PRAGMA query_only = 1")
    with pytest.raises(ClusterError, match="cannot be written"):
        store.put(kinds.CONFIG_MAP, config("b"))
    store._connection.execute("PRAGMA query_only = 0")
    assert store.revision == revision
    assert store.get(kinds.CONFIG_MAP, "default", "b") is None


def test_what_was_answered_survives_sigkill(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.store import Store
store = Store(Path({str(tmp_path / "store.db")!r}))
at = 0
while True:
    store.put(kinds.CONFIG_MAP, {{"metadata": {{"name": f"c{{at}}", "namespace": "d"}}}})
    print(at, flush=True)
    at += 1
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(300)]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.readlines()
    told = [int(line) for line in lines if line.strip()]
    store = Store(tmp_path / "store.db")
    assert {o["metadata"]["name"] for o in store.list(kinds.CONFIG_MAP)} >= {f"c{at}" for at in told}
    assert store.revision >= len(told)
    store.close()
