"""Train, tune and serve on Kubernetes, or on the machine at hand, without leaving the notebook."""


def load_ipython_extension(shell: object) -> None:
    """``%load_ext jupyterlab_kf``: adds the magics."""
    from jupyterlab_kf.magics import register

    register(shell)  # type: ignore[arg-type]  # IPython is not imported here, not even for its types
