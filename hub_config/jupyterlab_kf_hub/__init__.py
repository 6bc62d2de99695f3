"""The hub: log in, choose hardware by name, get JupyterLab. What JupyterHub and KubeSpawner are told, and no more.

Owns the choice that a person makes (`options`, pure), its form (`form`), the spawner (`spawner`), reflectors that
outlive an outage (`reflectors`) and the configuration that puts them together (`config`). It imports
``jupyterlab_kf``, which never imports it. KubeSpawner's own ``profile_list`` stays empty: its checks do not hold for
every way in.
"""

from __future__ import annotations

from jupyterlab_kf_hub.config import configure

__all__ = ["configure"]
