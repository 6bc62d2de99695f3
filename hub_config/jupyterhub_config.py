"""A hub with hardware profiles. A site's own settings go below the call."""

from jupyterlab_kf_hub import configure

configure(c)  # noqa: F821  JupyterHub's configuration
