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
    shared_address: bool = False
    """``KF_SHARED_ADDRESS=1``: give all pods 127.0.0.1, as on machines that have no other loopback address."""

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
        shared_address=env.get("KF_SHARED_ADDRESS", "") == "1",
    )


def _in_pod(env: Mapping[str, str]) -> str:
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
