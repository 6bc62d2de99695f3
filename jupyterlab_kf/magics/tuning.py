"""``%%kf_tune``: a cell as a study, watched in place; ``%%kf_study``, its form; ``%kf_study``, what is done with it.

Thin: parses the line, calls :func:`jupyterlab_kf.tune`, and shows what the cluster says until the study has ended.
``jupyter kf tune`` shares the words.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, line_cell_magic, magics_class, no_var_expand

from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.magics import arguments
from jupyterlab_kf.magics.completion import PARSERS
from jupyterlab_kf.magics.errors import told
from jupyterlab_kf.magics.studies import card, deed, read_cell, tune_arguments, verbs_parser
from jupyterlab_kf.magics.training import continued, documented

if TYPE_CHECKING:
    from jupyterlab_kf import Study
    from jupyterlab_kf.widgets.rendered import Rendered


@magics_class
class TuningMagics(Magics):
    """``%%kf_tune``, ``%%kf_study`` and ``%kf_study``."""

    shell: Any

    @no_var_expand
    @line_cell_magic
    @documented
    def kf_study(self, line: str, cell: str | None = None) -> None:  # noqa: D102  the parser's help
        if cell is None:
            self._deed(line)
            return
        line, code, skipped = continued(line, cell)
        try:
            options = PARSERS["kf_study"]("%%kf_study").parse_args(arguments.split(line, self.shell.user_ns))
        except arguments.HelpShownError:
            return
        from IPython.display import display

        from jupyterlab_kf.services.designs import StudyRequest
        from jupyterlab_kf.widgets.plans import cell_card
        from jupyterlab_kf.widgets.studyform import form_of

        number = len(self.shell.user_ns["In"]) - 1
        words = {"filename": f"Cell In[{number}]", "first_line": 2 + skipped, **tune_arguments(options)}
        form = form_of(StudyRequest(code or "", **words), read_cell)
        self.shell.displayhook.update_user_ns(form)
        if options.into:
            self.shell.user_ns[options.into] = form
        display(form)  # type: ignore[no-untyped-call]
        show = _notebook()
        # A form is a view of a kernel; what it says stays in the saved notebook as text, which can be run again.
        form.listen(lambda text: show(cell_card(text)))

    @no_var_expand
    @cell_magic
    @documented
    def kf_tune(self, line: str, cell: str) -> None:  # noqa: D102  the parser's help
        line, code, skipped = continued(line, cell)
        try:
            options: argparse.Namespace = PARSERS["kf_tune"]("%%kf_tune").parse_args(
                arguments.split(line, self.shell.user_ns)
            )
        except arguments.HelpShownError:
            return
        import jupyterlab_kf as kf
        from jupyterlab_kf.widgets.display import present
        from jupyterlab_kf.widgets.plans import plan_card

        number = len(self.shell.user_ns["In"]) - 1
        words = {"filename": f"Cell In[{number}]", "first_line": 2 + skipped, **tune_arguments(options)}
        if options.dry_run:
            planned = kf.plan_study(code or "", **words)
            present(plan_card(planned.summary, planned.yaml()))
            return
        study = kf.tune(code or "", **words)
        self.shell.displayhook.update_user_ns(study)
        if options.into:
            self.shell.user_ns[options.into] = study
        show = shower(self.shell)
        if options.detach:
            show(card(study))
            return
        self._watch(study, show)

    def _deed(self, line: str) -> None:
        try:
            options = verbs_parser("%kf_study").parse_args(arguments.split(line, self.shell.user_ns))
        except arguments.HelpShownError:
            return
        from jupyterlab_kf.widgets.display import present

        shown, code = deed(options)
        if code:
            self.shell.set_next_input(code)
        else:
            present(shown)

    def _watch(self, study: Study, show: Callable[[Rendered], None]) -> None:
        try:
            for _ in study.changes():
                show(card(study))
            study.wait()
        except KeyboardInterrupt:
            sys.stdout.write(f'detached; the study goes on: kf.study("{study.name}")\n')
        except KubeflowError as error:
            raise told(error) from None


def shower(shell: Any) -> Callable[[Rendered], None]:
    """Shows something that changes: in place in a notebook, by its first lines in a terminal."""
    return _notebook() if getattr(shell, "kernel", None) is not None else _terminal()


def _notebook() -> Callable[[Rendered], None]:
    """Replaces one display in place."""
    place = f"kf-{uuid.uuid4().hex[:12]}"
    sent: list[str] = []

    def show(item: Rendered) -> None:
        from IPython.display import display, update_display

        if sent and sent[-1] == item.html:
            return
        if sent:
            update_display(item.bundle(), raw=True, display_id=place)  # type: ignore[no-untyped-call]
        else:
            display(item.bundle(), raw=True, display_id=place)  # type: ignore[no-untyped-call]
        sent[:] = [item.html]

    return show


def _terminal() -> Callable[[Rendered], None]:
    """Prints the first lines when they change."""
    seen: list[str] = []

    def show(item: Rendered) -> None:
        head = "\n".join(item.text.splitlines()[:2])
        if head not in seen[-1:]:
            seen.append(head)
            sys.stdout.write(head + "\n")
            sys.stdout.flush()

    return show
