"""Which cluster, and how it is spoken to.

Chooses in this order: what the user named, the service account of the pod we run in, the kubeconfig's current
context, the embedded cluster. A choice is made from files alone; only opening it may start the embedded cluster (by a
function that is handed in: this package knows no server). Who we are there is the matter of :mod:`.credentials`.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from jupyterlab_kf.cluster import credentials, kubeconfig
from jupyterlab_kf.cluster.credentials import Credentials
from jupyterlab_kf.cluster.kubeconfig import Config, Context
from jupyterlab_kf.errors import ClusterError, CredentialsError, UsageError
from jupyterlab_kf.settings import Settings

EMBEDDED: Final = "embedded"
IN_CLUSTER: Final = "in-cluster"
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

Starter = Callable[[Settings], Path]
"""Makes sure that the embedded cluster runs and answers its kubeconfig's path."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A cluster that was chosen but not yet spoken to.

    Attributes:
        name: the kubeconfig context's name, ``embedded`` or ``in-cluster``.
        namespace: where the user works unless told otherwise.
        why: one sentence for people.
        files: the kubeconfig files that it was found in.
        settled: False where nobody named the namespace, so that the cluster may know a better one.
    """

    name: str
    namespace: str
    why: str
    files: tuple[Path, ...] = ()
    settled: bool = True

    @property
    def embedded(self) -> bool:
        """True for the cluster that we start ourselves."""
        return self.name == EMBEDDED and not self.files


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and how to prove who we are.

    ``authorization`` answers the header's value, or an empty text; ``renew`` is called when the server refused it, and
    answers True if it has something else to offer. With ``slow`` they may run a program or ask a server, and must be
    called outside the event loop. ``server_name`` is the name that the server's certificate must have, if it is not
    that of its address; ``headers`` go with every request.
    """

    name: str
    server: str
    namespace: str
    why: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    authorization: Callable[[], str] = field(default=str, repr=False)
    renew: Callable[[], bool] = field(default=bool, repr=False)
    slow: bool = False
    proxy: str = ""
    server_name: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def choose(settings: Settings, context: str = "") -> Choice:
    """The cluster to use, from settings and files alone; nothing is started or asked.

    Raises:
        UsageError: the named context does not exist.
        ClusterError: a kubeconfig cannot be read.
    """
    files = kubeconfig.files(settings)
    wanted = context or settings.context
    source = "you asked for it" if context else "KF_CONTEXT names it"
    if wanted == EMBEDDED:
        return _embedded(settings, source)
    if wanted == IN_CLUSTER or (not wanted and _in_pod(settings)):
        return _in_cluster(settings, source if wanted else "this is a pod of that cluster")
    if wanted:
        return _context(kubeconfig.merged(files), files, wanted, source)
    config = kubeconfig.merged(files)
    current = str(config.get("current-context") or "")
    if current:
        listed = ", ".join(str(path) for path in files)
        return _context(config, files, current, f"it is the current context of {listed}")
    return _embedded(settings, "no other cluster is configured")


def open_connection(choice: Choice, settings: Settings, starter: Starter | None = None) -> Connection:
    """The connection of a choice; starts the embedded cluster when it is the one chosen and a starter is given.

    Raises:
        ClusterError: its configuration cannot be used, or the embedded cluster does not start.
    """
    if choice.embedded:
        path = starter(settings) if starter is not None else settings.embedded_kubeconfig
        if not path.is_file():
            raise ClusterError("the embedded cluster is not running", hint="start it with: jupyter kf cluster start")
        config = kubeconfig.merged((path,))
        inner = _context(config, (path,), str(config.get("current-context") or ""), choice.why)
        opened = _from_kubeconfig(inner, settings)
        return replace(opened, name=EMBEDDED, namespace=choice.namespace or inner.namespace, why=choice.why)
    if choice.name == IN_CLUSTER and not choice.files:
        return _from_service_account(choice, settings)
    return _from_kubeconfig(choice, settings)


@dataclass(frozen=True, slots=True)
class Offer:
    """A cluster that could be chosen.

    Attributes:
        name: what :func:`choose` takes.
        namespace: where one would work there; empty when only the cluster itself can tell.
        server: its API server's address; empty for the embedded cluster, which gets one when it starts.
    """

    name: str
    namespace: str = ""
    server: str = ""


def offers(settings: Settings) -> list[Offer]:
    """What :func:`choose` accepts: the contexts of the kubeconfig, and ours. Reads files and nothing else.

    Raises:
        ClusterError: a kubeconfig cannot be read.
    """
    config = kubeconfig.merged(kubeconfig.files(settings))
    found = [
        Offer(name, context.namespace, str(context.cluster.get("server") or ""))
        for name in kubeconfig.names(config)
        if (context := kubeconfig.context(config, name)) is not None
    ]
    if _in_pod(settings):
        found.append(Offer(IN_CLUSTER, _pod_namespace(), settings.service_account_server))
    if all(offer.name != EMBEDDED for offer in found):
        found.append(Offer(EMBEDDED, "default"))
    return found


