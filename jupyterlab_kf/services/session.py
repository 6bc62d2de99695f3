"""Which cluster this process works with, and the one client to it.

A session is chosen from settings and files when it is first asked for, opened when something is first sent, and
replaced by :func:`use`. The embedded cluster's starter is handed to the connection here, because this layer may know
both sides; nobody above asks which of them it is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from jupyterlab_kf import kinds, names, settings
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.connection import Choice
from jupyterlab_kf.cluster.portal import PORTAL, Portal
from jupyterlab_kf.errors import ForbiddenError, KubeflowError, UnreachableError
from jupyterlab_kf.manifests.pods import GPU
from jupyterlab_kf.services import namespaces
from jupyterlab_kf.settings import Settings

if TYPE_CHECKING:
    from jupyterlab_kf.cluster.official import ApiClient

T = TypeVar("T")

_ASK_SECONDS: Final = 5.0


def start_embedded(options: Settings) -> Path:
    """Make sure that the embedded cluster runs; answers its kubeconfig's path."""
    from jupyterlab_kf.embedded import daemon

    return daemon.ensure(options)


class Session:
    """A chosen cluster and the client to it."""

    def __init__(self, options: Settings, choice: Choice, portal: Portal = PORTAL, *, namespace: str = "") -> None:
        self._wanted = namespace
        self._own: str | None = None
        self.settings = options
        self.choice = choice
        self.portal = portal
        self.process = os.getpid()
        self._client: Client | None = None

    @property
    def namespace(self) -> str:
        """Where the user works unless told otherwise; a cluster with profiles may be asked for it."""
        named = self._wanted or self.settings.namespace
        if named or self.choice.settled:
            return named or self.choice.namespace
        if self._own is None:
            try:
                self._own = self.run(_own_namespace)
            except KubeflowError:  # nobody answers, or there are no credentials: whatever is sent next will say so
                return self.choice.namespace
        return self._own or self.choice.namespace

    @property
    def client(self) -> Client:
        """The client, opened at the first use; a forked child opens its own."""
        if self._client is None or self.process != os.getpid():
            self.process = os.getpid()
            # The files are read and TLS is prepared in the caller's thread; the loop only ever does I/O.
            own = self.choice.embedded
            self._client = Client(self._open(), reopen=self._open if own else None, reread=self._look if own else None)
            self.portal.at_close(self._client.close)
        return self._client

    def run(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """The result of an asynchronous function of the client."""
        return self.portal.run(work(self.client))

    async def awaited(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """The same for who awaits it in a loop of his own; cancelled there, it is cancelled."""
        return await asyncio.wrap_future(self.portal.begin(work(self.client)))

    def glance(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T | None:
        """The same where the cluster answers soon, and need not be started for it; else None."""

        async def ask(client: Client) -> T:
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    return await work(client)
            finally:
                await client.close()

        try:
            return self.portal.run(ask(Client(self._look())))
        except (KubeflowError, TimeoutError):  # who acts will be told
            return None

    def iterate(self, work: Callable[[Client], AsyncGenerator[T, None]]) -> Iterator[T]:
        """The items of an asynchronous generator of the client."""
        return self.portal.iterate(work(self.client))

    def _open(self) -> connection.Connection:
        return connection.open_connection(self.choice, self.settings, start_embedded)

    def _look(self) -> connection.Connection:
        return connection.open_connection(self.choice, self.settings)


_sessions: list[Session] = []


def current() -> Session:
    """The process' session."""
    if not _sessions or _sessions[-1].process != os.getpid():
        return use("")
    return _sessions[-1]


def use(context: str, namespace: str = "", *, checked: bool = False) -> Session:
    """Work with another cluster from now on. Jobs that were got before go on being followed where they are.

    Args:
        context: a context's name, ``embedded``, or empty for the default.
        namespace: where to work there; empty leaves it to settings, kubeconfig and cluster.
        checked: ask the cluster first, and change nothing when it does not answer.

    Raises:
        UsageError: there is no such context, or the namespace cannot be one.
        UnreachableError: with ``checked``, nobody answers.
    """
    options = settings.load()
    if namespace:
        names.check_namespace(namespace)
    fresh = Session(options, connection.choose(options, context), namespace=namespace)
    if checked:
        fresh.run(Client.version)
    # Sessions of before are kept: their jobs go on using them.
    _sessions.append(fresh)
    return fresh


async def _own_namespace(client: Client) -> str:
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            return await namespaces.of_user(client)
    except TimeoutError as error:
        raise UnreachableError("the cluster did not say in time which namespace is yours") from error


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A machine of the cluster and what it can give."""

    name: str
    cpu: str
    memory: str
    gpu: str
    ready: bool


class Cluster:
    """The cluster that this process works with, for people."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def name(self) -> str:
        """The kubeconfig context's name, ``embedded`` or ``in-cluster``."""
        return self._session.choice.name

    @property
    def namespace(self) -> str:
        """Where jobs go unless told otherwise."""
        return self._session.namespace

    @property
    def why(self) -> str:
        """One sentence: which cluster this is, and why it was chosen."""
        return self._session.choice.why

    @property
    def server(self) -> str:
        """The API server's address; the cluster is started if it is our own."""
        return self._session.client.connection.server

    @property
    def kubeconfig(self) -> Path | None:
        """The file to hand to other tools; None inside a pod."""
        if self._session.choice.embedded:
            return self._session.settings.embedded_kubeconfig
        return next(iter(self._session.choice.files), None)

    def version(self) -> str:
        """Kubernetes' version as the server says it."""
        return str(self._session.run(Client.version).get("gitVersion", ""))

    def nodes(self) -> list[NodeInfo]:
        """The machines, as far as the account may see them."""
        try:
            found = self._session.run(lambda client: client.list(kinds.NODE))
        except ForbiddenError:
            return []
        return [_node(node) for node in found]

    def api_client(self) -> ApiClient:
        """A ``kubernetes.client.ApiClient`` for this cluster, as the same user: for what this package does not do.

            core = kubernetes.client.CoreV1Api(kf.cluster().api_client())

        Credentials are renewed in it as they are here. It stays with this cluster when another one is chosen. What
        opens a web socket (``kubernetes.stream``: exec, port-forward) does not go through it.
        """
        from jupyterlab_kf.cluster import official

        return official.api_client(self._session.client.connection)

    def contexts(self) -> list[str]:
        """Names that can be chosen."""
        return connection.contexts(self._session.settings)

    def __repr__(self) -> str:
        return f"<Cluster {self.name}: namespace {self.namespace}; {self.why}>"


def _node(node: dict[str, Any]) -> NodeInfo:
    status = node.get("status") or {}
    free = status.get("allocatable") or {}
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())
    return NodeInfo(
        name=node["metadata"]["name"],
        cpu=str(free.get("cpu", "")),
        memory=str(free.get("memory", "")),
        gpu=str(free.get(GPU, "0")),
        ready=ready,
    )


def cluster(context: str | None = None, *, namespace: str | None = None) -> Cluster:
    """The cluster that this process works with; with a context's name (or ``embedded``), change to that one.

    ``namespace`` is where to work there; alone, it changes the namespace on the same cluster.

    Raises:
        UsageError: there is no such context, or the namespace cannot be one.
    """
    if context is None and namespace is None:
        return Cluster(current())
    return Cluster(use(context if context is not None else current().choice.name, namespace or ""))
