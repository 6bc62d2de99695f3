"""Ten thousand pods of two thousand jobs on a thousand nodes of a real API server, read by us and by others.

Every reader is a process of its own and tells its CPU seconds (``getrusage``, imports included) and resident memory.
Our own client makes the objects, KWOK lets the pods run, and a flood of changes is watched by us as it comes, which
shows that none is lost. Its bytes are kept and told again to each client alone, as fast as it reads them. All of it is
some 14 minutes of CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__)
MODULES = [str(HERE.parents[2] / "tools"), str(HERE.parents[2] / "real"), str(HERE.parents[1])]
sys.path[:0] = MODULES

# A part of it is quick, and tells whether the section works; its figures mean nothing.
SHARE = float(os.environ.get("KF_BENCH_SHARE", "1"))
NODES, JOBS, PODS, EVENTS = (int(number * SHARE) for number in (1000, 2000, 10_000, 15_000))
SPACES = 20
AT_ONCE = 48
READERS = ("ours", "kubernetes", "kubernetes_asyncio", "kr8s")
OURS = ("board", "follow")
WATCHERS = (*OURS, "kubernetes", "kubernetes_asyncio", "kr8s")
GROUP = ("kubeflow.org", "v1", "pytorchjobs")
Obj = dict[str, Any]


def used() -> float:
    """CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident() -> float:
    """MiB of memory."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def say(**facts: Any) -> None:
    """A line for the parent."""
    print(json.dumps(facts), flush=True)


@asynccontextmanager
async def our_client() -> AsyncIterator[Any]:
    """Our client on the cluster of ``KUBECONFIG``."""
    from jupyterlab_kf.cluster import connection
    from jupyterlab_kf.cluster.client import Client
    from jupyterlab_kf.settings import load

    options = load({"KUBECONFIG": os.environ["KUBECONFIG"]})
    client = Client(connection.open_connection(connection.choose(options), options))
    try:
        yield client
    finally:
        await client.close()


# ------------------------------------------------------------------------------------------------------- the objects


def space(number: int) -> str:
    """The namespace of a job."""
    return f"team-{number % SPACES}"


def job(number: int) -> Obj:
    """A job as our client writes it."""
    from jupyterlab_kf.manifests import frameworks, pods, training

    row = frameworks.framework("pytorch")
    spec = training.TrainingSpec(
        name=f"job-{number:04d}",
        namespace=space(number),
        framework=row,
        replicas=frameworks.layout(row, workers=PODS // JOBS),
        submission=f"{number:012x}",
        image="python:3",
        resources=pods.resources("1", "1Gi", None),
    )
    return training.encode(spec)


def pod(number: int, owner: Obj) -> Obj:
    """A pod as the training operator makes it, on a node already."""
    index = number % (PODS // JOBS)
    role = "master" if index == 0 else "worker"
    name, template = owner["metadata"]["name"], owner["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    marks = {
        "training.kubeflow.org/job-name": name,
        "training.kubeflow.org/replica-type": role,
        "training.kubeflow.org/replica-index": str(max(index - 1, 0)),
    }
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name,
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    where = {"name": f"{name}-{role}-{index}", "namespace": owner["metadata"]["namespace"], "labels": marks}
    spec = {**template["spec"], "nodeName": f"many-{number % NODES}", "restartPolicy": "Never"}
    metadata = {**where, "ownerReferences": [reference]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def in_turn(work: Iterator[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All of it, some at once."""
    made: list[Any] = []

    async def worker() -> None:
        for one in work:
            made.append(await one)  # noqa: PERF401  the iterator is shared

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return made


