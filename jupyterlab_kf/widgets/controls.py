"""Buttons for one job: refresh, stop, delete. The picture beside them is that of every other display.

ipywidgets is imported on first use. What a button does is one call of the job; an error is shown in place, in the words
that the rest of the package uses, and never as a stack in the browser's console.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.widgets.jobs import job_html
from jupyterlab_kf.widgets.tables import note

if TYPE_CHECKING:
    from jupyterlab_kf.model import JobView


class Controlled(Protocol):
    """What the buttons need of a job."""

    @property
    def name(self) -> str:
        """Its name."""

    def view(self) -> JobView:
        """It at this moment."""

    def delete(self) -> None:
        """Delete it."""


class JobControls:
    """A job's card with buttons under it; display ``box``, or end a cell with the object itself."""

    def __init__(self, job: Controlled) -> None:
        import ipywidgets

        self._job = job
        self.card: Any = ipywidgets.HTML()
        self.refresh: Any = self._button("Refresh", "refresh", "Show the job as it is now", self._show)
        self.delete: Any = self._button("Delete", "trash", "Delete the job with its pods and results", self._ask)
        self.confirm: Any = self._button("Really delete", "check", "There is no way back", self._delete)
        self.confirm.button_style = "danger"
        self.cancel: Any = self._button("Keep it", "", "Do not delete the job", self._keep)
        self.box: Any = ipywidgets.VBox([self.card, ipywidgets.HBox([])])
        self._keep()
        self._guard(self._show)

    def _button(self, label: str, icon: str, title: str, action: Callable[[], None]) -> Any:
        import ipywidgets

        button = ipywidgets.Button(description=label, icon=icon, tooltip=title)
        button.on_click(lambda _: self._guard(action))
        return button

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except KubeflowError as error:
            self.card.value = note(error.message, error.hint).html

    def _show(self) -> None:
        self.card.value = job_html(self._job.view())

    def _ask(self) -> None:
        """Deleting takes results with it, so it takes a second press."""
        self.box.children[1].children = (self.confirm, self.cancel)

    def _keep(self) -> None:
        self.box.children[1].children = (self.refresh, self.delete)

    def _delete(self) -> None:
        self._job.delete()
        self.card.value = note(f"Deleted {self._job.name}.").html
        self.box.children[1].children = ()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)
