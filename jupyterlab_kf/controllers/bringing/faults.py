"""What stops a controller from making the objects that another object needs."""

from __future__ import annotations

from jupyterlab_kf.errors import KubeflowError


class ComponentError(KubeflowError):
    """The objects cannot be made as asked for; the message goes into the status."""
