"""What ``%load_ext jupyterlab_kf`` adds to a notebook: the magics, their completion, and quiet errors.

Thin: a magic turns its line into typed arguments, calls one function of the public API, and shows the result. No logic
that a script could not call. Importing this package imports nothing else of ours; ``register`` is what an extension
load costs, so everything heavy waits for the first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def register(shell: InteractiveShell) -> None:
    """Add the magics to a shell; a second call changes nothing."""
    from jupyterlab_kf.magics.completion import complete_magics
    from jupyterlab_kf.magics.errors import quiet_errors
    from jupyterlab_kf.magics.formatters import show_ours
    from jupyterlab_kf.magics.serving import ServingMagics
    from jupyterlab_kf.magics.training import TrainingMagics
    from jupyterlab_kf.magics.tuning import TuningMagics

    shell.register_magics(TrainingMagics, TuningMagics, ServingMagics)
    complete_magics(shell)
    show_ours(shell)
    quiet_errors()