def contexts(settings: Settings) -> list[str]:
    """The names of :func:`offers`."""
    return [offer.name for offer in offers(settings)]


def _in_pod(settings: Settings) -> bool:
    return bool(settings.service_account_server) and (SERVICE_ACCOUNT / "token").is_file()


def _embedded(settings: Settings, why: str) -> Choice:
    sentence = f"the cluster on this machine, because {why}"
    return Choice(EMBEDDED, settings.namespace or "default", sentence)


def _in_cluster(settings: Settings, why: str) -> Choice:
    if not _in_pod(settings):
        raise UsageError(
            "this process does not run in a pod", hint=f"use one of: {', '.join(contexts(settings)) or EMBEDDED}"
        )
    return Choice(
        IN_CLUSTER, settings.namespace or _pod_namespace(), f"the cluster that this pod runs in, because {why}"
    )


def _pod_namespace() -> str:
    """The pod's own: on Kubeflow, the profile that the notebook was made in."""
    space = SERVICE_ACCOUNT / "namespace"
    return space.read_text().strip() if space.is_file() else "default"


def _context(config: Config, files: tuple[Path, ...], name: str, why: str) -> Choice:
    found = kubeconfig.context(config, name)
    if found is None:
        known = kubeconfig.names(config)
        raise kubeconfig.unknown(name, known if EMBEDDED in known else [*known, EMBEDDED])
    sentence = f"context {name!r}, because {why}"
    return Choice(name, found.namespace or "default", sentence, files, settled=bool(found.namespace))


def _from_service_account(choice: Choice, settings: Settings) -> Connection:
    mine = Credentials(credentials.from_token_file(SERVICE_ACCOUNT / "token"))
    return Connection(
        name=choice.name,
        server=settings.service_account_server,
        namespace=choice.namespace,
        why=choice.why,
        tls=ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")),
        authorization=mine.header,
        renew=mine.renew,
        proxy=proxy_for(settings.service_account_server, settings),
    )


def _from_kubeconfig(choice: Choice, settings: Settings) -> Connection:
    def read() -> Context:
        found = kubeconfig.context(kubeconfig.merged(choice.files), choice.name)
        if found is None:
            raise CredentialsError(f"context {choice.name!r} is no longer in {choice.files[0]}")
        return found

    context = read()
    server = str(context.cluster.get("server") or "").rstrip("/")
    if not server:
        raise ClusterError(f"context {choice.name!r} names no cluster with a server")
    tls = credentials.authorities(context.cluster) if server.startswith("https") else None
    fetch, slow = credentials.of_user(read)
    mine = Credentials(fetch, tls)
    if not slow:
        # A certificate must be in place before the first connection, and a broken entry is told at once.
        mine.header()
    return Connection(
        name=choice.name,
        server=server,
        namespace=choice.namespace,
        why=choice.why,
        tls=tls,
        authorization=mine.header,
        renew=mine.renew,
        slow=slow,
        proxy=_checked_proxy(str(context.cluster.get("proxy-url") or "")) or proxy_for(server, settings),
        server_name=str(context.cluster.get("tls-server-name") or ""),
        headers=_impersonation(context.user),
    )


def _impersonation(user: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """The headers for acting as another, as an administrator may."""
    pairs = [("Impersonate-User", user.get("as")), ("Impersonate-Uid", user.get("as-uid"))]
    groups = user.get("as-groups")
    pairs += [("Impersonate-Group", group) for group in (groups if isinstance(groups, list) else ())]
    extra = user.get("as-user-extra")
    for key, values in (extra if isinstance(extra, dict) else {}).items():
        pairs += [(f"Impersonate-Extra-{key}", value) for value in values]
    return tuple((key, str(value)) for key, value in pairs if value)


# ------------------------------------------------------------------------------------------------------------ proxies


def proxy_for(server: str, settings: Settings) -> str:
    """The proxy that the environment names for a server, or empty; with the exceptions that kubectl makes."""
    parts = urlsplit(server)
    proxy = settings.https_proxy if parts.scheme == "https" else settings.http_proxy
    host = (parts.hostname or "").lower()
    if not proxy or _direct(host, parts.port or (443 if parts.scheme == "https" else 80), settings.no_proxy):
        return ""
    return _checked_proxy(proxy if "//" in proxy else f"http://{proxy}")


def _checked_proxy(url: str) -> str:
    if url and urlsplit(url).scheme not in ("http", "https"):
        raise ClusterError(f"the proxy {url} is neither http nor https", hint="other kinds of proxies cannot be used")
    return url


def _direct(host: str, port: int, exceptions: str) -> bool:
    """Whether a host is spoken to without a proxy: this machine, or what NO_PROXY lists."""
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_excepts(entry.strip().lower(), host, port, address) for entry in exceptions.split(",") if entry.strip())


def _excepts(entry: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if entry == "*":
        return True
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return entry in (f"{host}:{port}", f"[{host}]:{port}")
    name, _, only = entry.partition(":")
    if only and only != str(port):
        return False
    name = name.removeprefix("*")
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")
