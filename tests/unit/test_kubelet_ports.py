from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.embedded.kubelet.ports import JOB_LABEL, Book, PortTakenError, moved

Obj = dict[str, Any]


class Machine:
    """What is listened on, and the book of a cluster on it."""

    def __init__(self) -> None:
        self.busy: set[int] = set()

    def book(
        self, folder: str = "/a", *, shared: bool = False, headless: bool = False, told: Collection[int] = ()
    ) -> Book:
        return Book(
            Path(folder),
            shared=shared,
            headless=lambda _: headless,
            free=lambda port, _: port not in self.busy,
            told=lambda _: told,
        )


def pod(name: str, uid: str = "", *, job: str = "j", phase: str = "Running", port: int = 23456, **more: Any) -> Obj:
    metadata = {"namespace": "ml", "name": name, "uid": uid or name, "labels": {JOB_LABEL: job} if job else {}}
    container = {"name": "c", "ports": [{"containerPort": port}]}
    return {
        "metadata": metadata | more.pop("metadata", {}),
        "spec": {"containers": [container]},
        "status": {"phase": phase, **more},
    }


def container(obj: Obj) -> Obj:
    return dict(obj["spec"]["containers"][0])


def test_a_replica_never_gets_the_declared_port_and_clusters_choose_differently() -> None:
    machine = Machine()
    here = machine.book("/a").of(pod("j-master-0")).ports[23456]
    there = machine.book("/b").of(pod("j-master-0")).ports[23456]
    assert 23456 not in (here, there)
    assert here != there
    assert here == machine.book("/a").of(pod("j-master-0")).ports[23456]
    machine.busy.add(here)
    assert machine.book("/a").of(pod("j-master-0")).ports[23456] not in (here, 23456)


def test_a_pod_that_is_told_where_to_listen_leaves_the_declared_port_to_others() -> None:
    gateway = pod("gateway", job="")
    gateway["metadata"]["annotations"] = {"jupyterlab-kf.io/ports-may-move": "true"}
    assert Machine().book().of(gateway).ports[23456] != 23456


def server() -> Obj:
    """A pod of an engine and a unit."""
    made = pod("iris-0", job="")
    made["spec"]["containers"] = [
        {"name": "unit", "ports": [{"containerPort": 9000}]},
        {"name": "engine", "ports": [{"containerPort": 8000}, {"containerPort": 8000}, {"containerPort": 7777}]},
    ]
    return made


def test_only_the_ports_that_a_server_is_told_are_given_out() -> None:
    given = Machine().book(told=(9000, 8000)).of(server()).ports
    assert sorted(given) == [8000, 9000]
    assert set(given.values()).isdisjoint({7777, 8000, 9000})
    assert sorted(Machine().book(headless=True, told=(9000,)).of(server()).ports) == [7777, 8000, 9000]


def test_what_containers_of_a_pod_know_of_each_other_stays() -> None:
    machine = Machine()
    book, made = machine.book(told=(9000, 8000)), server()
    unit, engine = made["spec"]["containers"]
    first = book.of(made).ports[8000]
    machine.busy.add(first)
    assert not book.claim(made, {"name": "fetch-the-model"})
    assert book.claim(made, unit)  # the engine's port is gone before anybody knew it
    given = book.of(made).ports
    assert given[8000] != first
    machine.busy |= {given[9000]}  # the unit listens
    assert not book.claim(made, engine)
    assert book.of(made).ports == given
    machine.busy.add(given[8000])
    with pytest.raises(PortTakenError, match="port 8000 of iris-0"):
        book.claim(made, engine)


def test_other_pods_keep_their_ports_while_they_can() -> None:
    machine = Machine()
    assert machine.book().of(pod("web", job="")).ports == {}
    assert machine.book(headless=True).of(pod("db", job="")).ports == {23456: 23456}
    machine.busy.add(23456)
    assert machine.book(headless=True).of(pod("db", job="")).ports[23456] != 23456
    assert machine.book(shared=True).of(pod("web", job="")).ip == "127.0.0.1"


def test_a_port_that_nobody_was_told_is_replaced_at_the_start() -> None:
    machine = Machine()
    book, master = machine.book(), pod("j-master-0")
    first = book.of(master, asked_by="j-master-0").ports[23456]  # its own process may know it
    assert not book.claim(master, container(master))
    machine.busy.add(first)
    assert book.claim(master, container(master))
    assert book.of(master).ports[23456] not in (first, 23456)


def test_a_port_that_peers_were_told_is_never_replaced() -> None:
    machine = Machine()
    book, master = machine.book(), pod("j-master-0")
    told = book.of(master, asked_by="j-worker-0").ports[23456]
    machine.busy.add(told)
    with pytest.raises(PortTakenError, match=f"port 23456 of j-master-0 is port {told} on this machine"):
        book.claim(master, container(master))
    machine.busy.clear()
    assert not book.claim(master, container(master))
    assert book.of(master).ports[23456] == told


def test_a_replica_that_is_made_again_is_where_its_peers_know_it() -> None:
    machine = Machine()
    book = machine.book()
    first = book.of(pod("j-master-0", "1"), asked_by="j-worker-0")
    book.of(pod("j-worker-0"))
    machine.busy |= {first.ports[23456]}  # the old process may still be ending
    again = book.of(pod("j-master-0", "2"))
    assert again == first
    book.release("1")  # the worker of the old pod is late
    assert book.of(pod("j-master-0", "2")) == first
    book.release("2")
    assert book.of(pod("j-master-0", "3")) == first  # a peer lives
    book.release("3")
    book.release("j-worker-0")
    assert book.of(pod("j-master-0", "4")).ports != first.ports  # nobody does: the busy one is left alone


def test_what_was_told_outlives_the_daemon() -> None:
    machine = Machine()
    note = {"annotations": {"jupyterlab-kf.io/ports": '{"23456": 21000}'}}
    book = machine.book()
    book.restore(pod("j-master-0", "1", phase="Failed", podIP="127.1.1.1", metadata=note))
    book.restore(pod("j-worker-0", podIP="127.1.1.2"))
    book.restore(pod("k-master-0", job="k", phase="Failed", podIP="127.1.1.3", metadata=note))
    book.settle()
    assert book.of(pod("j-master-0", "2", phase="Pending")).ports == {23456: 21000}
    assert book.of(pod("j-worker-0")).ip == "127.1.1.2"
    assert book.of(pod("k-master-0", "2", job="k", phase="Pending")).ports != {23456: 21000}
    machine.busy.add(21000)
    with pytest.raises(PortTakenError):
        book.claim(pod("j-master-0", "2"), container(pod("j-master-0")))


def test_an_ended_pod_is_asked_about_and_nothing_is_given_out() -> None:
    book = Machine().book()
    ended = pod("j-master-0", phase="Succeeded", podIP="127.1.1.1")
    assert book.of(ended).ip == "127.1.1.1"
    assert moved(book.of(ended)) == {}
    assert not book.claim(ended, container(ended))
