"""Settings, and the only place that reads the environment.

Everything the embedded cluster keeps lies under ``data_dir``; nothing is written elsewhere. Nothing is read at import:
call :func:`load`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path, user_data_path


@dataclass(frozen=True, slots=True)
class Workspace:
    """The notebook's own volume, where it runs in a pod that has one.

    Attributes:
        claim: its claim's name.
        folder: where it is mounted in this process.
    """

    claim: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod that this process runs in, where it was told."""

    name: str
    namespace: str
    uid: str
    account: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment decides. Each field names its variable."""

    data_dir: Path
    """``KF_DATA_DIR``: state of the embedded cluster; default is the platform's per-user data folder."""
    cache_dir: Path
    """``KF_CACHE_DIR``: environments made for images; safe to delete; default is the per-user cache folder."""
    context: str = ""
    """``KF_CONTEXT``: name of the kubeconfig context to use, or ``embedded``; empty chooses."""
    namespace: str = ""
    """``KF_NAMESPACE``: namespace to work in; empty takes the connection's own."""
    kubeconfig: str = ""
    """``KUBECONFIG``: as kubectl reads it."""
    service_account_server: str = ""
    """``KUBERNETES_SERVICE_HOST`` and ``_PORT``, which every pod is given: the API server's address from inside."""
    https_proxy: str = ""
    """``HTTPS_PROXY``: the proxy to an API server, where its kubeconfig names none."""
    http_proxy: str = ""
    """``HTTP_PROXY``: the same for a server that speaks plain http."""
    no_proxy: str = ""
    """``NO_PROXY``: hosts, domains and networks that are spoken to directly, with commas between them."""
    shared_address: bool = False
    """``KF_SHARED_ADDRESS=1``: give all pods 127.0.0.1, as on machines that have no other loopback address."""

    workspace_claim: str = ""
    """``KF_WORKSPACE_CLAIM``: the claim of the volume that the notebook's own files are on; the hub sets it."""
    workspace_folder: str = ""
    """``KF_WORKSPACE_FOLDER``: where that volume is mounted."""
    models: str = ""
    """``KF_MODELS``: where models are kept that are served: a folder, an address for fsspec, or ``off``; empty is a
    folder in :attr:`data_dir`."""
    profiles: str = ""
    """``KF_PROFILES``: the file of hardware profiles; empty looks in :attr:`profiles_files`."""
    user: str = ""
    """``JUPYTERHUB_USER``: whose server this is, where a hub has made it."""
    server: str = ""
    """``JUPYTERHUB_SERVER_NAME``: which of the user's servers this is; empty for the only or the first one."""
    account: str = ""
    """``USER``, else the account's name: who works here, where no hub says so."""
    notebook: str = ""
    """``JPY_SESSION_NAME``, which Jupyter gives to kernels: the notebook that this process runs for."""

    image: str = ""
    """``JUPYTER_IMAGE``, which a hub's spawner gives: the image that this process runs in."""
    pod: Pod | None = None
    """``KF_POD_NAME``, ``KF_POD_NAMESPACE``, ``KF_POD_UID`` and ``KF_POD_ACCOUNT``: this process' own pod; the hub sets
    them."""

    @property
    def workspace(self) -> Workspace | None:
        """The notebook's own volume; None where there is none, or not all is said about it."""
        if not (self.workspace_claim and self.workspace_folder):
            return None
        return Workspace(self.workspace_claim, Path(self.workspace_folder))

    @property
    def profiles_files(self) -> tuple[Path, ...]:
        """Where hardware profiles are looked for, the first file that is there counts."""
        if self.profiles:
            return (Path(self.profiles).expanduser(),)
        from jupyter_core.paths import jupyter_config_path, jupyter_path

        # What ships is data, and last: an admin's file is configuration, wherever Jupyter finds that.
        folders = dict.fromkeys([*jupyter_config_path(), *jupyter_path()])
        return (self.data_dir / "profiles.yaml", *(Path(one) / "jupyterlab_kf" / "profiles.yaml" for one in folders))

    @property
    def cluster_dir(self) -> Path:
        """Where the embedded cluster keeps its store, certificates, pods and logs."""
        return self.data_dir / "cluster"

    @property
    def embedded_kubeconfig(self) -> Path:
        """The embedded cluster's kubeconfig, mode 0600."""
        return self.cluster_dir / "kubeconfig"

    @property
    def environments_dir(self) -> Path:
        """One Python environment per image recipe, made once."""
        return self.cache_dir / "environments"

    @property
    def images_file(self) -> Path:
        """The user's own table of image names, read over the one that ships with the package."""
        return self.data_dir / "images.yaml"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the given environment (the process' own when None)."""
    env = os.environ if environ is None else environ
    return Settings(
        data_dir=Path(env.get("KF_DATA_DIR") or user_data_path("jupyterlab-kf")),
        cache_dir=Path(env.get("KF_CACHE_DIR") or user_cache_path("jupyterlab-kf")),
        context=env.get("KF_CONTEXT", ""),
        namespace=env.get("KF_NAMESPACE", ""),
        kubeconfig=env.get("KUBECONFIG", ""),
        service_account_server=_in_pod(env),
        https_proxy=_either(env, "HTTPS_PROXY"),
        http_proxy=_either(env, "HTTP_PROXY"),
        no_proxy=_either(env, "NO_PROXY"),
        shared_address=env.get("KF_SHARED_ADDRESS", "") == "1",
        workspace_claim=env.get("KF_WORKSPACE_CLAIM", ""),
        workspace_folder=env.get("KF_WORKSPACE_FOLDER", ""),
        models=env.get("KF_MODELS", ""),
        profiles=env.get("KF_PROFILES", ""),
        user=env.get("JUPYTERHUB_USER", ""),
        server=env.get("JUPYTERHUB_SERVER_NAME", ""),
        account=env.get("USER") or _account(),
        notebook=env.get("JPY_SESSION_NAME", ""),
        image=env.get("JUPYTER_IMAGE", ""),
        pod=_pod(env),
    )


def inherited(added: Mapping[str, str]) -> dict[str, str]:
    """This process' environment with additions, for a program that is started for the user."""
    return {**os.environ, **added}


def _pod(env: Mapping[str, str]) -> Pod | None:
    name, space, uid = (env.get(f"KF_POD_{part}", "") for part in ("NAME", "NAMESPACE", "UID"))
    return Pod(name, space, uid, env.get("KF_POD_ACCOUNT", "")) if name and space and uid else None


def _either(env: Mapping[str, str], name: str) -> str:
    """Programs agree on the names of proxies' variables, but not on their case."""
    return env.get(name) or env.get(name.lower(), "")


def _account() -> str:
    """The name of the account; empty for one that the machine has no name for, as in many containers."""
    try:
        import pwd
    except ImportError:  # there are no such accounts
        return ""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _in_pod(env: Mapping[str, str]) -> str:
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
