"""What stops the operator from making a SeldonDeployment's objects."""

from __future__ import annotations

from jupyterlab_kf.errors import KubeflowError


class ComponentError(KubeflowError):
    """The objects cannot be made as asked for; the message goes into the status."""
