"""Which cluster this process works with, and the one client to it.

A session is chosen from settings and files when it is first asked for, opened when something is first sent, and
replaced by :func:`use`. The embedded cluster's starter is handed to the connection here, because this layer may know
both sides; nobody above asks which of them it is.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jupyterlab_kf import kinds, settings
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.connection import Choice
from jupyterlab_kf.cluster.portal import PORTAL, Portal
from jupyterlab_kf.errors import ForbiddenError
from jupyterlab_kf.manifests.pods import GPU
from jupyterlab_kf.settings import Settings

T = TypeVar("T")


def start_embedded(options: Settings) -> Path:
    """Make sure that the embedded cluster runs; answers its kubeconfig's path."""
    from jupyterlab_kf.embedded import daemon

    return daemon.ensure(options)


class Session:
    """A chosen cluster and the client to it."""

    def __init__(self, options: Settings, choice: Choice, portal: Portal = PORTAL) -> None:
        self.settings = options
        self.choice = choice
        self.portal = portal
        self.process = os.getpid()
        self._client: Client | None = None

    @property
    def namespace(self) -> str:
        """Where the user works unless told otherwise."""
        return self.settings.namespace or self.choice.namespace

    @property
    def client(self) -> Client:
        """The client, opened at the first use; a forked child opens its own."""
        if self._client is None or self.process != os.getpid():
            self.process = os.getpid()
            # The files are read and TLS is prepared in the caller's thread; the loop only ever does I/O.
            self._client = Client(self._open(), reopen=self._open if self.choice.embedded else None)
            self.portal.at_close(self._client.close)
        return self._client

    def run(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """The result of an asynchronous function of the client."""
        return self.portal.run(work(self.client))

    def iterate(self, work: Callable[[Client], AsyncGenerator[T, None]]) -> Iterator[T]:
        """The items of an asynchronous generator of the client."""
        return self.portal.iterate(work(self.client))

    def _open(self) -> connection.Connection:
        return connection.open_connection(self.choice, self.settings, start_embedded)


_sessions: list[Session] = []


def current() -> Session:
    """The process' session."""
    if not _sessions or _sessions[-1].process != os.getpid():
        return use("")
    return _sessions[-1]


def use(context: str) -> Session:
    """Work with another cluster from now on: a context's name, ``embedded``, or empty for the default."""
    options = settings.load()
    fresh = Session(options, connection.choose(options, context))
    # Sessions of before are kept: their jobs go on using them.
    _sessions.append(fresh)
    return fresh


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


def cluster(context: str | None = None) -> Cluster:
    """The cluster that this process works with; with a context's name (or ``embedded``), change to that one."""
    return Cluster(current() if context is None else use(context))
