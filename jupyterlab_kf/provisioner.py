"""Jupyter's kernels under a hardware profile: a kernel provisioner (``jupyterlab-kf``) that runs them in pods.

A thin shell between Jupyter's classes and :mod:`jupyterlab_kf.services.kernels`: kernel managers, nbclient, the console
and JupyterLab use it as they use the provisioner of processes, whose ports and connection file it shares. Works in the
loop of whoever calls; the kernel itself is looked after in the client's own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Float, Int, Unicode

from jupyterlab_kf import settings
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.profiles import Choice
from jupyterlab_kf.services.kernels import wishes
from jupyterlab_kf.services.kernels.pod import PodKernel, Terms
from jupyterlab_kf.services.kernels.wishes import Wish
from jupyterlab_kf.services.session import Session

T = TypeVar("T")


class PodProvisioner(LocalProvisioner):
    """A kernel in a pod. Its settings are those of ``metadata.kernel_provisioner.config`` in a kernel spec."""

    profile: Any = Unicode("", config=True, help="The hardware profile; empty for the default one.")
    cpu: Any = Unicode("", config=True, help="CPUs within the profile's range.")
    memory: Any = Unicode("", config=True, help="Memory within the profile's range.")
    gpus: Any = Int(-1, config=True, help="GPUs within the profile's range; -1 leaves it to the profile.")
    image: Any = Unicode("", config=True, help="One of the profile's images.")
    context: Any = Unicode("", config=True, help="Another cluster than the one in use.")
    namespace: Any = Unicode("", config=True, help="Another namespace than the one in use.")
    account: Any = Unicode("", config=True, help="The service account of the kernel's pod.")
    road: Any = Unicode(
        "",
        config=True,
        help="How the pod is reached: direct (its address), forward (through the API server), or empty to choose.",
    )
    launch_timeout: Any = Float(600.0, config=True, help="Seconds that a kernel may wait for a place and start.")
    alone_for: Any = Float(600.0, config=True, help="Seconds after which a kernel ends whose notebook server is gone.")

    _session: Session | None = None
    _kernel: PodKernel | None = None

    idle_timeout: int | None = None
    """Seconds without work after which Jupyter Server ends the kernel, by its profile; None is never."""

    @property
    def has_process(self) -> bool:
        """Whether there is a kernel, or one whose end nobody has waited for."""
        return self._kernel is not None and self.pid is not None

    async def poll(self) -> int | None:
        """The exit status; None while it runs."""
        return self._kernel.code if self._kernel is not None and self.has_process else 0

    async def wait(self) -> int | None:
        """Wait for the kernel's end."""
        # Its end is seen in another loop.
        while (code := await self.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        self.pid = None
        return code

    async def send_signal(self, signum: int) -> None:
        """A signal to the kernel and to what it has started."""
        if self._kernel is not None and self.has_process:
            await self._in_portal(self._kernel.signal(int(signum)))

    async def kill(self, restart: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  Jupyter's signature
        """End it at once."""
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  Jupyter's signature
        """Ask it to end."""
        await self.send_signal(signal.SIGTERM)

    async def shutdown_requested(self, restart: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  Jupyter's
        """Jupyter has asked it to end."""
        if self._kernel is not None:
            self._kernel.expect_end()

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel: in the pod that is there after a restart, else in a new one.

        Raises:
            KubeflowError: it will not run; the message says why.
        """
        wish = self._wish(cmd, kwargs)
        self.cwd = kwargs.get("cwd") or self.cwd
        if self._kernel is not None:
            if await self._again(self._kernel, wish):
                self.pid = 1
                return self.connection_info
            await self._remove()
        try:
            await self._new(wish)
        except BaseException:
            await super().cleanup()
            self.ports_cached = False
            raise
        self.pid = 1
        return self.connection_info

    async def _again(self, kernel: PodKernel, wish: Wish) -> bool:
        async def work() -> bool:
            await kernel.listen(self._connection())
            return await kernel.again(wishes.environment(wish))

        return await self._in_portal(work())

    async def _new(self, wish: Wish) -> None:
        options = settings.load()
        hardware = wishes.hardware_of(wish)
        self.idle_timeout = hardware.profile.idle_timeout
        self._session = session = await asyncio.to_thread(wishes.chosen, wish)
        namespace = await asyncio.to_thread(lambda: session.namespace)
        terms = Terms(road=self.road, timeout=self.launch_timeout, context=session.choice.name)
        orders = wishes.orders(wish, self._connection(), options, self.alone_for)
        self.log.info("Starting a kernel on %r in namespace %s", hardware.profile.display_name, namespace)

        async def work() -> PodKernel:
            wanted = await wishes.kernel(session.client, wish, namespace, options)
            kernel = PodKernel(session.client, wanted, orders, terms, self._tell)
            await kernel.start()
            return kernel

        self._kernel = await self._in_portal(work())

    def _wish(self, cmd: list[str], kwargs: dict[str, Any]) -> Wish:
        if self.road not in ("", "direct", "forward"):
            raise UsageError(f"a kernel's road is direct or forward, not {self.road!r}")
        # What Jupyter made of the command names programs and files of this machine; what it added comes last.
        spec = self.kernel_spec
        argv = (*spec.argv, *cmd[len(spec.argv) :])
        gpus = None if self.gpus < 0 else self.gpus
        return Wish(
            profile=self.profile,
            choice=Choice(cpu=self.cpu, memory=self.memory, gpus=gpus, image=self.image),
            context=self.context,
            namespace=self.namespace,
            account=self.account,
            argv=argv,
            env=dict(kwargs.get("env") or {}),
            always=frozenset(spec.env),
            cwd=str(kwargs.get("cwd") or Path.cwd()),
        )

    def _connection(self) -> dict[str, Any]:
        info = dict(self.connection_info)
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in info.items()}

    def _tell(self, sentence: str) -> None:
        self.log.warning("%s", sentence)

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002  Jupyter's signature
        """Remove the pod, unless the kernel is to start again in it."""
        if not restart:
            await self._remove()
        await super().cleanup(restart)

    async def _remove(self) -> None:
        kernel, self._kernel, self.pid = self._kernel, None, None
        if kernel is not None:
            await self._in_portal(kernel.end())

    async def _in_portal(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of what has to run in the client's loop."""
        if self._session is None:
            work.close()
            raise RuntimeError("no kernel was started")
        return await asyncio.wrap_future(self._session.portal.begin(work))

    async def get_provisioner_info(self) -> dict[str, Any]:
        """What may be told of the kernel; its keys stay here."""
        ref = self._kernel.ref if self._kernel is not None else None
        info: dict[str, Any] = {"kernel_id": self.kernel_id}
        return {**info, "job": ref.name, "namespace": ref.namespace} if ref else info
