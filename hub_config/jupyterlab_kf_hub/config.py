"""One configuration for a laptop and for a cluster: which cluster is a matter of the kubeconfig, as everywhere else.

``configure(c)`` is all that ``jupyterhub_config.py`` calls. On one machine it also makes a hub that can be used at
once: loopback only, a password of its own, everything it keeps under one folder. In a pod (Zero to JupyterHub) the
chart has decided all that, and only servers and their hardware are set.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import shutil
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jupyterlab_kf import settings
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.connection import IN_CLUSTER, Choice
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.profiles import Use
from jupyterlab_kf.services import hardware, session
from jupyterlab_kf.services.kernels import specs
from jupyterlab_kf.settings import Settings
from jupyterlab_kf_hub.form import TEMPLATES
from jupyterlab_kf_hub.spaces import ACCOUNT
from jupyterlab_kf_hub.volumes import HOME

if TYPE_CHECKING:
    from jupyterlab_kf_hub.spawner import ProfileSpawner

PROXY: Final = "configurable-http-proxy"


def configure(c: Any) -> None:
    """Set up a hub.

    Args:
        c: JupyterHub's configuration.

    Raises:
        UsageError: the profiles have faults, or something that a hub needs is missing; says what.
        ClusterError: the cluster cannot be used.
    """
    options = settings.load()
    choice = connection.choose(options)
    hardware.catalogue(options)  # a hub with a faulty list of hardware does not start
    servers(c)
    if choice.name == IN_CLUSTER and not choice.files:
        in_cluster(c, choice.namespace)
        return
    one_machine(c, options)
    if not choice.embedded:
        os.environ["KUBECONFIG"] = _with_context(choice, options)
    else:
        # Pods are processes here: they use the same cluster and the same profiles, and the first start of the cluster
        # must not be one of theirs.
        os.environ["KUBECONFIG"] = str(session.start_embedded(options))
        profiles = hardware.find(options)
        # Whoever may use this cluster may do everything in it, and its pods share the machine's network.
        c.ProfileSpawner.prepare_namespaces = False
        c.KubeSpawner.service_account = "default"
        c.KubeSpawner.environment |= {
            "KF_CONTEXT": connection.EMBEDDED,
            "KF_DATA_DIR": str(options.data_dir),
            "KF_CACHE_DIR": str(options.cache_dir),
            **({"KF_PROFILES": str(profiles)} if profiles else {}),
        }
        if hardware.catalogue(options).offered(Use.KERNEL):
            share = options.data_dir / "hub" / "share" / "jupyter"
            specs.install(share / "kernels")
            c.KubeSpawner.environment["JUPYTER_PATH"] = str(share)
        c.ProfileSpawner.note = (
            "On this machine the memory that you choose is enforced, and CPUs are advice to the programs. "
            "A volume is a folder: $KF_VOLUME_NAME says where it is."
        )
        # Pods of equal names have equal addresses in every cluster of this machine: ports tell clusters apart.
        c.KubeSpawner.port = 12000 + zlib.crc32(str(options.cluster_dir).encode()) % 16000
        # A server that listens at all addresses would be taken for every other one: each has its pod's own.
        c.KubeSpawner.environment["POD_IP"] = {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        c.KubeSpawner.args = ["--ServerApp.ip=$(POD_IP)", *(["--allow-root"] if os.geteuid() == 0 else [])]


def in_cluster(c: Any, namespace: str) -> None:
    """A hub in a pod: servers in other namespaces find it by its full name.

    Args:
        c: JupyterHub's configuration, as the chart has made it.
        namespace: the hub's own.
    """
    url = urlsplit(str(c.JupyterHub.get("hub_connect_url") or ""))
    if url.hostname and "." not in url.hostname:
        port = f":{url.port}" if url.port else ""
        c.JupyterHub.hub_connect_url = url._replace(netloc=f"{url.hostname}.{namespace}{port}").geturl()
    # What Zero to JupyterHub asks for every server; profiles say what each gets.
    for trait in ("mem_guarantee", "mem_limit", "cpu_guarantee", "cpu_limit"):
        c.KubeSpawner.pop(trait, None)


def _with_context(choice: Choice, options: Settings) -> str:
    """A value for ``KUBECONFIG`` under which every client takes the chosen context for the current one."""
    file = options.data_dir / "hub" / "context.yaml"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": choice.name}))
    # kubectl believes the first file that names one, KubeSpawner's client the last.
    return os.pathsep.join(str(one) for one in (file, *choice.files, file))


def servers(c: Any) -> None:
    """Servers and their hardware: the same on any cluster."""
    # By name: Kubernetes' client looks for its kubeconfig when it is imported, and that is decided here.
    c.JupyterHub.spawner_class = "jupyterlab_kf_hub.spawner.ProfileSpawner"
    # Servers end after their profile's idle time, by their own reports alone.
    c.JupyterHub.proxy_class = "jupyterlab_kf_hub.proxy.Proxy"
    c.JupyterHub.allow_named_servers = True
    # Names that are kept, running or not. How many may run is a limit of the profiles' file.
    c.JupyterHub.named_server_limit_per_user = 20
    c.JupyterHub.cleanup_servers = False  # a hub that ends leaves servers alone, and finds them again
    c.JupyterHub.template_paths = [str(TEMPLATES)]
    # Soon to the progress page, but not before what is wrong with a wish has been said.
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 1}
    c.Spawner.default_url = "/lab"
    c.Spawner.start_timeout = 600
    c.Spawner.http_timeout = 120
    c.Spawner.options_form = _form
    c.Spawner.apply_user_options = _accept
    spawner = c.KubeSpawner
    spawner.enable_user_namespaces = True
    spawner.user_namespace_template = "kf-{username}"
    spawner.setdefault("image", "jupyterlab-kf/lab")  # the chart's own, where there is one
    spawner.cmd = ["jupyterhub-singleuser"]
    spawner.k8s_api_request_timeout = 30
    # An API server that is away is waited for as long as a start may take.
    spawner.k8s_api_request_retry_timeout = 540
    # One home for all servers of a person; a claim that is there is used again.
    spawner.storage_pvc_ensure = True
    spawner.pvc_name_template = "workspace-{username}"
    spawner.storage_capacity = "10Gi"
    spawner.volumes = [{"name": "workspace", "persistentVolumeClaim": {"claimName": "{pvc_name}"}}]
    spawner.volume_mounts = [{"name": "workspace", "mountPath": HOME}]
    spawner.working_dir = HOME
    spawner.notebook_dir = HOME
    spawner.environment = {**spawner.get("environment", {}), "HOME": HOME, "KF_NAMESPACE": "{namespace}"}
    # Jobs can reach this volume, too: code that is too large for anything else, and results, are put there.
    spawner.environment |= {"KF_WORKSPACE_CLAIM": "{pvc_name}", "KF_WORKSPACE_FOLDER": HOME}
    # Kernels in pods of their own have the server's volumes, and run as its account.
    spawner.environment |= {
        f"KF_POD_{name}": {"valueFrom": {"fieldRef": {"fieldPath": path}}}
        for name, path in (
            ("NAME", "metadata.name"),
            ("NAMESPACE", "metadata.namespace"),
            ("UID", "metadata.uid"),
            ("ACCOUNT", "spec.serviceAccountName"),
        )
    }
    spawner.uid, spawner.gid, spawner.fs_gid = 1000, 100, 100
    spawner.container_security_context = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spawner.automount_service_account_token = True
    # Made in each person's namespace, with the roles of hub_config/rbac; never the hub's own.
    spawner.service_account = ACCOUNT


def one_machine(c: Any, options: Settings) -> None:
    """A hub for this machine's user: loopback, a password that is printed once, and a folder."""
    folder = options.data_dir / "hub"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port = int(os.environ.get("KF_HUB_PORT") or 8000)
    people = [name for name in os.environ.get("KF_HUB_USERS", "").split(",") if name] or [getpass.getuser()]
    password = secrets.token_urlsafe(12)
    hub = c.JupyterHub
    hub.bind_url = f"http://127.0.0.1:{port}"
    hub.hub_bind_url = f"http://127.0.0.1:{port + 1}"
    hub.db_url = f"sqlite:///{folder / 'jupyterhub.sqlite'}"
    hub.cookie_secret_file = str(folder / "cookie_secret")
    hub.authenticator_class = "shared-password"
    c.SharedPasswordAuthenticator.user_password = password
    c.Authenticator.allowed_users = set(people)
    c.ConfigurableHTTPProxy.command = proxy_command()
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{port + 2}"
    c.ConfigurableHTTPProxy.pid_file = str(folder / "proxy.pid")
    names = " or ".join(people)
    sys.stdout.write(f"\n  http://127.0.0.1:{port}\n  log in as {names} with the password {password}\n\n")
    sys.stdout.flush()


def proxy_command() -> list[str]:
    """Node's proxy: the one of a checkout's ``npm ci``, else one on the PATH.

    Raises:
        UsageError: there is none.
    """
    local = Path(__file__).parents[2] / "node_modules" / PROXY / "bin" / PROXY
    node = shutil.which("node")
    if local.is_file() and node:
        return [node, str(local)]
    found = shutil.which(PROXY)
    if found and node:
        return [found]
    raise UsageError(
        f"the hub needs {PROXY}, which streams what servers send",
        hint="install Node 20 or newer; then `npm ci` in a checkout, or `npm install -g configurable-http-proxy`",
    )


async def _form(spawner: ProfileSpawner) -> str:
    return await spawner.offer()


async def _accept(spawner: ProfileSpawner, said: dict[str, Any]) -> None:
    await spawner.accept(said)
