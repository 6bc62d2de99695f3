"""What each section of the benchmarks does. Every generator yields rows as soon as they are measured."""

from __future__ import annotations

import json
import os
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import provision
import yaml
from measure import Row, in_turn, timed

import jupyterlab_kf as kf
from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import load

FIRST_LINE = "import time\nprint('first', time.time(), flush=True)\n"
PLAIN = "plain-python"
"""An image name that no table knows: it stands for the interpreter's own environment, without any framework."""


def extension() -> Iterator[Row]:
    """The cost of loading the extension in a fresh interpreter that has IPython already."""

    def run(code: str) -> float:
        program = (
            "import time, IPython; from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance()\n"
            f"start = time.perf_counter(); {code}\nprint(time.perf_counter() - start)"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        return float(done.stdout.splitlines()[-1]) * 1000

    ours, peer = in_turn(
        lambda: run("s.run_line_magic('load_ext', 'jupyterlab_kf')"), lambda: run("import kubernetes"), 5
    )
    yield Row("%load_ext jupyterlab_kf", ours, peer, "import kubernetes", "<= 60 ms", "ms")


def _submitted(name: str, code: str, *, workers: int = 2, image: str = PLAIN, framework: str = "pytorch") -> float:
    """Seconds from submit to the first user line on the last worker."""
    start = time.time()
    job = kf.train(code, framework, workers=workers, name=name, image=image, cpu="100m")
    job.wait(timeout=120)
    firsts = [float(line.text.split()[1]) for line in job.logs() if line.text.startswith("first ")]
    assert len(firsts) == workers, firsts
    job.delete()
    return max(firsts) - start


def _by_hand(code: str, environments: list[dict[str, str]]) -> float:
    """The same processes started directly."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(code)
        script.flush()
        start = time.time()
        processes = [
            subprocess.Popen([sys.executable, script.name], stdout=subprocess.PIPE, text=True, env=os.environ | extra)
            for extra in environments
        ]
        firsts = [float(process.communicate()[0].split()[1]) for process in processes]
    return max(firsts) - start


def launch() -> Iterator[Row]:
    """Submit to first user line, two workers, no framework imported."""
    count = iter(range(1000))
    ours, peer = in_turn(
        lambda: _submitted(f"launch-{next(count)}", FIRST_LINE), lambda: _by_hand(FIRST_LINE, [{}, {}]), 7
    )
    yield Row("submit to the first user line on 2 workers", ours, peer, "processes by hand", "<= 0.3 s more")
    backend = [_sdk_local() for _ in range(2)]
    yield Row("the same", ours, backend, "Kubeflow SDK 0.5, local (lower bound)", "<= 0.2")
    heavy = "import numpy, urllib.request, asyncio, sqlite3, pydantic, kubernetes.client as k\nk.V1Pod\n" + FIRST_LINE
    ours, peer = in_turn(lambda: _submitted(f"heavy-{next(count)}", heavy), lambda: _by_hand(heavy, [{}, {}]), 5)
    yield Row("the same after imports of about a second", ours, peer, "processes by hand", "")


def _sdk_local() -> float:
    """Kubeflow SDK's local backend, in the environment made for it."""
    os.environ["KF_PROVISION"] = "1"
    program = Path(__file__).with_name("sdk_local.py")
    command = [str(provision.local_backend()), str(program)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=90)
    return float(done.stdout.split()[-1])


def log_line() -> Iterator[Row]:
    """From print in the job to the line in the caller's hands."""
    code = "import time\nfor _ in range(20):\n    print('at', time.time(), flush=True)\n    time.sleep(0.1)\n"
    job = kf.train(code, "pytorch", workers=1, name="log-line", image=PLAIN, cpu="100m")
    delays = [
        (time.time() - float(line.text.split()[1])) * 1000
        for line in job.logs(follow=True)
        if line.text.startswith("at ")
    ]
    job.wait(timeout=30)
    job.delete()
    yield Row("log line to the notebook", delays[5:], _tail_delays(code), "tail -f", "<= 200 ms", "ms")


def _tail_delays(code: str) -> list[float]:
    """The peer: the same program writes a file that ``tail -f`` follows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.touch()
        with path.open("w") as output:
            writer = subprocess.Popen([sys.executable, "-c", code], stdout=output)
            tail = subprocess.Popen(["tail", "-f", str(path)], stdout=subprocess.PIPE, text=True)
            assert tail.stdout is not None
            delays = []
            for _ in range(20):
                line = tail.stdout.readline()
                delays.append((time.time() - float(line.split()[1])) * 1000)
            writer.wait()
            tail.terminate()
            tail.communicate()
    return delays[5:]


def memory() -> Iterator[Row]:
    """Proportional set sizes; the peer is a bare interpreter that sleeps."""
    info = daemon.status(load())
    assert info is not None
    bare = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    job = kf.train("import time\ntime.sleep(60)", "pytorch", workers=4, name="memory", image=PLAIN, cpu="100m")
    for view in job.watch():
        if view.status.phase.value == "Running" and all(replica.phase == "Running" for replica in view.replicas):
            break
    time.sleep(1)
    peer = [_pss(bare.pid)]
    yield Row("the daemon, with one job of 4 replicas", [_pss(info.pid)], peer, "a bare interpreter", "", "MiB")
    runs = [json.loads(path.read_text()) for path in load().cluster_dir.glob("pods/*/containers/*/*/run.json")]
    supervisors = [_pss(run["supervisor"]["pid"]) for run in runs]
    yield Row("the supervisor of each container", supervisors, peer, "a bare interpreter", "", "MiB")
    job.delete()
    bare.send_signal(signal.SIGTERM)
    bare.wait()


def _pss(pid: int) -> float:
    """Proportional set size in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


class Raw:
    """A plain HTTPS client on one connection, so that the server is measured and not a client library."""

    def __init__(self) -> None:
        import http.client

        config = yaml.safe_load(load().embedded_kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
        if "certificate-authority-data" in cluster:
            import base64

            context.load_verify_locations(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        host = urllib.request.urlparse(cluster["server"]).netloc  # type: ignore[attr-defined]
        self.connection = http.client.HTTPSConnection(host, context=context)
        self.headers = {"Authorization": f"Bearer {user['token']}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> bytes:
        """One request; the answer must be a success."""
        self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        answer = self.connection.getresponse()
        data = answer.read()
        assert answer.status < 300, (answer.status, data[:300])
        return data


def api() -> Iterator[Row]:
    """Reads, writes and watch latency; the peer is a tornado server that answers the same bytes from memory."""
    raw = Raw()
    path = "/api/v1/namespaces/default/configmaps"
    made = 0
    for total in (100, 1000, 10000):
        start = time.perf_counter()
        batch = total - made
        for number in range(made, total):
            body = {
                "metadata": {"name": f"bench-{number:05d}", "labels": {"n": str(number % 10)}},
                "data": {"k": "v" * 200},
            }
            raw.call("POST", path, body)
        made = total
        writes = batch / (time.perf_counter() - start)
        gets = [1 / timed(lambda n=n: raw.call("GET", f"{path}/bench-{n:05d}")) for n in range(100)]
        data = raw.call("GET", path)
        lists = [timed(lambda: raw.call("GET", path)) * 1000 for _ in range(5)]
        with _Static(data) as static:
            floor = [timed(static.get) * 1000 for _ in range(5)]
            static_gets = [1 / timed(lambda: static.get("/small")) for _ in range(100)]
        yield Row(f"{total} objects: get", gets, static_gets, "static bytes over the same TLS", "", "1/s")
        yield Row(f"{total} objects: create", [writes], static_gets, "static bytes over the same TLS", "", "1/s")
        yield Row(f"{total} objects: list ({len(data) // 1024} KiB)", lists, floor, "static bytes", "", "ms")
        yield Row(f"{total} objects: write to watch event", _watch_latency(raw, path), [], "", "", "ms")
    raw.call("DELETE", path)


def _watch_latency(raw: Raw, path: str) -> list[float]:
    """From sending a patch to its event on another connection."""
    watcher = Raw()
    version = json.loads(raw.call("GET", f"{path}?limit=1"))["metadata"]["resourceVersion"]
    watcher.connection.request(
        "GET", f"{path}?watch=1&resourceVersion={version}&timeoutSeconds=30", headers=watcher.headers
    )
    stream = watcher.connection.getresponse()
    delays = []
    patch = raw.headers | {"Content-Type": "application/merge-patch+json"}
    for number in range(30):
        start = time.perf_counter()
        raw.connection.request("PATCH", f"{path}/bench-00000", json.dumps({"data": {"k": str(start)}}), patch)
        stream.readline()
        delays.append((time.perf_counter() - start) * 1000)
        raw.connection.getresponse().read()
        assert number >= 0
    watcher.connection.close()
    return delays[5:]


class _Static:
    """A tornado HTTPS server in a thread, with the embedded cluster's certificate, that answers fixed bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> Self:
        import asyncio
        import http.client

        import tornado.httpserver
        import tornado.web

        small, large = self.data[:700], self.data
        ready = threading.Event()
        folder = load().cluster_dir

        async def serve() -> None:
            class Fixed(tornado.web.RequestHandler):
                def get(self, path: str) -> None:
                    self.write(small if path == "small" else large)

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*_certificate(folder))
            server = tornado.httpserver.HTTPServer(tornado.web.Application([("/(.*)", Fixed)]), ssl_options=context)
            server.listen(0, "127.0.0.1")
            self.port = next(iter(server._sockets.values())).getsockname()[1]
            self.loop, self.done = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await self.done.wait()
            server.stop()
            await server.close_all_connections()

        self.thread = threading.Thread(target=lambda: asyncio.run(serve()))
        self.thread.start()
        ready.wait()
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context)
        return self

    def get(self, path: str = "/") -> bytes:
        """The fixed bytes."""
        self.connection.request("GET", path)
        return self.connection.getresponse().read()

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.loop.call_soon_threadsafe(self.done.set)
        self.thread.join()


def _certificate(folder: Path) -> tuple[str, str]:
    """The embedded API server's certificate and key files."""
    return str(folder / "server.crt"), str(folder / "server.key")


def many() -> Iterator[Row]:
    """A hundred jobs of one process each, submitted at once and all accounted for; the peer runs them by hand."""
    program = "print('done')"

    def ours() -> float:
        start = time.perf_counter()
        jobs = [
            kf.train(program, "pytorch", workers=1, name=f"many-{number}", image=PLAIN, cpu="10m")
            for number in range(100)
        ]
        submitted = time.perf_counter() - start
        print(f"    submitted in {submitted:.2f} s", flush=True)
        for job in jobs:
            job.wait(timeout=300)
        return time.perf_counter() - start

    def peer() -> float:
        start = time.perf_counter()
        for process in [
            subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) for _ in range(100)
        ]:
            assert process.wait() == 0
        return time.perf_counter() - start

    taken = [ours()]
    for job in kf.jobs():
        job.delete()
    yield Row("100 jobs of one process, submit to all succeeded", taken, [peer()], "100 processes by hand", "")


TORCH = """
import time, torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.ones(4); dist.all_reduce(x)
print('first', time.time(), flush=True)
dist.destroy_process_group()
"""


def torch() -> Iterator[Row]:
    """PyTorch on two workers to the first line after an all-reduce; by hand, and under bare torchrun."""
    count = iter(range(1000))
    _submitted("torch-environment", TORCH, image="jupyterlab-kf/pytorch:1")  # makes the environment, if there is none
    python = _torch_python()
    ports = iter(range(29600, 29700))

    def by_hand() -> float:
        port = str(next(ports))
        return _torch_processes(python, [{"RANK": str(rank), "MASTER_PORT": port} for rank in range(2)])

    def by_torchrun() -> float:
        return _torchrun(python, next(ports))

    ours, peer = in_turn(lambda: _submitted(f"torch-{next(count)}", TORCH, image="jupyterlab-kf/pytorch:1"), by_hand, 3)
    yield Row("torch: submit to the first all-reduce on 2 workers", ours, peer, "processes by hand", "<= 1.15")
    run = [by_torchrun() for _ in range(3)]
    yield Row("the same", ours, run, "bare torchrun", "<= 0.5")
    assert statistics.median(run) > 0


def _torch_python() -> str:
    """The Python of the environment that the pytorch image stands for."""
    found = sorted(load().environments_dir.glob("pytorch-*/bin/python"))
    return str(found[-1])


def _torch_processes(python: str, environments: list[dict[str, str]]) -> float:
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    start = time.time()
    processes = [
        subprocess.Popen([python, "-c", TORCH], stdout=subprocess.PIPE, text=True, env=os.environ | common | extra)
        for extra in environments
    ]
    return max(float(process.communicate()[0].split()[1]) for process in processes) - start


def _torchrun(python: str, port: int) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(TORCH)
        script.flush()
        start = time.time()
        command = [python, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}", script.name]
        done = subprocess.run(
            command,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        )
    return max(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("first")) - start
