"""Each framework's real processes on the node, told of each other only by the names that Kubernetes would give them.

On the embedded cluster alone: the node is driven without an API server.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.kubelet import Kubelet
from jupyterlab_kf.embedded.kubelet.processes import MARKER, marked, read_json
from jupyterlab_kf.embedded.registry import DeleteOptions, Registry
from jupyterlab_kf.embedded.scheduling import SchedulerLoop
from jupyterlab_kf.embedded.store import Store
from jupyterlab_kf.settings import load

pytestmark = pytest.mark.framework
Obj = dict[str, Any]
JOB = "training.kubeflow.org/job-name"
SIZE = "scheduling.jupyterlab-kf.io/replicas"

MPI = """
from mpi4py import MPI
import numpy as np
c = MPI.COMM_WORLD
y = np.empty(1); c.Allreduce(np.full(1, c.rank + 1.0), y)
print(f"rank {c.rank}/{c.size} sum={y[0]:.0f}", flush=True)
"""
CHAINER = """
import warnings; warnings.filterwarnings("ignore")
import numpy as np, chainer, chainermn, chainer.links as L, chainer.functions as F
comm = chainermn.create_communicator("naive")
x = np.random.RandomState(comm.rank).randn(64, 4).astype("f"); t = (x.sum(1) > 0).astype("i")
model = L.Classifier(L.Linear(4, 2))
opt = chainermn.create_multi_node_optimizer(chainer.optimizers.Adam(), comm); opt.setup(model)
for _ in range(5):
    opt.update(model, x, t)
print(f"rank {comm.rank}/{comm.size} done", flush=True)
"""
MXNET = """
import warnings; warnings.filterwarnings("ignore")
import mxnet as mx, os
kv = mx.kv.create("dist_sync")
if os.environ["DMLC_ROLE"] == "worker":
    kv.init(3, mx.nd.ones((2,))); kv.push(3, mx.nd.ones((2,)) * (kv.rank + 1))
    out = mx.nd.zeros((2,)); kv.pull(3, out=out)
    print(f"worker {kv.rank}/{kv.num_workers} pulled={out.asnumpy()[0]:.0f}", flush=True)
"""
TORCH = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.tensor([dist.get_rank() + 1.0]); dist.all_reduce(x)
print(f"rank {dist.get_rank()}/{dist.get_world_size()} sum={x.item():.0f}", flush=True)
dist.destroy_process_group()
"""
TENSORFLOW = """
import os; os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
total = strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("sum", tf.constant(1.0)))
first = strategy.experimental_local_results(total)[0]
print(f"replicas {strategy.num_replicas_in_sync} sum={float(first):.0f}", flush=True)
"""