async def load_cluster() -> None:
    """Make everything."""
    from bed import simulated

    from jupyterlab_kf import kinds

    async with our_client() as client:
        began = time.monotonic()
        await in_turn(
            client.create(kinds.NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space(n)}})
            for n in range(SPACES)
        )
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await in_turn(client.create(kinds.SERVICE_ACCOUNT, account, namespace=space(n)) for n in range(SPACES))
        nodes = (simulated.node(number, tainted=False) for number in range(NODES))
        named = ({**one, "metadata": {**one["metadata"], "name": f"many-{at}"}} for at, one in enumerate(nodes))
        await in_turn(client.create(kinds.NODE, one) for one in named)
        jobs = await in_turn(client.create(kinds.PYTORCH_JOB, job(number)) for number in range(JOBS))
        each = PODS // JOBS
        numbered = ((at, jobs[at // each]) for at in range(PODS))
        await in_turn(client.create(kinds.POD, pod(at, owner)) for at, owner in numbered)
        total = SPACES + NODES + JOBS + PODS
        say(objects=total, seconds=time.monotonic() - began)


async def flood() -> None:
    """Change the status of jobs, in turn, so many times."""
    from jupyterlab_kf import kinds

    async with our_client() as client:

        async def change(number: int) -> None:
            at, turn = number % JOBS, number // JOBS
            path = kinds.PYTORCH_JOB.path(space(at), f"job-{at:04d}", "status")
            status = {"replicaStatuses": {"Worker": {"active": turn + 1}}}
            kind = "application/merge-patch+json"
            await client.request("PATCH", path, body={"status": status}, content_type=kind, repeat=True)

        began = time.monotonic()
        await in_turn(change(number) for number in range(EVENTS))
        say(events=EVENTS, seconds=time.monotonic() - began)


# ------------------------------------------------------------------------------------------------------- the readers


async def list_ours() -> None:
    """Our client, in the shape that is shown."""
    from jupyterlab_kf import kinds
    from jupyterlab_kf.cluster import shapes

    async with our_client() as client:
        found = await client.list(kinds.POD, shape=shapes.POD)
        say(cpu=used(), rss=resident(), objects=len(found))


def list_kubernetes() -> None:
    """The official client, typed."""
    from kubernetes import client, config

    config.load_kube_config()
    api, items, following = client.CoreV1Api(), [], None
    while True:
        page = api.list_pod_for_all_namespaces(limit=500, _continue=following)
        items += page.items
        following = page.metadata._continue
        if not following:
            break
    say(cpu=used(), rss=resident(), objects=len(items))


async def list_kubernetes_asyncio() -> None:
    """Typed, async."""
    from kubernetes_asyncio import client, config

    await config.load_kube_config()
    items: list[Any] = []
    async with client.ApiClient() as connection:
        api, following = client.CoreV1Api(connection), None
        while True:
            more = {"_continue": following} if following else {}
            page = await api.list_pod_for_all_namespaces(limit=500, **more)
            items += page.items
            following = page.metadata._continue
            if not following:
                break
    say(cpu=used(), rss=resident(), objects=len(items))


async def list_kr8s() -> None:
    """All as kr8s lists them."""
    import kr8s.asyncio

    api = await kr8s.asyncio.api(kubeconfig=os.environ["KUBECONFIG"])
    items = [one async for one in api.get("pods", namespace=kr8s.ALL)]
    say(cpu=used(), rss=resident(), objects=len(items))


def jobs_ours() -> None:
    """The public face: every job of the cluster."""
    import jupyterlab_kf as kf

    found = kf.jobs(all_namespaces=True)
    say(cpu=used(), rss=resident(), objects=len(found))


async def capacity_ours() -> None:
    """What is free on all machines, which reads every node and pod."""
    from jupyterlab_kf.manifests import capacity
    from jupyterlab_kf.services import hardware

    async with our_client() as client:
        before, began = used(), time.monotonic()
        found = capacity.capacity(await hardware.survey(client, space(0)))
        say(cpu=used() - before, rss=resident(), objects=found.nodes, seconds=time.monotonic() - began)


async def feed_ours() -> None:
    """The first whole view of one job among all the others."""
    from jupyterlab_kf import kinds
    from jupyterlab_kf.services import feed, pictures

    async with our_client() as client:
        obj = await client.get(kinds.PYTORCH_JOB, space(0), "job-0000")
        before, began = used(), time.monotonic()
        async with contextlib.aclosing(feed.views(client, kinds.PYTORCH_JOB, pictures.Picture(obj))) as views:
            view = await anext(views)
        say(cpu=used() - before, rss=resident(), objects=len(view.replicas), seconds=time.monotonic() - began)


class Counter:
    """Counts events from when the flood may begin, and tells at the end, whatever the end is, how many there were."""

    def __init__(self) -> None:
        self.seen = 0
        self.before = 0.0
        self.cpu = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_why: object) -> None:
        say(cpu=(self.cpu or used()) - self.before, rss=resident(), objects=self.seen)

    def begin(self) -> None:
        """The state is known: the flood may come."""
        self.before, self.seen = used(), 0
        say(ready=True)

    def take(self) -> bool:
        """One event; True for the last."""
        self.seen += 1
        if self.seen >= EVENTS:
            self.cpu = used()
        return self.seen >= EVENTS


async def watch_follow() -> None:
    """Our loop, alone."""
    from jupyterlab_kf import kinds
    from jupyterlab_kf.cluster import watch

    with Counter() as counter:
        async with our_client() as client:
            async for change in watch.follow(client, kinds.PYTORCH_JOB, pace=watch.Pace(together=0.05)):
                if change.type == "SYNCED":
                    counter.begin()
                elif counter.before and counter.take():
                    return


async def watch_board() -> None:
    """The whole of the panels' side."""
    from jupyterlab_kf.services.board import Board

    done = asyncio.Event()
    with Counter() as counter:
        async with our_client() as client:
            board = Board(client, "default")
            ready = asyncio.Event()

            def told(before: Any, after: Any) -> None:
                if before is None and after is None:
                    ready.set()
                elif counter.before and counter.take():
                    done.set()

            board.listen(told)
            board.start()
            while board.link.state != "live":
                await ready.wait()
                ready.clear()
            counter.begin()
            await done.wait()
            await board.stop()


def watch_kubernetes() -> None:
    """The official client's watch, untyped."""
    from kubernetes import client, config, watch

    config.load_kube_config()
    api = client.CustomObjectsApi()
    version = api.list_cluster_custom_object(*GROUP)["metadata"]["resourceVersion"]
    with Counter() as counter:
        counter.begin()
        for _ in watch.Watch().stream(api.list_cluster_custom_object, *GROUP, resource_version=version):
            if counter.take():
                return


async def watch_kubernetes_asyncio() -> None:
    """The same, async."""
    from kubernetes_asyncio import client, config, watch

    await config.load_kube_config()
    async with client.ApiClient() as connection:
        api = client.CustomObjectsApi(connection)
        version = (await api.list_cluster_custom_object(*GROUP))["metadata"]["resourceVersion"]
        with Counter() as counter:
            counter.begin()
            stream = watch.Watch().stream(api.list_cluster_custom_object, *GROUP, resource_version=version)
            async for _ in stream:
                if counter.take():
                    return


async def watch_kr8s() -> None:
    """kr8s' watch, which begins with what is there."""
    import kr8s.asyncio

    api = await kr8s.asyncio.api(kubeconfig=os.environ["KUBECONFIG"])
    known = 0
    with Counter() as counter:
        async for _ in api.watch("pytorchjobs.kubeflow.org", namespace=kr8s.ALL):
            known += 1
            if known == JOBS:
                counter.begin()
            elif known > JOBS and counter.take():
                return


WORK: dict[str, Callable[[], Any]] = {
    "load": load_cluster,
    "flood": flood,
    "list-ours": list_ours,
    "list-kubernetes": list_kubernetes,
    "list-kubernetes_asyncio": list_kubernetes_asyncio,
    "list-kr8s": list_kr8s,
    "jobs-ours": jobs_ours,
    "capacity-ours": capacity_ours,
    "feed-ours": feed_ours,
    "watch-board": watch_board,
    "watch-follow": watch_follow,
    "watch-kubernetes": watch_kubernetes,
    "watch-kubernetes_asyncio": watch_kubernetes_asyncio,
    "watch-kr8s": watch_kr8s,
}


# -------------------------------------------------------------------------------------------------------- the parent


def child(name: str, kubeconfig: Path) -> subprocess.Popen[bytes]:
    """A process that does one thing."""
    return begun("sections.scale", name, KUBECONFIG=str(kubeconfig), KF_CONTEXT="")


def begun(*words: str, **environment: str) -> subprocess.Popen[bytes]:
    """A module of the benchmarks as a process. Its lines are read unbuffered: ``answer`` looks before it reads."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,  # its own share of a busy machine, where the kernel divides by sessions
        cwd=HERE.parents[1],
    )


def answer(process: subprocess.Popen[bytes], *, within: float = 600.0) -> Obj:
    """Its next line."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], within)
    line = process.stdout.readline() if ready else b""
    if not line:
        raise RuntimeError(f"{process.args} ended without an answer")
    found: Obj = json.loads(line)
    return found


def only(name: str, kubeconfig: Path) -> Obj:
    """What a process answers that does one thing."""
    with child(name, kubeconfig) as process:
        return answer(process)


def _last(process: subprocess.Popen[bytes], *, within: float) -> Obj:
    """What a watcher saw; one that is not done by then is interrupted, and tells how far it came."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], within)[0]:
        process.send_signal(signal.SIGINT)
    return answer(process, within=30)


def watched(kubeconfig: Path) -> dict[str, Obj]:
    """What our watchers saw of one flood; one that has not seen all a while after its end is told as it is."""
    watchers = {name: child(f"watch-{name}", kubeconfig) for name in OURS}
    try:
        for process in watchers.values():
            answer(process)
        took = only("flood", kubeconfig)
        print(f"    a flood of {took['events']} changes in {took['seconds']:.0f} s", flush=True)
        return {name: _last(process, within=30) for name, process in watchers.items()}
    finally:
        for process in watchers.values():
            process.terminate()
            process.wait()


def told_again(kubeconfig: Path) -> tuple[dict[str, Obj], dict[str, Obj]]:
    """What ours saw of a flood as it came, and what each watcher sees of it alone, told as fast as it can read."""
    path, modules = f"/apis/{'/'.join(GROUP)}", os.pathsep.join(MODULES)
    with begun(
        "sections.replay", path, str(JOBS), str(EVENTS), KUBECONFIG=str(kubeconfig), PYTHONPATH=modules
    ) as replay:
        assert replay.stdin is not None
        again = Path(answer(replay)["kubeconfig"])
        for name in WATCHERS:  # what they ask beside is answered as it is now
            with child(f"watch-{name}", again) as process:
                select.select([process.stdout], [], [], 10)  # one that begins with its watch is told nothing yet
                process.terminate()
        replay.stdin.write(b"record\n")
        answer(replay)
        together = watched(kubeconfig)
        kept = answer(replay)
        print(f"    {kept['recorded']} changes of {kept['bytes'] / 1e6:.0f} MB recorded", flush=True)
        if kept["recorded"] != EVENTS:
            raise RuntimeError(f"the watch that records the flood was told {kept['recorded']} of {EVENTS} changes")
        alone = {}
        for name in WATCHERS:
            with child(f"watch-{name}", again) as process:
                answer(process)
                alone[name] = _last(process, within=90)
                process.terminate()
        replay.stdin.close()
    return together, alone


def until_all_run(api: Any) -> float:
    """Seconds until KWOK has let every pod run."""
    from bed.api import until

    began = time.monotonic()
    waits = "/api/v1/pods?limit=1&fieldSelector=status.phase%3DPending"
    until(lambda: not api.request("GET", waits)["items"], seconds=300, what="all pods running", every=2.0)
    return time.monotonic() - began


def scale() -> Iterator[Any]:
    """The section."""
    from bed.cluster import RealCluster
    from measure import Row
    from stages import HOOKS, OPERATOR

    cluster = RealCluster.start("scale", nodes=1)
    try:
        for component in (OPERATOR, "kube-scheduler", "kube-controller-manager"):
            cluster.order("halt", component)  # the objects are to stay as they are made
        for hook in cluster.api.list(*HOOKS):
            cluster.api.delete(*HOOKS, hook["metadata"]["name"], "")
        made = only("load", cluster.kubeconfig)
        runs = until_all_run(cluster.api)
        print(f"    {PODS} pods run, {runs:.0f} s after they were made", flush=True)
        yield Row("objects made a second (bounded)", [made["objects"] / made["seconds"]], [], "", ">= 200", "1/s")
        found = {name: only(f"list-{name}", cluster.kubeconfig) for name in READERS}
        ours = found["ours"]
        for peer in READERS[1:]:
            yield Row("CPU of the first list of 10,000 pods", [ours["cpu"]], [found[peer]["cpu"]], peer, "<= 1 s")
            yield Row("the same, memory", [ours["rss"]], [found[peer]["rss"]], peer, "<= 150 MiB", "MiB")
        jobs = only("jobs-ours", cluster.kubeconfig)
        yield Row(f"CPU of kf.jobs() of {jobs['objects']}", [jobs["cpu"]], [], "", "<= 1 s")
        yield Row("the same, memory", [jobs["rss"]], [], "", "<= 150 MiB", "MiB")
        room = only("capacity-ours", cluster.kubeconfig)
        yield Row(f"CPU of what is free on {room['objects']} machines", [room["cpu"]], [], "", "<= 1 s")
        yield Row("the same, memory", [room["rss"]], [], "", "<= 150 MiB", "MiB")
        one = only("feed-ours", cluster.kubeconfig)
        yield Row(f"the first view of a job of {one['objects']} replicas", [one["seconds"]], [], "", "<= 1 s")
        yield Row("the same, CPU", [one["cpu"]], [], "", "<= 0.1 s")
        together, alone = told_again(cluster.kubeconfig)
        for name, one in together.items():
            yield Row(f"of {EVENTS} events lost by {name}", [EVENTS - one["objects"]], [], "", "0", "")
        rates = {name: one["objects"] / one["cpu"] for name, one in alone.items() if one["objects"]}
        for mine, peer in itertools.product(("follow", "board"), WATCHERS[2:]):
            what = {"follow": "watch events a CPU second", "board": "the same, with the panels' rows"}[mine]
            others = [rates[peer]] if peer in rates else []
            yield Row(what, [rates[mine]], others, peer, ">= 15,000", "1/s")
        yield Row("the panels' side, memory after the flood", [alone["board"]["rss"]], [], "", "<= 150 MiB", "MiB")
    finally:
        cluster.stop()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with contextlib.suppress(KeyboardInterrupt):  # what it has seen by then is told
            done = WORK[sys.argv[1]]()
            if asyncio.iscoroutine(done):
                asyncio.run(done)
    else:
        os.environ["KF_PROVISION"] = "1"
        for row in scale():
            print(row, flush=True)
