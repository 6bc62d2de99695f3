"""Katib's database manager, as far as trials speak to it: they push metrics, and the collector keeps them.

One gRPC method, ``ReportObservationLog``, on the loopback device, from the first trial that pushes; a cluster without
such a trial never loads gRPC. Whoever reported is answered when the values are in the Trial's record. The port
stays the same over restarts, as pods outlive the daemon. Trials find it under Katib's own name: in their arguments and
environment the node rewrites that, and for Python programs ``runtime/trial`` tells Katib's SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.katib.template import LABEL_TRIAL, pushes
from jupyterlab_kf.controllers.support import namespace
from jupyterlab_kf.embedded.addresses import LOOPBACK, Endpoint
from jupyterlab_kf.embedded.kubelet.commons import Commons
from jupyterlab_kf.embedded.kubelet.specs import Guide
from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.model import Obj, labels, parse_time
from jupyterlab_kf.protobuf import readable
from jupyterlab_kf.studies.collector import Take

SERVICE: Final = "api.v1.beta1.DBManager"
HOSTS: Final = tuple(f"katib-db-manager.kubeflow{rest}" for rest in ("", ".svc", ".svc.cluster.local"))
DECLARED: Final = 6789
MODULES: Final = Path(__file__).parents[1] / "runtime" / "trial"
_RECENT: Final = 2.0
"""Reports tell whole seconds; what is said to be that young came just now."""
_log = logging.getLogger(__name__)


class Reports:
    """The port at which trials report.

    Args:
        commons: of the node whose pods are guided there.
        directory: where the port's number is kept.
    """

    def __init__(self, commons: Commons, directory: Path) -> None:
        self._view, self._file = commons.registry.view, directory / "reports-port"
        self._port = 0
        commons.guide = self.guide
        self._server: Any = None
        self._starting: asyncio.Task[None] | None = None

    def open(self, take: Take) -> None:
        """Listen from now on, if that is not so already; programs that are there earlier ask again."""
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start(take), name="reports")
            self._starting.add_done_callback(_tell)

    async def stop(self) -> None:
        """End it; what is being reported is still taken."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._server is not None:
            await self._server.stop(1.0)

    def guide(self, pod: Obj) -> Guide:
        """What a pod is told: of a trial that pushes where to, of all others nothing."""
        trial = labels(pod).get(LABEL_TRIAL)
        found = self._view.get(kinds.TRIAL, namespace(pod), trial) if trial else None
        if found is None or not pushes(found):
            return Guide()
        port = self._chosen()
        environment = {
            "KATIB_DB_MANAGER_SERVICE_IP": LOOPBACK,
            "KATIB_DB_MANAGER_SERVICE_PORT": str(port),
            "KF_TRIAL_REPORTS": f"{LOOPBACK}:{port}",
            "KF_TRIAL_NAMESPACE": namespace(pod),
        }
        endpoint = Endpoint(LOOPBACK, {DECLARED: port})
        return Guide(dict.fromkeys(HOSTS, endpoint), environment, str(MODULES))

    def _chosen(self) -> int:
        """The port of the daemon before this one, or any that is free."""
        if not self._port:
            with contextlib.suppress(OSError, ValueError):
                self._port = int(self._file.read_text())
        if not self._port:
            with socket.socket() as one:
                one.bind((LOOPBACK, 0))
                self._port = int(one.getsockname()[1])
            self._file.write_text(str(self._port))
        return self._port

    async def _start(self, take: Take) -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        grpc = await asyncio.to_thread(importlib.import_module, "grpc")  # a tenth of a second, which nobody waits for
        aio = await asyncio.to_thread(importlib.import_module, "grpc.aio")

        async def report(request: bytes, context: Any) -> bytes:
            trial, values = parsed(request, time.time())
            try:
                await take(trial, values)
            except KubeflowError as error:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, error.message)
            return b""

        methods = {"ReportObservationLog": grpc.unary_unary_rpc_method_handler(report)}
        server = aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        try:
            server.add_insecure_port(f"{LOOPBACK}:{self._chosen()}")
        except RuntimeError:  # somebody else has the port that was ours: trials that begin now are told another
            self._file.unlink(missing_ok=True)
            self._port = 0
            server.add_insecure_port(f"{LOOPBACK}:{self._chosen()}")
        await server.start()
        self._server = server
        _log.info("trials report their metrics at port %d", self._port)


def parsed(request: bytes, now: float) -> tuple[str, list[tuple[str, str, float]]]:
    """A ``ReportObservationLogRequest``: the trial's name, and each metric with its text and epoch seconds."""
    trial = ""
    found: list[tuple[str, str, float]] = []
    for number, _, value in readable(request):
        if number == 1 and isinstance(value, bytes):
            trial = value.decode(errors="replace")
        elif isinstance(value, bytes):  # observation_log
            found += [_metric(log, now) for _, _, log in readable(value) if isinstance(log, bytes)]
    return trial, found


def _metric(log: bytes, now: float) -> tuple[str, str, float]:
    parts = {number: value for number, _, value in readable(log) if isinstance(value, bytes)}
    inner = readable(parts.get(2, b""))
    metric = {number: value.decode(errors="replace") for number, _, value in inner if isinstance(value, bytes)}
    try:
        when = parse_time(parts.get(1, b"").decode(errors="replace")) or now
    except ValueError:
        when = now
    return metric.get(1, ""), metric.get(2, ""), now if abs(now - when) < _RECENT else when


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception():
        _log.error("trials cannot report their metrics", exc_info=task.exception())
