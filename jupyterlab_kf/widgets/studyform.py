"""The form of a study: what is tuned, over which values, by which algorithm, with which budget and on which hardware.

Holds a :class:`~jupyterlab_kf.services.designs.StudyRequest` and nothing else. Each change of a field makes the request
anew, and the cell, the Python and the manifest beside the fields are its plan; whoever edits one of those three changes
the fields. What makes no sense is said in place and cannot be started. ipywidgets is imported on first use.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf.errors import KubeflowError, UsageError
from jupyterlab_kf.services import designs, spaces, tuning
from jupyterlab_kf.services.designs import StudyPlan, StudyRequest
from jupyterlab_kf.services.plans import taking
from jupyterlab_kf.services.spaces import Distribution
from jupyterlab_kf.suggestions.settings import ALGORITHMS, wrong_settings
from jupyterlab_kf.widgets import text as texts
from jupyterlab_kf.widgets.markup import el
from jupyterlab_kf.widgets.parameters import SPOKEN, ParameterRow, around
from jupyterlab_kf.widgets.studies import study_card
from jupyterlab_kf.widgets.tables import note, page

if TYPE_CHECKING:
    from jupyterlab_kf.profiles import Profile
    from jupyterlab_kf.services.tuning import Study

_NEW: Final = ("a new one", "")
_WORDS: Final = {"description_width": "110px"}


def cost(planned: StudyPlan, minutes: float | None) -> str:
    """What the whole study will take: of time, of CPU-hours and of GPU-hours."""
    request = planned.request
    if not minutes:
        return "Say how long a trial takes, and this says what the study will cost."
    together = max(1, min(request.parallel, request.trials))
    rounds = -(-request.trials // together)
    hours = request.trials * minutes / 60
    parts = [f"At most {request.trials} trials of {minutes:g} min, {together} at a time:"]
    parts.append(f"about {texts.duration(rounds * minutes * 60)};")
    amounts = planned.amounts
    used = [f"{amounts['cpu'] * hours:.3g} CPU-hours"] if amounts.get("cpu") else []
    devices = sum(amount for name, amount in amounts.items() if name not in ("cpu", "memory"))
    used += [f"{devices * hours:.3g} GPU-hours"] if devices else []
    parts.append(f"{' and '.join(used)}." if used else "name CPUs or a hardware profile, and hours are counted.")
    return " ".join(parts)


class StudyForm:
    """A study's form; display it, or end a cell with it.

    Args:
        request: what the fields begin with.
        plan: makes the plan of a request.
        start: submits a plan.
        read_cell: reads ``%%kf_tune`` and a cell; without it the view of the cell cannot be edited.
        profiles: hardware that can be chosen, with a word on the room there is.
        metrics: names of metrics that were seen before.
        minutes: how long a trial takes, as far as is known.
    """

    def __init__(
        self,
        request: StudyRequest,
        *,
        plan: Callable[[StudyRequest], StudyPlan] = tuning.design,
        start: Callable[[StudyPlan], Study] = tuning.start,
        read_cell: Callable[[str, StudyRequest], StudyRequest] | None = None,
        profiles: Sequence[tuple[Profile, str]] = (),
        metrics: Sequence[str] = (),
        minutes: float | None = None,
    ) -> None:
        self.request = request
        self.planned: StudyPlan | None = None
        self.study: Study | None = None
        self._plan, self._start, self._read_cell = plan, start, read_cell
        self._listeners: list[Callable[[str], None]] = []
        self._still = False
        self._rows: list[ParameterRow] = []
        self._build(profiles, metrics, minutes)
        self._show(request)
        self._changed()

    def listen(self, listener: Callable[[str], None]) -> None:
        """Have it called with the study as a cell, now and after each change that makes sense."""
        self._listeners.append(listener)
        if self.planned is not None:
            listener(self.cell.value)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)

    # ------------------------------------------------------------------------------------------------- building

    def _build(self, profiles: Sequence[tuple[Profile, str]], metrics: Sequence[str], minutes: float | None) -> None:
        self._build_search(metrics)
        self._build_trials(profiles, minutes)
        self._build_views()
        self._build_deeds()
        self._lay_out()

    def _build_search(self, metrics: Sequence[str]) -> None:
        import ipywidgets as w

        known = list(dict.fromkeys([self.request.objective, *_printed(self.request), *metrics]))
        self.objective: Any = self._field(
            w.Combobox(description="Metric", options=known, ensure_option=False, continuous_update=False, style=_WORDS,
                       tooltip="what counts, as the code prints it: loss=0.31")
        )  # fmt: skip
        self.direction: Any = self._field(
            w.ToggleButtons(options=["minimize", "maximize"], tooltips=["less is better", "more is better"])
        )
        self.goal: Any = self._text("Goal", "ends the study when it is reached")
        self.metrics: Any = self._text("Further metrics", "f1, recall")
        self.algorithm: Any = self._field(
            w.Dropdown(description="Algorithm", options=list(ALGORITHMS), style=_WORDS, tooltip="who suggests trials")
        )
        self.says: Any = w.HTML()
        self.settings: Any = w.HBox(layout={"flex_flow": "row wrap"})
        self.stop_early: Any = self._field(
            w.Checkbox(
                description="End trials that are behind the median of others", indent=False, layout={"width": "auto"}
            )
        )
        self.parameters: Any = w.VBox()
        self.known: Any = w.Dropdown(
            description="Search also", options=[_NEW], style=_WORDS, tooltip="a value of the code"
        )
        self.add: Any = w.Button(description="Add parameter", icon="plus", tooltip="Search one more parameter")
        self.add.on_click(lambda _: self._add())

    def _build_trials(self, profiles: Sequence[tuple[Profile, str]], minutes: float | None) -> None:
        import ipywidgets as w

        self.trials: Any = self._count("Trials", 1, "trials at most")
        self.parallel: Any = self._count("At a time", 1, "trials that run side by side")
        self.max_failed: Any = self._text("Failures allowed", "a quarter of the trials, and at least 3")
        self.framework: Any = self._field(
            w.Dropdown(
                description="A trial is", style=_WORDS, tooltip="what each trial runs as",
                options=[("one process", ""), ("a PyTorch job", "pytorch"), ("a TensorFlow job", "tensorflow"),
                         ("an MPI job", "mpi")],
            )
        )  # fmt: skip
        self.workers: Any = self._field(
            w.BoundedIntText(description="Workers", min=1, max=10_000, style=_WORDS, layout={"width": "210px"})
        )
        offered = [(f"{one.display_name} ({said})" if said else one.display_name, one.slug) for one, said in profiles]
        self.profile: Any = self._field(
            w.Dropdown(description="Hardware", options=[("as said beside", ""), *offered], style=_WORDS,
                       tooltip="a hardware profile for each replica")
        )  # fmt: skip
        self.cpu: Any = self._text("CPUs", "2 or 500m", layout={"width": "210px"})
        self.memory: Any = self._text("Memory", "4Gi", layout={"width": "210px"})
        self.gpu: Any = self._text("GPUs", "0", layout={"width": "210px"})
        self.deadline: Any = self._text("Ends a trial after", "seconds", layout={"width": "210px"})
        self.name: Any = self._text("Name", "made from the code's when left out")
        self.minutes: Any = self._field(
            w.FloatText(description="Minutes a trial", value=minutes or 0.0, style=_WORDS, layout={"width": "210px"},
                        tooltip="for the estimate only")
        )  # fmt: skip
        self.cost: Any = w.HTML()
        self.said: Any = w.HTML()

    def _build_views(self) -> None:
        import ipywidgets as w

        self.cell, self.python, self.yaml = (
            w.Textarea(rows=14, continuous_update=False, layout={"width": "98%"}, description=name, style=SPOKEN)
            for name in ("the study as a cell", "the study as Python", "the study as YAML")
        )
        self.python.disabled = True
        self.cell.disabled = self._read_cell is None
        self.cell.observe(lambda _: self._edited(lambda: self._from_cell(self.cell.value)), "value")
        self.yaml.observe(lambda _: self._edited(lambda: self._from_yaml(self.yaml.value)), "value")
        self.views: Any = w.Tab([self.cell, self.python, self.yaml], titles=["Cell", "Python", "YAML"])

    def _build_deeds(self) -> None:
        import ipywidgets as w

        self.start: Any = w.Button(description="Start", icon="play", button_style="primary", tooltip="Start the study")
        self.start.on_click(lambda _: self._guarded(self._begin))
        self.stop: Any = w.Button(description="Stop", icon="stop", tooltip="End the study; what finished stays")
        self.stop.on_click(lambda _: self._guarded(self._end))
        self.best: Any = w.Button(description="Best trial", icon="star", tooltip="The code with the best values in it")
        self.best.on_click(lambda _: self._guarded(self._promote))
        self.running: Any = w.HTML()
        self.promoted: Any = w.Textarea(
            rows=10, layout={"width": "98%", "display": "none"}, description="the best trial's code", style=SPOKEN
        )
        self.buttons: Any = w.HBox([self.start])

    def _lay_out(self) -> None:
        import ipywidgets as w

        self.box: Any = w.VBox(
            [
                _head("Objective"), w.HBox([self.objective, self.direction]), w.HBox([self.goal, self.metrics]),
                _head("Parameters"), self.parameters, w.HBox([self.known, self.add]),
                _head("Algorithm"), w.HBox([self.algorithm, self.says]), self.settings, self.stop_early,
                _head("Trials"), w.HBox([self.trials, self.parallel, self.max_failed]),
                w.HBox([self.framework, self.workers]), w.HBox([self.profile, self.cpu, self.memory, self.gpu]),
                w.HBox([self.name, self.deadline, self.minutes]), self.cost,
                _head("The same as"), self.views, self.said, self.buttons, self.running, self.promoted,
            ]
        )  # fmt: skip

    def _text(self, label: str, hint: str = "", **more: Any) -> Any:
        import ipywidgets as w

        return self._field(
            w.Text(description=label, placeholder=hint, tooltip=hint or label, continuous_update=False, style=_WORDS,
                   **more)
        )  # fmt: skip

    def _count(self, label: str, least: int, hint: str) -> Any:
        import ipywidgets as w

        return self._field(
            w.BoundedIntText(description=label, min=least, max=100_000, tooltip=hint, style=_WORDS,
                             layout={"width": "210px"})
        )  # fmt: skip

    def _field(self, made: Any) -> Any:
        made.observe(lambda _: self._changed(), "value")
        return made

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Fields are filled, and nobody edited them."""
        before, self._still = self._still, True
        try:
            yield
        finally:
            self._still = before

    # -------------------------------------------------------------------------------------- request to fields

    def _show(self, request: StudyRequest) -> None:
        with self._quiet():
            self.objective.value, self.direction.value = request.objective, request.direction
            self.goal.value = "" if request.goal is None else f"{request.goal:g}"
            self.metrics.value = ", ".join(request.metrics)
            self.algorithm.value = request.algorithm if request.algorithm in ALGORITHMS else "bayesianoptimization"
            self._show_settings({key: str(value) for key, value in (request.settings or {}).items()})
            self.stop_early.value = request.stop_early
            self.trials.value, self.parallel.value = request.trials, request.parallel
            self.max_failed.value = _plain(request.max_failed)
            self.framework.value, self.workers.value = request.framework, request.workers or 1
            self.profile.value = request.profile if request.profile in [v for _, v in self.profile.options] else ""
            self.cpu.value, self.memory.value = _plain(request.cpu), _plain(request.memory)
            self.gpu.value, self.deadline.value = _plain(request.gpu), _plain(request.deadline)
            self.name.value = request.name or ""
            self._rows = [self._row(name, one) for name, one in designs.space_of(request).items()]
            self._arrange()

    def _row(self, name: str, one: Distribution) -> ParameterRow:
        return ParameterRow(name, one, self._changed, self._remove)

    def _arrange(self) -> None:
        """The rows, and what else could be searched."""
        self.parameters.children = [row.box for row in self._rows]
        code = self.request.code
        taken = {row.name.value for row in self._rows}
        plain = {} if callable(code) else spaces.plain_values(str(code))
        free = [(f"{name} = {value!r}", name) for name, value in plain.items() if name not in taken]
        self.known.options = [_NEW, *free]

    def _show_settings(self, given: Mapping[str, str]) -> None:
        import ipywidgets as w

        row = ALGORITHMS[self.algorithm.value]
        note = "" if row.katib else " Katib itself has no such algorithm."
        self.says.value = f"<span>{escape(row.says)}.{note}</span>"
        self.settings.children = [
            self._field(
                w.Text(description=name, value=given.get(name, ""), continuous_update=False,
                       placeholder="required" if name in row.required else "the usual", style=_WORDS)
            )
            for name in row.settings
        ]  # fmt: skip

    # -------------------------------------------------------------------------------------- fields to request

    def _gather(self) -> StudyRequest:
        """What the fields say.

        Raises:
            UsageError: a field makes no sense; names it.
        """
        space: dict[str, Distribution] = {}
        for row in self._rows:
            name, one = row.read()
            if name in space:
                raise UsageError(f"parameter {name} is there twice")
            space[name] = one
        given = {one.description: one.value.strip() for one in self.settings.children if one.value.strip()}
        row_ = ALGORITHMS[self.algorithm.value]
        wrong = wrong_settings(row_.settings, given, row_.required)
        if wrong:
            raise UsageError(f"{self.algorithm.value}: {wrong[0]}")
        framework = self.framework.value
        return replace(
            designs.with_space(self.request, space),
            objective=self.objective.value.strip(),
            direction=self.direction.value,
            goal=_optional("goal", self.goal.value, float),
            metrics=tuple(one.strip() for one in self.metrics.value.split(",") if one.strip()),
            algorithm=self.algorithm.value,
            settings=given or None,
            stop_early=self.stop_early.value,
            trials=self.trials.value,
            parallel=self.parallel.value,
            max_failed=_optional("failures allowed", self.max_failed.value, int),
            framework=framework,
            workers=self.workers.value if framework else None,
            profile=self.profile.value or None,
            cpu=self.cpu.value.strip() or None,
            memory=self.memory.value.strip() or None,
            gpu=_optional("GPUs", self.gpu.value, int),
            deadline=_optional("the end of a trial", self.deadline.value, int),
            name=self.name.value.strip() or None,
        )

    def _changed(self) -> None:
        """Somebody moved a field."""
        if self._still:
            return
        with self._quiet():
            if ALGORITHMS[self.algorithm.value].settings.keys() != {one.description for one in self.settings.children}:
                kept = {one.description: one.value for one in self.settings.children}
                self._show_settings(kept)
            self.workers.disabled = not self.framework.value
            self._guarded(lambda: self._take(self._gather()))

    def _take(self, request: StudyRequest) -> None:
        """Plan a request and show it in all views."""
        planned = self._plan(request)
        self.request, self.planned = request, planned
        with self._quiet():
            self.yaml.value, self.python.value = planned.yaml(), planned.python()
            self.cell.value = _shown(planned.magic)
            self.cost.value = escape(cost(planned, self.minutes.value))
            self._arrange()
        self.said.value = str(note(f"Note: {planned.notice}").html) if planned.notice else ""
        self.start.disabled = False
        for listener in self._listeners:
            listener(self.cell.value)

    def _edited(self, read: Callable[[], StudyRequest]) -> None:
        """Somebody edited a view: the fields follow, or the view's fault is said and the fields stay."""
        if self._still:
            return

        def follow() -> None:
            request = read()
            self._show(request)
            with self._quiet():
                self._take(self._gather_after(request))

        self._guarded(follow)

    def _gather_after(self, request: StudyRequest) -> StudyRequest:
        self.request = request
        return self._gather()

    def _from_cell(self, cell: str) -> StudyRequest:
        if self._read_cell is None:
            raise UsageError("this view cannot be edited here")
        return self._read_cell(cell, self.request)

    def _from_yaml(self, text: str) -> StudyRequest:
        head = (self.planned.experiment if self.planned else {}).get("metadata") or {}
        submission = next((value for key, value in (head.get("labels") or {}).items() if "submission" in key), "")
        return designs.from_yaml(text, self.request, namespace=str(head.get("namespace")), submission=submission)

    def _add(self) -> None:
        code, name = self.request.code, self.known.value
        plain = {} if callable(code) else spaces.plain_values(str(code))
        taken = {row.name.value for row in self._rows}
        fresh = name or next(f"p{index}" for index in range(1, 1000) if f"p{index}" not in taken | plain.keys())
        self._rows.append(self._row(fresh, around(plain[fresh]) if fresh in plain else spaces.uniform(0.0, 1.0)))
        self._rearranged()

    def _remove(self, row: ParameterRow) -> None:
        self._rows.remove(row)
        self._rearranged()

    def _rearranged(self) -> None:
        with self._quiet():
            self._arrange()
        self._changed()

    # ------------------------------------------------------------------------------------------------ the study

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do it; what is wrong is said under the views, and nothing can be started until it is mended."""
        try:
            action()
        except KubeflowError as error:
            said = el("div", el("b", "✖ "), error.message, el("div", error.hint, cls="kf-dim"), role="alert")
            self.said.value = str(page(said))
            self.start.disabled = self.study is None

    def _begin(self) -> None:
        if self.planned is None:
            return
        # Planned once more: a second study is another one, and profiles may have changed since.
        self._take(self._gather())
        study = self.study = self._start(self.planned)
        self.start.description = "Start another"
        self.buttons.children = [self.start, self.stop]
        threading.Thread(target=self._watch, args=(study,), name=f"kf-study-{study.name}", daemon=True).start()

    def _watch(self, study: Study) -> None:
        """Show the study until it has ended, or another took its place."""
        try:
            for _ in study.changes():
                if self.study is not study:
                    return
                self._show_study(study)
            self._show_study(study)
        except KubeflowError as error:
            self.running.value = str(note(error.message, error.hint).html)
        if self.study is study:
            self.buttons.children = [self.start, self.best]

    def _show_study(self, study: Study) -> None:
        self.running.value = str(study_card(study.record()).html)

    def _end(self) -> None:
        if self.study is not None:
            self.study.stop()

    def _promote(self) -> None:
        if self.study is None:
            return
        best = self.study.best
        if best is None:
            raise UsageError("no trial has a value yet")
        code = self.request.code
        shown = "\n".join(f"{key} = {value!r}" for key, value in best.items())
        self.promoted.value = shown if callable(code) else spaces.rewritten(str(code), best)
        self.promoted.layout.display = ""


@taking(StudyRequest)
def study_form(request: StudyRequest) -> StudyForm:
    """The form of a study, filled with the arguments of :func:`jupyterlab_kf.tune`. Creates nothing by itself.

    Raises:
        UsageError: a declaration of the code's search space makes no sense; names the line.
    """
    return form_of(request)


def form_of(request: StudyRequest, read_cell: Callable[[str, StudyRequest], StudyRequest] | None = None) -> StudyForm:
    """A form with what this machine and the cluster know: hardware profiles, metrics of earlier studies, their pace."""
    from jupyterlab_kf.profiles import Use
    from jupyterlab_kf.services import hardware

    past = tuning.past()
    offers = [(offer.profile, offer.room.sentence) for offer in hardware.here(Use.TRIAL)]
    minutes = None if past.seconds is None else float(f"{max(past.seconds / 60, 0.01):.2g}")
    return StudyForm(request, read_cell=read_cell, profiles=offers, metrics=past.metrics, minutes=minutes)


def _printed(request: StudyRequest) -> list[str]:
    """Names that the code prints as ``name=value``: what could be the metric."""
    code = request.code
    if callable(code):
        return []
    try:
        tree = ast.parse(str(code))
    except SyntaxError:
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            word = node.value.split()[-1] if node.value.split() else ""
            if word.endswith("=") and word[:-1].replace("-", "_").isidentifier():
                found.append(word[:-1])
    return found


def _shown(view: Callable[[], str]) -> str:
    """A view, or why there is none."""
    try:
        return view()
    except UsageError as error:
        return f"# {error.message}: {error.hint}\n"


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _optional(what: str, given: str, kind: Callable[[str], Any]) -> Any:
    if not given.strip():
        return None
    try:
        return kind(given)
    except ValueError:
        raise UsageError(f"{what} is {given!r}; it must be a number") from None


def _head(title: str) -> Any:
    import ipywidgets as w

    return w.HTML(str(el("h4", title, style="margin:6px 0 2px")))


__all__ = ["StudyForm", "cost", "form_of", "study_form"]
