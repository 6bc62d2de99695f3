"""An API server in a background thread, without a node, and ways to reach it.

Test modules import the fixtures that they use.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.embedded.apiserver import certificates
from jupyterlab_kf.embedded.apiserver.server import ApiServer
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Store

TOKEN = "test-token"


@dataclass
class Served:
    """A running API server. ``call`` runs a function on its thread, where the registry may be touched."""

    directory: Path
    server: ApiServer
    registry: Registry
    loop: asyncio.AbstractEventLoop
    kubeconfig: Path
    token: str = TOKEN
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"

    @property
    def authority(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))

    def call(self, function: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(60)


def serve(directory: Path) -> Iterator[Served]:
    ready: threading.Event = threading.Event()
    stop: list[asyncio.Event] = []
    made: list[Served] = []
    failed: list[BaseException] = []

    async def main() -> None:
        store = Store(directory / "state.db")
        try:
            registry = Registry(store)
            server = ApiServer(registry, None, directory=directory, token=TOKEN)
            port = await server.start()
            kubeconfig = directory / "kubeconfig"
            certificates.write_kubeconfig(
                kubeconfig, server=f"https://127.0.0.1:{port}", token=TOKEN, directory=directory
            )
            stop.append(asyncio.Event())
            made.append(Served(directory, server, registry, asyncio.get_running_loop(), kubeconfig))
            ready.set()
            await stop[0].wait()
            await server.stop()
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.sleep(0.05)
            left = [task for task in left if not task.done()]
            assert not left, f"tasks left behind: {left}"
        finally:
            store.close()

    def thread() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001  told to the test by the fixture
            failed.append(error)
        finally:
            ready.set()

    worker = threading.Thread(target=thread, name="api-server")
    worker.start()
    assert ready.wait(60), "the server did not start"
    if failed:
        raise failed[0]
    try:
        yield made[0]
    finally:
        made[0].loop.call_soon_threadsafe(stop[0].set)
        worker.join(60)
        assert not worker.is_alive(), "the server did not stop"
        if failed:
            raise failed[0]


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[Served]:
    yield from serve(tmp_path)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for a module: for tests that keep to a namespace of their own."""
    yield from serve(tmp_path_factory.mktemp("cluster"))
