"""The training magics: a line becomes typed arguments, one call of the public API, and a display.

What a magic does beyond that is what only a notebook has: the cell's text and line numbers, variables by name, the
place of the result (``_``), and what an interrupt means.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand

from jupyterlab_kf.errors import KubeflowError, UsageError
from jupyterlab_kf.magics import arguments
from jupyterlab_kf.magics.completion import PARSERS
from jupyterlab_kf.magics.errors import DetachedError, told

if TYPE_CHECKING:
    from jupyterlab_kf import Job

F = TypeVar("F", bound=Callable[..., Any])


def documented(function: F) -> F:
    """Give a magic its parser's help, so that ``%kf_train?`` says all there is to say."""
    function.__doc__ = PARSERS[function.__name__](f"%{function.__name__}").format_help()
    return function


@magics_class
class TrainingMagics(Magics):
    """``%%kf_train`` and its friends."""

    shell: Any

    @no_var_expand
    @line_cell_magic
    @documented
    def kf_train(self, line: str, cell: str | None = None) -> None:  # noqa: D102  the parser's help
        line, cell, skipped = continued(line, cell)
        options = self._parse("kf_train", line)
        if options is None:
            return
        import jupyterlab_kf as kf
        from jupyterlab_kf.magics.verbs import submitted

        settings = arguments.train_arguments(options, self.shell.user_ns)
        code = self._code(options, cell)
        if cell is not None:
            # Not execution_count: some versions of IPython count on before the cell runs, others after it.
            number = len(self.shell.user_ns["In"]) - 1
            settings |= arguments.cell_arguments(options, f"Cell In[{number}]", 2 + skipped)
        if options.dry_run:
            self._present(_plan(kf.plan(code, **settings)))
            return
        job, told = submitted(lambda: kf.train(code, **settings))
        for line in told:
            sys.stderr.write(f"{line}\n")
        self._keep(job, options.into)
        if options.detach:
            self._present(_card(job))
            return
        self._watch(job)
        if options.output:
            from jupyterlab_kf.magics.verbs import brought

            self._present(brought(job, Path(options.output)))

    @no_var_expand
    @line_magic
    @documented
    def kf_jobs(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_jobs", line)
        if options is None:
            return
        from jupyterlab_kf.magics.verbs import listing

        self._present(listing(options))

    @no_var_expand
    @line_magic
    @documented
    def kf_logs(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_logs", line)
        if options is None:
            return
        from jupyterlab_kf.magics.verbs import logs
        from jupyterlab_kf.widgets.display import ended

        lines = logs(options)
        try:
            with ended(lines):
                print_lines(lines)
        except KeyboardInterrupt:
            raise DetachedError(options.name) from None

    @no_var_expand
    @line_magic
    @documented
    def kf_describe(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_describe", line)
        if options is None:
            return
        import jupyterlab_kf as kf
        from jupyterlab_kf.magics.verbs import describe

        self._present(describe(kf.job(options.name, options.namespace)))

    @no_var_expand
    @line_magic
    @documented
    def kf_wait(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_wait", line)
        if options is None:
            return
        import jupyterlab_kf as kf

        job = kf.job(options.name, options.namespace)
        self._keep(job, None)
        self._watch(job, timeout=options.timeout)

    @no_var_expand
    @line_magic
    @documented
    def kf_delete(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_delete", line)
        if options is None:
            return
        from jupyterlab_kf.magics.verbs import delete

        self._present(delete(options.names, options.namespace, everything=options.all))

    @no_var_expand
    @line_magic
    @documented
    def kf_cluster(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_cluster", line)
        if options is None:
            return
        from jupyterlab_kf.magics.verbs import cluster

        self._present(cluster(options.action, options.context, options.namespace))

    @no_var_expand
    @line_magic
    @documented
    def kf_doctor(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_doctor", line)
        if options is None:
            return
        from jupyterlab_kf.magics.verbs import doctor

        self._present(doctor(options.namespace))

    # ------------------------------------------------------------------------------------------------------ helpers

    def _parse(self, magic: str, line: str) -> argparse.Namespace | None:
        """The typed words of a line, or None when it only asked for help."""
        parser = PARSERS[magic](f"%%{magic}" if magic == "kf_train" else f"%{magic}")
        try:
            return parser.parse_args(arguments.split(line, self.shell.user_ns))
        except arguments.HelpShownError:
            return None

    def _code(self, options: argparse.Namespace, cell: str | None) -> Any:
        """The cell; or, for the line form, the function or script file that the line names."""
        if cell is not None:
            if options.code:
                raise UsageError(
                    f"%%kf_train runs the cell, and does not expect {options.code!r}",
                    hint="write %kf_train with one percent sign to run a script or a function",
                )
            return cell
        if options.filename:
            raise UsageError("--filename names the code of a cell", hint="write %%kf_train above the cell")
        if not options.code:
            raise UsageError(
                "there is nothing to run",
                hint="write %%kf_train above a cell, or name a script, a notebook or a function",
            )
        named = self.shell.user_ns.get(options.code)
        return named if callable(named) else Path(options.code)

    def _keep(self, job: Job, into: str | None) -> None:
        """Leave the job in ``_`` and ``Out[n]`` without printing it, and in a variable if one is named."""
        self.shell.displayhook.update_user_ns(job)
        if into:
            if not into.isidentifier():
                raise UsageError(f"--into {into}: not a name for a variable")
            self.shell.user_ns[into] = job

    def _watch(self, job: Job, timeout: float | None = None) -> None:
        from jupyterlab_kf.magics.verbs import watch
        from jupyterlab_kf.widgets.display import output_for

        try:
            watch(job, output_for(self.shell), timeout=timeout)
        except KeyboardInterrupt:
            raise DetachedError(job.name) from None
        except KubeflowError as error:
            raise told(error) from None

    def _present(self, item: Any) -> None:
        from jupyterlab_kf.widgets.display import present

        present(item)


def continued(line: str, cell: str | None) -> tuple[str, str | None, int]:
    r"""A first line that ends with ``\`` goes on in the cell; also says how many lines it took from it."""
    taken = 0
    while cell is not None and line.rstrip().endswith("\\") and cell:
        more, _, cell = cell.partition("\n")
        line = f"{line.rstrip()[:-1]} {more}"
        taken += 1
    return line, cell, taken


def print_lines(lines: Iterable[Any]) -> None:
    """Log lines as they come, coloured by replica; notebooks understand the colours."""
    from jupyterlab_kf.widgets.display import log_line

    ranks: dict[str, int] = {}
    for line in lines:
        sys.stdout.write(log_line(line, ranks, color=True) + "\n")
        sys.stdout.flush()


def _card(job: Job) -> Any:
    from jupyterlab_kf.widgets.rendered import job_card

    return job_card(job.view())


def _plan(plan: Any) -> Any:
    from jupyterlab_kf.widgets.plans import plan_card

    return plan_card(plan.summary, plan.yaml())