async def until(true: Callable[[], bool], limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


class Cluster:
    def __init__(self, folder: Path) -> None:
        settings = replace(load(), data_dir=folder)
        settings.cluster_dir.mkdir(parents=True)
        self.store = Store(settings.cluster_dir / "state.db")
        self.registry = Registry(self.store)
        self.kubelet = Kubelet(self.registry, settings, node="here")
        self.scheduler = SchedulerLoop(self.registry)

    def code(self, **files: str) -> None:
        data = {name.replace("_py", ".py"): text for name, text in files.items()}
        self.registry.create(kinds.CONFIG_MAP, {"metadata": {"name": "code"}, "data": data}, namespace="default")

    def replica(self, name: str, of: int, image: str, *argv: str, env: Obj | None = None, port: int = 0) -> str:
        job, role, index = name.split("-")
        labels = {JOB: job, "training.kubeflow.org/replica-type": role, "training.kubeflow.org/replica-index": index}
        container = {
            "name": "main",
            "image": f"jupyterlab-kf/{image}",
            "command": list(argv) or ["python", "/code/main.py"],
            "env": [{"name": key, "value": str(value)} for key, value in (env or {}).items()],
            "ports": [{"name": "p", "containerPort": port}] if port else [],
            "volumeMounts": [{"name": "code", "mountPath": "/code"}],
            "resources": {"requests": {"cpu": "100m"}},
        }
        volumes = [{"name": "code", "configMap": {"name": "code"}}]
        spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
        spec["terminationGracePeriodSeconds"] = 2
        pod = {"metadata": {"name": name, "labels": labels, "annotations": {SIZE: str(of)}}, "spec": spec}
        self.registry.create(kinds.POD, pod, namespace="default")
        if port:
            service = {"clusterIP": "None", "selector": labels, "ports": [{"name": "p", "port": port}]}
            self.registry.create(kinds.SERVICE, {"metadata": {"name": name}, "spec": service}, namespace="default")
        return name

    def phase(self, name: str) -> str:
        return str(self.registry.get(kinds.POD, "default", name)["status"].get("phase"))

    async def ended(self, *names: str, limit: float = 400.0) -> dict[str, str]:
        """The logs of pods that all succeeded."""
        deadline = time.monotonic() + limit
        while not all(self.phase(n) in ("Succeeded", "Failed") for n in names):
            assert time.monotonic() < deadline, {n: self.phase(n) for n in names}
            await asyncio.sleep(0.05)
        logs = {n: await self.log(n) for n in names}
        assert {self.phase(n) for n in names} == {"Succeeded"}, logs
        return logs

    async def log(self, name: str) -> str:
        return b"".join([piece async for piece in self.kubelet.logs("default", name)]).decode()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    await made.kubelet.start()
    await made.scheduler.start()
    yield made
    await made.scheduler.stop()
    for pod in made.registry.list(kinds.POD):
        made.registry.delete(kinds.POD, "default", pod["metadata"]["name"], options=DeleteOptions(grace=0))
    await until(lambda: not [*made.kubelet.commons.pods_dir.iterdir()])
    await made.kubelet.stop()
    made.store.close()


def mpi_env() -> Obj:
    return {"OMPI_MCA_orte_default_hostfile": "/code/hostfile", "OMPI_MCA_plm_rsh_agent": "/code/kubexec.sh"}


async def test_mpi_ranks_are_those_of_the_hostfile(cluster: Cluster) -> None:
    cluster.code(main_py=MPI, hostfile="m-worker-0 slots=2\nm-worker-1 slots=1\n")
    for index in range(2):
        cluster.replica(f"m-worker-{index}", 3, "mpi", "/usr/sbin/sshd", "-De")
    launcher = cluster.replica("m-launcher-0", 3, "mpi", "mpirun", "python", "/code/main.py", env=mpi_env())
    log = (await cluster.ended(launcher))[launcher]
    assert sorted(log.splitlines()) == [f"rank {i}/3 sum=6" for i in range(3)]


async def test_killing_mpiruns_supervisor_leaves_no_rank(cluster: Cluster) -> None:
    code = "import time, mpi4py.MPI as M\nprint(M.COMM_WORLD.rank, flush=True)\ntime.sleep(300)\n"
    cluster.code(main_py=code, hostfile="localhost slots=2\n")
    argv = ["mpirun", "-n", "2", "python", "/code/main.py"]
    name = cluster.replica("k-launcher-0", 1, "mpi", *argv, env=mpi_env())
    uid = cluster.registry.get(kinds.POD, "default", name)["metadata"]["uid"]
    run = cluster.kubelet.commons.pods_dir / uid / "containers" / "main" / "0" / "run.json"
    log = run.with_name("log")
    await until(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
    assert len(marked(f"{MARKER}={uid}")) >= 3
    os.kill(read_json(run)["supervisor"]["pid"], signal.SIGKILL)
    await until(lambda: cluster.phase(name) == "Failed")
    assert marked(f"{MARKER}={uid}") == []


async def test_chainermn_trains_on_two_ranks(cluster: Cluster) -> None:
    cluster.code(main_py=CHAINER, hostfile="localhost slots=2\n")
    env = mpi_env() | {"OMPI_MCA_btl_tcp_if_exclude": "lo,docker0"}
    argv = ["mpiexec", "-n", "2", "python", "/code/main.py"]
    name = cluster.replica("c-master-0", 1, "chainer", *argv, env=env)
    log = (await cluster.ended(name))[name]
    assert {"rank 0/2 done", "rank 1/2 done"} <= set(log.splitlines())


async def test_mxnet_scheduler_server_and_workers_meet(cluster: Cluster) -> None:
    cluster.code(main_py=MXNET)
    common = {"DMLC_PS_ROOT_URI": "x-scheduler-0", "DMLC_PS_ROOT_PORT": "9091", "DMLC_USE_KUBERNETES": "1"}
    common |= {"DMLC_NUM_SERVER": "1", "DMLC_NUM_WORKER": "2"}
    roles = ["scheduler-0", "server-0", "worker-0", "worker-1"]
    pods = [
        cluster.replica(f"x-{role}", 4, "mxnet", env=common | {"DMLC_ROLE": role[:-2]}, port=9091) for role in roles
    ]
    logs = await cluster.ended(*pods)
    assert "pulled=3" in logs["x-worker-0"] + logs["x-worker-1"]


async def test_two_torch_jobs_with_one_port_number_do_not_meet(cluster: Cluster) -> None:
    cluster.code(main_py=TORCH)
    pods = []
    for job in ("a", "b"):
        for role, rank in (("master", 0), ("worker", 1)):
            env = {"MASTER_ADDR": f"{job}-master-0", "MASTER_PORT": "23456", "WORLD_SIZE": "2", "RANK": rank}
            pods.append(cluster.replica(f"{job}-{role}-0", 2, "pytorch", env=env, port=23456))
    logs = await cluster.ended(*pods)
    assert logs["a-worker-0"].splitlines()[-1] == logs["b-worker-0"].splitlines()[-1] == "rank 1/2 sum=3"


async def test_tensorflow_workers_find_each_other_by_tf_config(cluster: Cluster) -> None:
    cluster.code(main_py=TENSORFLOW)
    workers = [f"t-worker-{i}.default.svc:2222" for i in range(2)]
    pods = []
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}, "environment": "cloud"}
        env = {"TF_CONFIG": json.dumps(config)}
        pods.append(cluster.replica(f"t-worker-{index}", 2, "tensorflow", env=env, port=2222))
    logs = await cluster.ended(*pods)
    assert all("replicas 2 sum=2" in log for log in logs.values())
