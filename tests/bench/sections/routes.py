"""What Envoy costs between a client and a pod, and how soon changed weights count."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from measure import Row, in_turn

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))
sys.path.insert(0, str(Path(__file__).parents[2] / "real"))

from bed.api import Api
from routes_bed import NETWORK, PORTS, Bed

from jupyterlab_kf.settings import load

REQUESTS = 2000
CLIENTS = 16


def routes() -> Iterator[Row]:
    """Latency at one client, time for many requests of 16 clients, Envoy's own CPU, and a change of weights."""
    settings = load()
    bed = Bed(settings, Api(settings.embedded_kubeconfig), "default")
    bed.deploy("m", "v1", 1)
    bed.deploy("m", "v2", 1)
    bed.serve("m", "http")
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    bed.put(NETWORK, "DestinationRule", "m", {"host": "m", "subsets": subsets})
    for version in ("v1", "v2"):
        bed.ready(f"m-{version}", 1)
    path = bed.route("bench", {"route": [bed.to("v1")]})
    through, direct = bed.url, f"http://{bed.pods('v1')[0]['status']['podIP']}:{PORTS['m']}"
    ours, peer = in_turn(lambda: median(through, path), lambda: median(direct, "/"), 5)
    yield Row("a request through Envoy, one client, p50", ours, peer, "straight to the pod", "<= +0.3 ms", "ms")
    ours, peer = in_turn(lambda: crowd(through, path), lambda: crowd(direct, "/"), 3)
    yield Row(f"{REQUESTS} requests of {CLIENTS} clients", ours, peer, "straight to the pod")
    pid = bed.pid(bed.gateway_pod())
    costs = []
    for _ in range(3):
        before = cpu(pid)
        crowd(through, path)
        costs.append((cpu(pid) - before) / REQUESTS * 1e6)
    yield Row("CPU of Envoy for a request", costs, [], "", "<= 100 us", "us")
    yield Row("from changed weights to their effect", [shift(bed, path) for _ in range(6)], [], "", "<= 100 ms", "ms")


def median(base: str, path: str) -> float:
    """Milliseconds of the middle one of many requests over one connection."""
    where = urlsplit(base)
    connection = HTTPConnection(str(where.hostname), where.port)
    times = []
    for _ in range(300):
        begun = time.perf_counter()
        connection.request("GET", path)
        connection.getresponse().read()
        times.append(time.perf_counter() - begun)
    connection.close()
    return sorted(times)[len(times) // 2] * 1000


def crowd(base: str, path: str) -> float:
    """Seconds for many requests of several clients that keep their connections."""
    where = urlsplit(base)
    request = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        for _ in range(number):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()

    async def everybody() -> None:
        await asyncio.gather(*(client(REQUESTS // CLIENTS) for _ in range(CLIENTS)))

    begun = time.perf_counter()
    asyncio.run(everybody())
    return time.perf_counter() - begun


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shift(bed: Bed, path: str) -> float:
    """Milliseconds from the call that changes where requests go to the first that goes there."""
    here = bed.get(path).said["version"]
    there = "v2" if here == "v1" else "v1"
    match = [{"uri": {"prefix": path}}]
    rule = {"match": match, "rewrite": {"uri": "/"}, "route": [bed.to(here, weight=0), bed.to(there, weight=100)]}
    begun = time.perf_counter()
    spec = {"hosts": ["*"], "gateways": ["istio-system/seldon-gateway"], "http": [rule]}
    bed.put(NETWORK, "VirtualService", "bench", spec)
    while bed.get(path).said["version"] != there:
        pass
    return (time.perf_counter() - begun) * 1000
