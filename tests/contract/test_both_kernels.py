"""Kernels under hardware profiles, with Jupyter's own managers and clients, on both clusters.

Nothing of Jupyter's is replaced: kernel specs are installed by our command, and who starts a kernel knows nothing of
pods. On the real cluster the node's network cannot be reached from here, so its kernels are reached through the API
server; on the embedded one at their own addresses.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bed.api import Api, Obj, until
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager, start_new_kernel
from kernel_bed import PATIENCE, here, only_pod, things
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from sites import Site, running_site

from jupyterlab_kf.errors import KernelError, UsageError
from jupyterlab_kf.manifests.kernels import LABEL_KERNEL

__all__ = ["here", "running_site"]


class Talk:
    """A manager and a client of the kernel, as JupyterLab has them."""

    def __init__(self, manager: AsyncKernelManager, client: AsyncKernelClient) -> None:
        self.manager, self.client = manager, client

    async def run(self, code: str, begun: asyncio.Event | None = None) -> str:
        """What a cell prints; the name of its error when it fails. ``begun`` is set when it prints something."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            said.append(message["content"].get("text", "") if message["msg_type"] == "stream" else "")
            if begun is not None and said[-1]:
                begun.set()

        reply = await self.client.execute_interactive(textwrap.dedent(code), timeout=PATIENCE, output_hook=hear)
        content = reply["content"]
        return "".join(said).strip() if content["status"] == "ok" else str(content.get("ename"))

    async def ready(self) -> None:
        await self.client.wait_for_ready(timeout=PATIENCE)

    async def gone(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.manager.is_alive():  # noqa: ASYNC110  as Jupyter asks
                await asyncio.sleep(0.05)


async def until_true(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not check():  # noqa: ASYNC110  what is looked at tells nobody
            await asyncio.sleep(0.05)


@pytest.fixture
async def talk(here: str) -> AsyncIterator[Talk]:
    """A running kernel on the profile Small."""
    assert here
    manager = AsyncKernelManager(kernel_name="kf-small")
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    talk = Talk(manager, client)
    await talk.ready()
    yield talk
    client.stop_channels()
    await manager.shutdown_kernel(now=True)


async def test_a_kernel_runs_in_a_pod_of_its_profile(site: Site, here: str, talk: Talk) -> None:
    pod = only_pod(site.api, here)
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert pod["metadata"]["labels"]["jupyterlab-kf.io/profile"] == "small"
    assert await talk.run("import os; print(os.environ['FLAVOUR'], os.environ.get('A_SECRET_OF_THE_SERVER'))") == (
        "vanilla None"
    )
    assert await talk.run("print(os.environ['KF_NAMESPACE'])") == here
    # Comm messages and rich output pass as they are.
    assert (
        await talk.run("from IPython.display import display; display({'text/plain': 'x'}, raw=True); print(1)") == "1"
    )


async def test_an_interrupt_ends_a_cell_and_not_the_kernel(talk: Talk) -> None:
    await talk.run("kept = 42")
    begun = asyncio.Event()
    cell = asyncio.create_task(talk.run("import time\nprint('begun', flush=True)\ntime.sleep(600)", begun))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    await talk.manager.interrupt_kernel()
    assert await asyncio.wait_for(cell, PATIENCE) == "KeyboardInterrupt"
    assert await talk.run("print(kept)") == "42"


async def test_a_restart_keeps_the_place_and_forgets_the_variables(site: Site, here: str, talk: Talk) -> None:
    before = only_pod(site.api, here)["metadata"]["uid"]
    await talk.run("kept = 42")
    await talk.manager.restart_kernel()
    await talk.ready()
    assert await talk.run("print('kept' in globals())") == "False"
    assert only_pod(site.api, here)["metadata"]["uid"] == before


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        ("import os; os.kill(os.getpid(), 9)", "The kernel was ended by SIGKILL: it was killed."),
        ("import ctypes; ctypes.string_at(0)", "The kernel was ended by SIGSEGV: it crashed by a memory access"),
        ("import os; os._exit(3)", "The kernel ended with exit code 3."),
    ],
)
async def test_a_kernel_that_dies_is_noticed_explained_and_started_again(
    site: Site, here: str, talk: Talk, caplog: pytest.LogCaptureFixture, *, end: str, sentence: str
) -> None:
    before = only_pod(site.api, here)["metadata"]["uid"]
    talk.client.execute(end)
    await talk.gone()
    await until_true(lambda: sentence in caplog.text)
    await talk.manager.restart_kernel(now=True)
    await talk.ready()
    assert await talk.run("print(1)") == "1"
    assert only_pod(site.api, here)["metadata"]["uid"] == before


