"""``python -m jupyterlab_kf_hub``: the hub of this machine, in the foreground; what ``jupyter kf hub`` runs."""

from __future__ import annotations

import sys
from pathlib import Path

from jupyterlab_kf.errors import KubeflowError


def main() -> int:
    """Run until interrupted."""
    from jupyterhub.app import JupyterHub

    from jupyterlab_kf_hub import config

    try:
        config.proxy_command()
    except KubeflowError as error:
        sys.stderr.write(f"jupyter kf hub: {error}\n")
        return 2
    JupyterHub.launch_instance(["-f", str(_file())])
    return 0


def _file() -> Path:
    """``jupyterhub_config.py``: a checkout's, else the installed one."""
    from jupyter_core.paths import jupyter_path

    places = [Path(__file__).parents[1], *(Path(folder) / "jupyterlab_kf" for folder in jupyter_path())]
    return next(place / "jupyterhub_config.py" for place in places if (place / "jupyterhub_config.py").is_file())


if __name__ == "__main__":
    sys.exit(main())
