"""Which cluster, and with whose credentials.

Chooses in this order: what the user named, the service account of the pod we run in, the kubeconfig's current
context, the embedded cluster. A choice is made from files alone; only opening it may start the embedded cluster (by a
function that is handed in: this package knows no server). Kubeconfigs that need more than a token are read by the
``kubernetes`` package, which costs a quarter of a second to import and is therefore met only there.
"""

from __future__ import annotations

import base64
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf.errors import ClusterError, UsageError
from jupyterlab_kf.settings import Settings

EMBEDDED: Final = "embedded"
IN_CLUSTER: Final = "in-cluster"
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_LIFE: Final = 60.0
"""Seconds for which a token read from a file is used: kubelets rotate them under our feet."""

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
    """

    name: str
    namespace: str
    why: str
    files: tuple[Path, ...] = ()

    @property
    def embedded(self) -> bool:
        """True for the cluster that we start ourselves."""
        return self.name == EMBEDDED and not self.files


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and how to prove who we are.

    ``authorization`` answers the header's value, or an empty text; with ``slow`` it may run a program or ask a
    server, and must be called outside the event loop.
    """

    name: str
    server: str
    namespace: str
    why: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    authorization: Callable[[], str] = field(default=str, repr=False)
    slow: bool = False
    proxy: str = ""


def choose(settings: Settings, context: str = "") -> Choice:
    """The cluster to use, from settings and files alone; nothing is started or asked.

    Raises:
        UsageError: the named context does not exist.
        ClusterError: a kubeconfig cannot be read.
    """
    files = kubeconfig_files(settings)
    wanted = context or settings.context
    source = "you asked for it" if context else "KF_CONTEXT names it"
    if wanted == EMBEDDED:
        return _embedded(settings, source)
    if wanted == IN_CLUSTER or (not wanted and _in_pod(settings)):
        return _in_cluster(settings, source if wanted else "this is a pod of that cluster")
    if wanted:
        return _context(merged(files), files, wanted, source)
    config = merged(files)
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
        config = merged((path,))
        inner = _context(config, (path,), str(config.get("current-context") or ""), choice.why)
        opened = _from_kubeconfig(config, inner)
        return replace(opened, name=EMBEDDED, namespace=choice.namespace or inner.namespace, why=choice.why)
    if choice.name == IN_CLUSTER and not choice.files:
        return _from_service_account(choice, settings)
    return _from_kubeconfig(merged(choice.files), choice)


def contexts(settings: Settings) -> list[str]:
    """The names that :func:`choose` accepts: those of the kubeconfig, and ours."""
    named = [str(entry.get("name")) for entry in merged(kubeconfig_files(settings)).get("contexts") or ()]
    return [*named, EMBEDDED, *([IN_CLUSTER] if _in_pod(settings) else [])]


def kubeconfig_files(settings: Settings) -> tuple[Path, ...]:
    """The kubeconfig files that exist, as kubectl looks for them."""
    if settings.kubeconfig:
        paths = [Path(part).expanduser() for part in settings.kubeconfig.split(os.pathsep) if part]
    else:
        paths = [Path("~/.kube/config").expanduser()]
    return tuple(path for path in paths if path.is_file())


def merged(files: tuple[Path, ...]) -> Mapping[str, Any]:
    """Kubeconfig files as one, the first to name a thing winning, as in kubectl.

    Raises:
        ClusterError: a file cannot be read or is not a kubeconfig.
    """
    total: dict[str, Any] = {}
    for path in files:
        for key, value in _load(path).items():
            if isinstance(value, list):
                have = {entry.get("name") for entry in total.setdefault(key, [])}
                total[key] += [
                    {**entry, "_folder": str(path.parent)} for entry in value if entry.get("name") not in have
                ]
            elif not total.get(key):
                total[key] = value
    return total