async def test_a_pod_that_is_deleted_is_replaced_and_clients_stay_connected(site: Site, here: str, talk: Talk) -> None:
    first = only_pod(site.api, here)["metadata"]
    site.api.delete("v1", "Pod", first["name"], here)
    await talk.gone()
    await talk.manager.restart_kernel(now=True)
    await talk.ready()
    assert await talk.run("print(2)") == "2"
    assert first["uid"] not in [pod["metadata"]["uid"] for pod in _alive(site.api, here)]
    assert len({pod["metadata"]["labels"][LABEL_KERNEL] for pod in _alive(site.api, here)}) == 1


def _alive(api: Api, place: str) -> list[Obj]:
    return [pod for pod in things(api, place, "Pod") if not pod["metadata"].get("deletionTimestamp")]


@pytest.mark.parametrize("now", [False, True])
async def test_nothing_is_left_of_a_kernel_that_was_shut_down(site: Site, here: str, *, now: bool) -> None:
    manager = AsyncKernelManager(kernel_name="kf-small")
    await manager.start_kernel()
    assert [len(things(site.api, here, kind)) for kind in ("Job", "Pod", "Secret")] == [1, 1, 1]
    await manager.shutdown_kernel(now=now)
    assert not await manager.is_alive()
    until(lambda: not things(site.api, here), seconds=PATIENCE, what="nothing of the kernel")


