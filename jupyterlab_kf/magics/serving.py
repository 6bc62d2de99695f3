"""``%kf_serve`` and its friends: a model becomes an endpoint, and the endpoint is asked, divided and told how it did.

Thin: a line becomes typed arguments and one call of the public API; what only a notebook has (variables by name, the
cell's text and line numbers, a display that is replaced in place, the last answer) is all that is added.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand

from jupyterlab_kf.errors import KubeflowError, UsageError
from jupyterlab_kf.magics import arguments, endpoints
from jupyterlab_kf.magics.completion import PARSERS
from jupyterlab_kf.magics.errors import told
from jupyterlab_kf.magics.training import continued, documented
from jupyterlab_kf.magics.tuning import shower

if TYPE_CHECKING:
    from jupyterlab_kf import Endpoint


@magics_class
class ServingMagics(Magics):
    """``%kf_serve``, ``%kf_predict``, ``%kf_traffic``, ``%kf_feedback``, ``%kf_monitor`` and ``%kf_endpoints``."""

    shell: Any

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._asked: dict[tuple[str, str], Endpoint] = {}

    @no_var_expand
    @line_cell_magic
    @documented
    def kf_serve(self, line: str, cell: str | None = None) -> None:  # noqa: D102  the parser's help
        line, cell, skipped = continued(line, cell)
        options = self._parse("kf_serve", line, cell=cell is not None)
        if options is None:
            return
        import jupyterlab_kf as kf
        from jupyterlab_kf.magics.verbs import submitted
        from jupyterlab_kf.widgets.display import present

        words = endpoints.serve_arguments(options, self.shell.user_ns)
        model = self._model(options, cell)
        if cell is not None:
            words |= {"filename": "cell.py", "first_line": 2 + skipped}
        if options.dry_run:
            from jupyterlab_kf.widgets.endpoints import serve_plan_card

            planned = kf.plan_serve(model, **words)
            present(serve_plan_card(planned.summary, planned.yaml(), planned.diff()))
            return
        from jupyterlab_kf.services import serving

        made, warned = submitted(lambda: serving.begin(model, **words))
        for said in warned:
            sys.stderr.write(f"{said}\n")
        self._keep(made, options.into)
        if self._watch(made, timeout=options.timeout, detach=options.detach) and options.reference:
            try:
                made.monitor(words["reference"], timeout=options.timeout)
            except KubeflowError as error:
                raise told(error) from None
            sys.stdout.write(f"{made.name} is monitored: %kf_monitor {made.name}\n")

    @no_var_expand
    @line_magic
    @documented
    def kf_predict(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_predict", line)
        if options is None:
            return
        from jupyterlab_kf.widgets.display import present
        from jupyterlab_kf.widgets.endpoints import answer_card

        value = endpoints.value_of(options.data, self.shell.user_ns)
        try:
            answer = self._endpoint(options).ask(value)
        except KubeflowError as error:
            raise told(error) from None
        self._keep(answer.value, options.into)
        present(answer_card(answer))

    @no_var_expand
    @line_magic
    @documented
    def kf_traffic(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_traffic", line)
        if options is None:
            return
        from jupyterlab_kf.widgets.display import present

        endpoint = self._endpoint(options)
        if options.history:
            from jupyterlab_kf.widgets.endpoints import history_table

            present(history_table(endpoint.history()))
            return
        try:
            present(endpoints.card(endpoints.divide(endpoint, options)))
        except KubeflowError as error:
            raise told(error) from None

    @no_var_expand
    @line_magic
    @documented
    def kf_feedback(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_feedback", line)
        if options is None:
            return
        from jupyterlab_kf.widgets.display import present
        from jupyterlab_kf.widgets.tables import note

        truth = None if options.truth is None else endpoints.value_of([options.truth], self.shell.user_ns)
        self._endpoint(options).feedback(options.reward, truth=truth)
        present(note(f"Told {options.name} about its last answer."))

    @no_var_expand
    @line_magic
    @documented
    def kf_monitor(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_monitor", line)
        if options is None:
            return
        from jupyterlab_kf.widgets.display import present

        try:
            present(endpoints.monitor(self._endpoint(options), options, self.shell.user_ns))
        except KubeflowError as error:
            raise told(error) from None

    @no_var_expand
    @line_magic
    @documented
    def kf_endpoints(self, line: str) -> None:  # noqa: D102
        options = self._parse("kf_endpoints", line)
        if options is None:
            return
        from jupyterlab_kf.magics.training import print_lines
        from jupyterlab_kf.widgets.display import present
        from jupyterlab_kf.widgets.tables import note

        if not options.name:
            present(endpoints.listing(options.namespace))
        elif options.logs:
            print_lines(self._endpoint(options).logs())
        elif options.delete:
            self._endpoint(options).delete()
            present(note(f"Deleted endpoint {options.name}."))
        else:
            present(endpoints.card(self._endpoint(options), measured=True))

    # Helpers

    def _parse(self, magic: str, line: str, *, cell: bool = False) -> argparse.Namespace | None:
        """The typed words of a line, or None when it only asked for help."""
        try:
            parser = PARSERS[magic](f"%%{magic}" if cell else f"%{magic}")
            return parser.parse_args(arguments.split(line, self.shell.user_ns))
        except arguments.HelpShownError:
            return None

    def _model(self, options: argparse.Namespace, cell: str | None) -> Any:
        """The cell's text, the notebook's variable, or a path."""
        if cell is not None:
            if unexpected := options.model or " ".join(options.graph or ()):
                raise UsageError(
                    f"%%kf_serve serves the cell's class, and does not expect {unexpected!r}",
                    hint="write %kf_serve with one percent sign to serve a variable or a path",
                )
            return cell if cell.endswith("\n") else f"{cell}\n"
        if options.graph:
            if options.model:
                raise UsageError(
                    f"--graph says what is served, and {options.model!r} too", hint="leave one of them out"
                )
            from jupyterlab_kf.services.serving import graphs

            return graphs.from_text(" ".join(options.graph), self.shell.user_ns)
        if not options.model:
            raise UsageError("there is nothing to serve", hint="name a variable with a model, or a saved model's path")
        if options.model in self.shell.user_ns:
            return self.shell.user_ns[options.model]
        if options.model.isidentifier() and not Path(options.model).exists():
            raise UsageError(
                f"the notebook has no variable {options.model!r}, and there is no such file",
                hint="run the cell that makes it",
            )
        return Path(options.model)

    def _endpoint(self, options: argparse.Namespace) -> Endpoint:
        """The endpoint of that name; the same one as before while it lives, for it remembers its last answer."""
        import jupyterlab_kf as kf

        found = kf.endpoint(options.name, options.namespace)
        known = self._asked.get((found.namespace, found.name))
        if known is not None and known.ref == found.ref:
            return known
        self._asked[found.namespace, found.name] = found
        return found

    def _keep(self, value: Any, into: str | None) -> None:
        self.shell.displayhook.update_user_ns(value)
        if into:
            if not into.isidentifier():
                raise UsageError(f"--into {into}: not a name for a variable")
            self.shell.user_ns[into] = value

    def _watch(self, endpoint: Endpoint, *, timeout: float, detach: bool) -> bool:
        """Show an endpoint until it is ready; whether it is."""
        from jupyterlab_kf.widgets.endpoints import endpoint_card

        show = shower(self.shell)
        if detach:
            show(endpoints.card(endpoint))
            return False
        try:
            for view in endpoint.coming(timeout):
                show(endpoint_card(view))
        except KeyboardInterrupt:
            sys.stdout.write(f'detached; it comes up by itself: kf.endpoint("{endpoint.name}").wait()\n')
            return False
        except KubeflowError as error:
            show(endpoints.card(endpoint))
            raise told(error) from None
        return True
