"""The Jupyter Server extension: what the panels in JupyterLab ask, answered from the services.

Parse, call one service, answer JSON. Every route is authenticated, and authorised with an action and a resource of its
own. Nothing is imported or opened before the first request, so that a server starts as fast with it as without.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jupyterlab_kf.handlers"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    from jupyterlab_kf.handlers.routes import install

    install(serverapp)