async def test_keys_are_in_the_secret_and_nowhere_else(site: Site, here: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    manager = AsyncKernelManager(kernel_name="kf-small")
    await manager.start_kernel()
    (secret,) = things(site.api, here, "Secret")
    key, token = manager.session.key.decode(), json.loads(_text(secret, "kernel.json"))["token"]
    assert key in _text(secret, "kernel.json")
    pod = only_pod(site.api, here)
    path = f"/api/v1/namespaces/{here}/pods/{pod['metadata']['name']}/log"
    log = "\n".join(line.decode() for line in site.api.lines(path))
    events = site.api.list("v1", "Event", here)
    told = json.dumps([things(site.api, here, "Job", "Pod"), events, secret["metadata"]]) + log + caplog.text
    await manager.shutdown_kernel(now=True)
    assert key not in told
    assert token not in told


def _text(secret: Obj, name: str) -> str:
    import base64

    return base64.b64decode(secret["data"][name]).decode()


async def test_hardware_that_nobody_has_is_refused_soon_with_the_reason(site: Site, here: str) -> None:
    manager = AsyncKernelManager(kernel_name="kf-huge")
    began = time.monotonic()
    with pytest.raises(KernelError, match=r"asks for 4,?000 CPUs, and the largest machine has") as refused:
        await manager.start_kernel()
    assert time.monotonic() - began < 30
    assert refused.value.hint == "choose another hardware profile: waiting does not help"
    until(lambda: not things(site.api, here), seconds=PATIENCE, what="nothing of the kernel")


async def test_a_profile_that_is_not_for_kernels_is_refused_before_anything_is_made(
    site: Site, here: str, tmp_path: Path
) -> None:
    folder = tmp_path / "share" / "jupyter" / "kernels"
    assert sorted(path.name for path in folder.iterdir()) == ["kf-bare", "kf-huge", "kf-small"]
    spec = json.loads((folder / "kf-small" / "kernel.json").read_text())
    spec["metadata"]["kernel_provisioner"]["config"]["profile"] = "training"
    (folder / "kf-small" / "kernel.json").write_text(json.dumps(spec))
    with pytest.raises(UsageError, match="'training' is for training, not for kernel"):
        await AsyncKernelManager(kernel_name="kf-small").start_kernel()
    assert not things(site.api, here)


async def test_a_kernel_that_cannot_begin_says_what_its_image_lacks(site: Site, here: str, tmp_path: Path) -> None:
    file = tmp_path / "share" / "jupyter" / "kernels" / "kf-bare" / "kernel.json"
    spec = json.loads(file.read_text())
    # What an image without ipykernel answers; on one machine every image has it.
    spec["argv"] = ["python3", "-S", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    file.write_text(json.dumps(spec))
    with pytest.raises(KernelError, match="The image python:3 has no ipykernel"):
        await AsyncKernelManager(kernel_name="kf-bare").start_kernel()
    until(lambda: not things(site.api, here), seconds=PATIENCE, what="nothing of the kernel")


@pytest.mark.usefixtures("here")
def test_a_notebook_is_run_by_nbclient() -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell("import os; print(os.environ['FLAVOUR'])"),
        nbformat.v4.new_code_cell("1 + 1"),
        nbformat.v4.new_code_cell("1 / 0"),
    ]
    client = NotebookClient(notebook, timeout=PATIENCE, kernel_name="kf-small")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        client.execute()
    assert notebook.cells[0].outputs[0].text == "vanilla\n"
    assert notebook.cells[1].outputs[0].data["text/plain"] == "2"


@pytest.mark.usefixtures("here")
def test_managers_that_do_not_await_work_too() -> None:
    manager, client = start_new_kernel(kernel_name="kf-small", startup_timeout=PATIENCE)
    try:
        reply = client.execute("kept = 1", reply=True, timeout=PATIENCE)
        assert reply["content"]["status"] == "ok"
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert client.execute("kept", reply=True, timeout=PATIENCE)["content"]["ename"] == "NameError"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.usefixtures("here")
def test_jupyter_run_runs_on_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("print(6 * 7)")
    command = [sys.executable, "-m", "jupyter_client.runapp", "--kernel=kf-small", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "42" in done.stdout, done.stderr


def test_a_person_talks_to_it_from_a_terminal(site: Site, here: str) -> None:
    command = [sys.executable, "-m", "jupyter_console", "--kernel=kf-small", "--simple-prompt"]
    typed = "kept = 6 * 7\nprint('said', kept)\nimport os; print(os.environ['FLAVOUR'])\nexit\n"
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert "said 42" in done.stdout, done.stdout + done.stderr
    assert "vanilla" in done.stdout
    # It has asked the kernel to end and left. What is left of that is removed a minute later.
    until(lambda: not things(site.api, here), seconds=2 * PATIENCE, what="nothing of the kernel")


OWNER = """
import asyncio, sys
from jupyter_client.manager import AsyncKernelManager
from jupyterlab_kf.provisioner import PodProvisioner

async def main():
    PodProvisioner.alone_for.default_value = 2.0
    manager = AsyncKernelManager(kernel_name="kf-small")
    await manager.start_kernel()
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_kernel_whose_server_was_killed_ends_by_itself(site: Site, here: str) -> None:
    server = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "up\n"
    server.send_signal(signal.SIGKILL)
    server.wait()
    server.stdout.close()
    until(lambda: _complete(site.api, here), seconds=PATIENCE, what="the kernel's end")
    (job,) = things(site.api, here, "Job")
    assert job["spec"]["ttlSecondsAfterFinished"] == 60


def _complete(api: Api, place: str) -> bool:
    (job,) = things(api, place, "Job")
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)


async def test_a_kernel_goes_with_the_pod_of_its_server(site: Site, here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = site.api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "server", "namespace": here},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "lab", "image": "python:3", "command": ["sleep", "600"]}],
            },
        }
    )
    for name, value in (("NAME", "server"), ("NAMESPACE", here), ("UID", server["metadata"]["uid"])):
        monkeypatch.setenv(f"KF_POD_{name}", value)
    manager = AsyncKernelManager(kernel_name="kf-small")
    await manager.start_kernel()
    site.api.delete("v1", "Pod", "server", here)
    until(lambda: not things(site.api, here), seconds=PATIENCE, what="nothing of the kernel")
    await manager.shutdown_kernel(now=True)
