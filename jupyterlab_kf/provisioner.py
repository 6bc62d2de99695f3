"""Jupyter's kernels under a hardware profile: a kernel provisioner (``jupyterlab-kf``) that runs them in pods.

A thin shell between Jupyter's classes and :mod:`jupyterlab_kf.services.kernels`: kernel managers, nbclient, the console
and JupyterLab use it as they use the provisioner of processes, whose ports and connection file it shares. Works in the
loop of whoever calls; the kernel itself is looked after in the client's own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Bool, Float, Int, Unicode

from jupyterlab_kf import settings
from jupyterlab_kf.errors import KubeflowError, UsageError
from jupyterlab_kf.profiles import Choice
from jupyterlab_kf.services.kernels import wishes
from jupyterlab_kf.services.kernels.kept import SHELVES, Kept, Shelf
from jupyterlab_kf.services.kernels.pod import PodKernel, Terms
from jupyterlab_kf.services.kernels.starts import STARTS, KernelStart
from jupyterlab_kf.services.kernels.wishes import Wish
from jupyterlab_kf.services.session import Session

T = TypeVar("T")

_ALONE: Final = 600.0
"""Seconds that an idle kernel waits for its server where neither settings nor profile say."""


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
    keep: Any = Bool(
        True,
        config=True,
        help="Whether a notebook server finds the kernel again after a restart, instead of ending it when it ends.",
    )
    alone_for: Any = Float(
        0.0,
        config=True,
        help="Seconds after which an idle kernel ends whose server is gone; 0 is the profile's idle time, else 600.",
    )
    alone_busy_for: Any = Float(86400.0, config=True, help="The same for a kernel that computes.")

    _session: Session | None = None
    _kernel: PodKernel | None = None
    _state: Mapping[str, Any] = MappingProxyType({})
    """Of a kernel that is to be taken over."""

    idle_timeout: int | None = None
    """Seconds without work after which Jupyter Server ends the kernel, by its profile; None is never."""

    @property
    def _manager(self) -> Any:
        """Jupyter's manager of this kernel."""
        return self.parent

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
            await self._remove(replaced=True)
        try:
            if self._state:
                await self._take_over(wish)
            else:
                await self._new(wish)
            self._put()
        except BaseException as error:
            if isinstance(error, KubeflowError):
                self._show(wish, error.message, error.hint, failed=True)
            else:
                STARTS.over(self.kernel_id)
            await super().cleanup()
            self.ports_cached = False
            raise
        STARTS.over(self.kernel_id)
        self.pid = 1
        return self.connection_info

    async def _again(self, kernel: PodKernel, wish: Wish) -> bool:
        async def work() -> bool:
            await kernel.listen(self._connection())
            return await kernel.again(wishes.environment(wish))

        return await self._in_portal(work())

    # A kernel that an earlier start of the same server has left

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """What Jupyter does before a start. A kernel that is found again keeps its keys and gets new ports here."""
        shelf, manager = self._shelf(), self._manager
        self._state = {}
        if shelf is not None and self._kernel is None and (found := shelf.find(self.kernel_id)) is not None:
            await self.load_provisioner_info(dict(found.state))
            known = self.connection_info
            # Not by load_connection_info: what that finds without ports gets other ones at every restart.
            manager.session.key = str(known["key"]).encode()
            manager.session.signature_scheme = known["signature_scheme"]
            if "curve_publickey" in known:
                manager.curve_publickey = str(known["curve_publickey"]).encode()
                manager.curve_secretkey = str(known["curve_secretkey"]).encode()
        prepared: dict[str, Any] = await super().pre_launch(**kwargs)
        return prepared

    async def _take_over(self, wish: Wish) -> None:
        state, self._state = self._state, {}
        options, made = settings.load(), state["job"]
        hardware = wishes.hardware_of(wish)
        self.idle_timeout = hardware.profile.idle_timeout
        there = replace(wish, context=state["context"], namespace=made["metadata"]["namespace"])
        self._session = session = await asyncio.to_thread(wishes.chosen, there)
        terms = Terms(road=self.road, timeout=self.launch_timeout, context=session.choice.name)
        orders = wishes.orders(
            wish,
            self._connection(),
            options,
            alone_for=state["alone_for"],
            alone_busy_for=state["alone_busy_for"],
            token=state["token"],
        )

        async def work() -> PodKernel:
            kernel = PodKernel(session.client, wishes.known(made, hardware), orders, terms, tell=self._tell)
            await kernel.take_over(made, orders.connection)
            return kernel

        self._kernel = await self._in_portal(work())

    def _shelf(self) -> Shelf | None:
        """Where the server that has started the kernel keeps those that outlive it."""
        above = self._manager.parent
        shelf = SHELVES.get(above) if self.keep and above is not None else None
        return shelf if shelf is not None and shelf.claim() else None

    def _put(self) -> None:
        shelf = self._shelf()
        if shelf is None or self._kernel is None:
            return
        before = shelf.find(self.kernel_id)
        state = {**self._kernel.kept, "connection": self._connection()}
        kept = Kept(self.kernel_id, self._manager.kernel_name, state, before.sessions if before else ())
        if not shelf.put(kept):
            self._tell("The kernel cannot be found again after a restart of the server: its file cannot be written")

    @property
    def stays(self) -> bool:
        """Whether the kernel runs on when its server ends."""
        kernel = self._kernel
        return kernel is not None and not kernel.lost and kernel.code is None and self._shelf() is not None

    async def let_go(self) -> float:
        """Leave it to the server's next start; answers for how many seconds it waits for that without work."""
        kernel, self._kernel, self.pid = self._kernel, None, None
        if kernel is None:
            return 0.0
        await self._in_portal(kernel.let_go())
        return float(kernel.kept["alone_for"])

    @property
    def busy(self) -> bool:
        """Whether a kernel computed when it was found again."""
        return self._kernel is not None and self._kernel.busy

    async def get_provisioner_info(self) -> dict[str, Any]:
        """What :meth:`load_provisioner_info` needs in another process: the kernel's keys are in it."""
        info: dict[str, Any] = {"kernel_id": self.kernel_id, "connection": self._connection()}
        return {**info, **self._kernel.kept} if self._kernel is not None else info

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """Take over that kernel at the next launch, instead of starting one."""
        self._state = provisioner_info
        self.connection_info = provisioner_info["connection"]

    async def _new(self, wish: Wish) -> None:
        options = settings.load()
        hardware = wishes.hardware_of(wish)
        self.idle_timeout = hardware.profile.idle_timeout
        kept = self._shelf() is not None
        self._session = session = await asyncio.to_thread(wishes.chosen, wish)
        namespace = await asyncio.to_thread(lambda: session.namespace)
        terms = Terms(road=self.road, timeout=self.launch_timeout, context=session.choice.name)
        alone_for = self.alone_for or float(self.idle_timeout or _ALONE)
        orders = wishes.orders(
            wish, self._connection(), options, alone_for=alone_for, alone_busy_for=self.alone_busy_for
        )
        self.log.info("Starting a kernel on %r in namespace %s", hardware.profile.display_name, namespace)

        async def work() -> PodKernel:
            wanted = await wishes.kernel(session.client, wish, namespace, options, kept=kept)
            kernel = PodKernel(session.client, wanted, orders, terms, tell=self._tell, show=partial(self._show, wish))
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

    def _show(self, wish: Wish, sentence: str, hint: str, *, failed: bool = False) -> None:
        """Have those who look at this server see how the start goes."""
        try:
            title = wishes.hardware_of(wish).profile.display_name
        except KubeflowError:  # that is why it failed
            title = wish.profile
        notebook = Path(wish.env.get("JPY_SESSION_NAME", "")).name
        state: Literal["waiting", "failed"] = "failed" if failed else "waiting"
        STARTS.tell(KernelStart(self.kernel_id, title, notebook, state, sentence, hint))

    def _tell(self, sentence: str) -> None:
        self.log.warning("%s", sentence)

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002  Jupyter's signature
        """Remove the pod, unless the kernel is to start again in it."""
        if not restart:
            await self._remove()
        await super().cleanup(restart)

    async def _remove(self, *, replaced: bool = False) -> None:
        kernel, self._kernel, self.pid = self._kernel, None, None
        if kernel is not None:
            if not replaced and (shelf := self._shelf()) is not None:
                shelf.drop(self.kernel_id)
            await self._in_portal(kernel.end())

    async def _in_portal(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of what has to run in the client's loop."""
        if self._session is None:
            work.close()
            raise RuntimeError("no kernel was started")
        return await asyncio.wrap_future(self._session.portal.begin(work))
