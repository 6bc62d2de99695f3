"""How our errors look in a notebook: one message and what to do about it, without the stack of this package.

The cell still counts as failed, so that Run All and headless runs stop. Only errors of the ``KubeflowError`` tree are
touched, through the method that IPython asks an exception for; everything else keeps its stack. ``%xmode Verbose``
brings the stack back for whoever looks for a fault in the package itself.
"""

from __future__ import annotations

import sys
from weakref import WeakSet

from jupyterlab_kf.errors import JobFailedError, KubeflowError

_BOLD = "\x1b[1m"
_RESET = "\x1b[0m"
_TOLD: WeakSet[KubeflowError] = WeakSet()


class DetachedError(KeyboardInterrupt):
    """The person interrupted a live display. The job goes on; the message says how to come back to it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"detached from {name}; the job goes on")
        self.name = name

    def _render_traceback_(self) -> list[str]:
        return [
            f"Detached: the job {self.name} goes on.",
            f"Show it again with `%kf_wait {self.name}`, its lines with `%kf_logs {self.name} --follow`,",
            f'get it in Python with `kf.job("{self.name}")`, end it with `%kf_delete {self.name}`.',
        ]


def told(error: KubeflowError) -> KubeflowError:
    """Mark an error whose reason and traceback are on the page already: it is then shown in one line."""
    _TOLD.add(error)
    return error


def quiet_errors() -> None:
    """From now on IPython shows our errors by :func:`render`."""
    KubeflowError._render_traceback_ = render  # type: ignore[attr-defined]


def render(error: KubeflowError) -> list[str]:
    """The lines that IPython prints for an error of ours."""
    if (stack := _whole_stack(error)) is not None:
        return stack
    traceback = error.traceback if isinstance(error, JobFailedError) else ""
    message = error.message.replace(traceback, "").rstrip() if traceback else error.message
    lines = [f"{_BOLD}{type(error).__name__}{_RESET}: {message}"]
    if traceback and error not in _TOLD:
        from jupyterlab_kf.widgets import code, jobs

        lines += ["", code.ansi(jobs.tail(traceback), "pytb"), ""]
    if error.hint:
        lines.append(f"→ {error.hint}")
    return lines


def _whole_stack(error: KubeflowError) -> list[str] | None:
    """What IPython would have shown, when the person asked for everything."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive else None
    if shell is None or shell.InteractiveTB.mode != "Verbose":
        return None
    stack: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
    return stack