def _load(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        loaded = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe loaders
    except (OSError, yaml.YAMLError) as error:
        raise ClusterError(f"the kubeconfig {path} cannot be read: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ClusterError(f"{path} is not a kubeconfig")
    return loaded


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
    space = SERVICE_ACCOUNT / "namespace"
    namespace = settings.namespace or (space.read_text().strip() if space.is_file() else "default")
    return Choice(IN_CLUSTER, namespace, f"the cluster that this pod runs in, because {why}")


def _context(config: Mapping[str, Any], files: tuple[Path, ...], name: str, why: str) -> Choice:
    entry = _named(config, "contexts", "context", name)
    if entry is None:
        known = [str(one.get("name")) for one in config.get("contexts") or ()]
        raise UsageError(f"there is no context {name!r}", hint=f"the contexts are: {', '.join([*known, EMBEDDED])}")
    return Choice(name, str(entry.get("namespace") or "default"), f"context {name!r}, because {why}", files)


def _named(config: Mapping[str, Any], section: str, key: str, name: str) -> dict[str, Any] | None:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            return {**(entry.get(key) or {}), "_folder": entry.get("_folder", "")}
    return None


def _from_service_account(choice: Choice, settings: Settings) -> Connection:
    return Connection(
        name=choice.name,
        server=settings.service_account_server,
        namespace=choice.namespace,
        why=choice.why,
        tls=ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")),
        authorization=token_file(SERVICE_ACCOUNT / "token"),
    )


def token_file(path: Path, clock: Callable[[], float] = time.monotonic) -> Callable[[], str]:
    """A source of the header's value that reads the token anew every minute."""
    seen: tuple[float, str] = (-_TOKEN_LIFE, "")

    def read() -> str:
        nonlocal seen
        now = clock()
        if now - seen[0] >= _TOKEN_LIFE:
            seen = (now, f"Bearer {path.read_text().strip()}")
        return seen[1]

    return read


def _from_kubeconfig(config: Mapping[str, Any], choice: Choice) -> Connection:
    context = _named(config, "contexts", "context", choice.name or "") or {}
    cluster = _named(config, "clusters", "cluster", str(context.get("cluster"))) or {}
    user = _named(config, "users", "user", str(context.get("user"))) or {}
    if not cluster.get("server"):
        raise ClusterError(f"context {choice.name!r} names no cluster with a server")
    if set(user) - {"token", "tokenFile", "_folder"} or cluster.get("proxy-url"):
        return _by_package(choice)
    server = str(cluster["server"]).rstrip("/")
    token = str(user.get("token") or "")
    source = (lambda: f"Bearer {token}") if token else str
    if user.get("tokenFile"):
        source = token_file(Path(user["_folder"]) / str(user["tokenFile"]))
    return Connection(
        name=choice.name,
        server=server,
        namespace=choice.namespace,
        why=choice.why,
        tls=_tls(cluster) if server.startswith("https") else None,
        authorization=source,
    )


def _tls(cluster: Mapping[str, Any]) -> ssl.SSLContext:
    data = cluster.get("certificate-authority-data")
    path = cluster.get("certificate-authority")
    context = ssl.create_default_context(
        cadata=base64.b64decode(str(data)).decode() if data else None,
        cafile=str(Path(str(cluster.get("_folder"))) / str(path)) if path and not data else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _by_package(choice: Choice) -> Connection:
    """Client certificates, exec plugins, OIDC, proxies: the official package knows them all, refreshing included."""
    from kubernetes import config as official
    from kubernetes.client.configuration import Configuration

    loaded = Configuration()
    try:
        official.load_kube_config(  # type: ignore[no-untyped-call]  # the package has no annotations there
            config_file=os.pathsep.join(str(path) for path in choice.files),
            context=choice.name,
            client_configuration=loaded,
        )
    except official.ConfigException as error:
        raise ClusterError(f"context {choice.name!r} cannot be used: {error}") from error
    context = ssl.create_default_context(cafile=loaded.ssl_ca_cert or None)
    if loaded.cert_file:
        context.load_cert_chain(loaded.cert_file, loaded.key_file)
    if not loaded.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

    def authorization() -> str:
        for key in ("authorization", "BearerToken"):
            if value := loaded.get_api_key_with_prefix(key):
                return str(value)
        return str(loaded.get_basic_auth_token() or "") if loaded.username else ""

    return Connection(
        name=choice.name,
        server=str(loaded.host).rstrip("/"),
        namespace=choice.namespace,
        why=choice.why,
        tls=context if str(loaded.host).startswith("https") else None,
        authorization=authorization,
        slow=True,
        proxy=str(loaded.proxy or ""),
    )
