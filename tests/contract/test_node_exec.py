"""Commands beside containers over WebSocket: the protocol, kubectl, and the Python client.

On the embedded cluster alone: the protocol's corners are this node's own; that commands run on both is in
test_both_running.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import provision
import pytest
from needs import tool
from node_cluster import Cluster, running

from jupyterlab_kf.embedded.apiserver import certificates, server
from jupyterlab_kf.embedded.apiserver import exec as execution
from jupyterlab_kf.embedded.apiserver.exec import PROTOCOLS
from jupyterlab_kf.embedded.kubelet.processes import ATTEMPT_MARKER, marked

SCRIPT = "cat; echo e >&2; exit 4"


class Served:
    """A cluster with its API server."""

    def __init__(self, cluster: Cluster, port: int, kubeconfig: Path) -> None:
        self.cluster, self.port, self.kubeconfig = cluster, port, kubeconfig

    async def exec(
        self, pod: str, *argv: str, send: tuple[bytes, ...] = (), protocol: str = PROTOCOLS[0], **query: str
    ) -> tuple[bytes, bytes, Any]:
        """Stdout, stderr, and what channel 3 said."""
        pairs = [*(("command", word) for word in argv), *({"stdout": "true", "stderr": "true"} | query).items()]
        url = f"https://127.0.0.1:{self.port}/api/v1/namespaces/default/pods/{pod}/exec"
        said = {1: b"", 2: b"", 3: b""}
        async with (
            aiohttp.ClientSession(headers={"Authorization": "Bearer t"}) as session,
            session.ws_connect(url, params=pairs, protocols=[protocol], ssl=False) as socket,
        ):
            assert socket.protocol == protocol
            for data in send:
                await socket.send_bytes(data)
            async for message in socket:
                said[message.data[0]] += message.data[1:]
        return said[1], said[2], json.loads(said[3])


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with running(tmp_path) as cluster:
        folder = cluster.settings.cluster_dir
        api = server.ApiServer(cluster.registry, cluster.kubelet, directory=folder, token="t", port=0)
        port = await api.start()
        kubeconfig = cluster.settings.embedded_kubeconfig
        certificates.write_kubeconfig(kubeconfig, server=f"https://127.0.0.1:{port}", token="t", directory=folder)
        cluster.run("runs", "sleep", "60", container={"env": [{"name": "A", "value": "b c"}]})
        await cluster.until(lambda: cluster.state("runs").get("ready") is True)
        yield Served(cluster, port, kubeconfig)
        await api.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_output_errors_and_exit_status(served: Served, protocol: str) -> None:
    out, err, status = await served.exec("runs", "sh", "-c", 'echo "$A"; pwd; echo no >&2; exit 3', protocol=protocol)
    work = served.cluster.kubelet.commons.pods_dir / served.cluster.pod("runs")["metadata"]["uid"] / "work" / "main"
    assert (out.decode(), err) == (f"b c\n{work}\n", b"no\n")
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert (await served.exec("runs", "true", protocol=protocol))[2] == {"metadata": {}, "status": "Success"}
    _, err, status = await served.exec("runs", "no-such-program")
    assert err == b"exec: no-such-program: no such file or directory\n"
    assert status["details"]["causes"][0]["message"] == "127"


async def test_input_and_its_end(served: Served) -> None:
    out, _, status = await served.exec("runs", "cat", send=(b"\x00hello ", b"\x00you", b"\xff\x00"), stdin="true")
    assert (out, status["status"]) == (b"hello you", "Success")
    big = bytes(200_000)
    out, _, _ = await served.exec("runs", "wc", "-c", send=(b"\x00" + big, b"\xff\x00"), stdin="true")
    assert out.strip() == b"200000"


async def test_a_command_ends_with_its_container_and_with_its_client(served: Served) -> None:
    uid = served.cluster.pod("runs")["metadata"]["uid"]
    mark = f"{ATTEMPT_MARKER}={served.cluster.kubelet.commons.pods_dir / uid / 'containers' / 'main' / '0'}"
    before = len(marked(mark))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(served.exec("runs", "sh", "-c", "sleep 50; true"), 0.5)
    await served.cluster.until(lambda: len(marked(mark)) == before)
    task = asyncio.create_task(served.exec("runs", "sleep", "50"))
    await served.cluster.until(lambda: len(marked(mark)) > before)
    served.cluster.registry.delete(execution.nodes.kinds.POD, "default", "runs")
    _, _, status = await task
    assert status["details"]["causes"][0]["message"] == "137"
    assert not marked(mark)


async def test_what_cannot_be_run_is_refused(served: Served) -> None:
    assert "leave -t" in (await served.exec("runs", "true", tty="true"))[2]["message"]
    served.cluster.run("done", "true")
    await served.cluster.ended("done")
    for pod, code in (("none", 404), ("done", 400)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await served.exec(pod, "true")
        assert caught.value.status == code
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await served.exec("runs")
    assert caught.value.status == 400


async def test_kubectl_and_the_python_client(served: Served) -> None:
    kubectl = tool(provision.kubectl)
    process = await asyncio.create_subprocess_exec(
        *(
            kubectl,
            "--kubeconfig",
            served.kubeconfig,
            "exec",
            "-i",
            "runs",
            "--",
            "sh",
            "-c",
            "cat; echo e >&2; exit 4",
        ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(b"typed\n")
    assert (out, process.returncode) == (b"typed\n", 4)
    assert err.decode().splitlines()[0] == "e"

    def python() -> str:
        from kubernetes import client, config, stream

        with config.new_client_from_config(str(served.kubeconfig)) as api:
            connect = client.CoreV1Api(api).connect_get_namespaced_pod_exec
            argv = ["sh", "-c", "echo $A; exit 5"]
            said = stream.stream(connect, "runs", "default", command=argv, stdout=True, _preload_content=False)
            wire = said.sock.sock  # the client's own close() leaves it open once the server has closed
            said.run_forever(timeout=10)
            result = f"{said.read_stdout()}{said.returncode}"
            wire.close()
            return result

    assert await asyncio.to_thread(python) == "b c\n5"
