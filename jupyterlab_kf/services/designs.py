"""From what a person wants to search to the Experiment that would be created, and back.

:class:`StudyRequest` becomes :class:`StudyPlan`, and an edited manifest becomes a request again. Everything that can be
wrong is found here, before any server is spoken to. A plan can be shown as a cell, as Python and as YAML; a form holds
a request and nothing else.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.controllers import katib
from jupyterlab_kf.controllers.katib.template import CHECKPOINT
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import pods, studies, training
from jupyterlab_kf.manifests.studies import StudySpec
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services import bundle as bundles
from jupyterlab_kf.services import notebooks, plans, spaces
from jupyterlab_kf.services.plans import Plan, Request
from jupyterlab_kf.services.shelf import Parcel
from jupyterlab_kf.services.spaces import Distribution

IMAGE: Final = "quay.io/jupyter/scipy-notebook:latest"
"""What plain trials run in, where images are pulled."""
FRAMEWORKS: Final = ("", "pytorch", "tensorflow", "mpi")
_LONGEST_NAME: Final = 40
_SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "pbt": {"suggestion_trial_dir": "/kf/checkpoint", "n_population": 5, "truncation_threshold": 0.2},
}
"""What Katib wants to be told, where nothing else is said."""
_DIRECTIONS: Final = ("minimize", "maximize")
_MOST_TOLD: Final = 3
_CELL: Final = "cell.py"


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """The arguments of :func:`jupyterlab_kf.tune`, as they were given; its documentation explains them."""

    code: str | Path | Callable[..., object]
    space: Mapping[str, Any] | None = None
    _: KW_ONLY
    objective: str = "loss"
    direction: str = "minimize"
    algorithm: str = "bayesianoptimization"
    settings: Mapping[str, Any] | None = None
    trials: int = 20
    parallel: int = 2
    max_failed: int | None = None
    goal: float | None = None
    metrics: Sequence[str] = ()
    stop_early: bool = False
    framework: str = ""
    workers: int | None = None
    name: str | None = None
    namespace: str | None = None
    profile: str | None = None
    cpu: float | str | None = None
    memory: float | str | None = None
    gpu: int | None = None
    env: Mapping[str, str] | None = None
    params: Mapping[str, object] | None = None
    files: Sequence[str | Path] = ()
    image: str | None = None
    install: bool | Sequence[str] = False
    deadline: int | None = None
    filename: str = _CELL
    first_line: int = 1
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What would be created. Making one creates nothing.

    Attributes:
        request: what was asked for.
        space: the parameters that are searched, those of the code's own text among them.
        code_maps: the ConfigMaps of the code that trials run, its instructions in the first.
        experiment: the study.
        trial: the plan of a job like one trial's.
    """

    request: StudyRequest
    space: Mapping[str, Distribution]
    code_maps: list[Obj] = field(repr=False)
    experiment: Obj = field(repr=False)
    trial: Plan = field(repr=False)

    @property
    def notice(self) -> str:
        """What to tell before it is submitted: that its hardware profile is deprecated; else empty."""
        return self.trial.notice

    @property
    def parcel(self) -> Parcel | None:
        """Code that goes onto a volume before anything is created; None when ConfigMaps carry it."""
        return self.trial.parcel

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.experiment["metadata"]["name"])

    @property
    def amounts(self) -> dict[str, float]:
        """What all replicas of one trial ask for: ``cpu`` in CPUs, ``memory`` in bytes, GPUs by their resource."""
        trial = self.experiment["spec"]["trialTemplate"]["trialSpec"]
        counted = training.counts(trial) if self.request.framework else {"": 1}
        templates = training.templates(trial) if self.request.framework else {"": trial["spec"]["template"]}
        total: dict[str, float] = {}
        for role, template in templates.items():
            for name, amount in pods.requests_of(template["spec"]).items():
                total[name] = total.get(name, 0.0) + float(amount) * counted[role]
        return total

    @property
    def summary(self) -> str:
        """A few lines for people: what would be created, and what it would search."""
        request, head = self.request, self.experiment["metadata"]
        goal = "" if request.goal is None else f", until it reaches {request.goal:g}"
        amounts = ", ".join(f"{amount:g} {name}" for name, amount in self.amounts.items() if name != "memory")
        lines = [
            f"Would be created in namespace {head['namespace']}:",
            *(f"  ConfigMap {one['metadata']['name']}" for one in self.code_maps),
            f"  Experiment {head['name']}",
            f"{request.direction} {request.objective}{goal}, by {request.algorithm}",
            f"{request.trials} trials, {min(request.parallel, request.trials)} at a time"
            + (f"; each: {amounts}" if amounts else ""),
            *(f"  {name}: {one.expression()}" for name, one in self.space.items()),
        ]
        return "\n".join([*lines, *self.trial.told, *([f"Note: {self.notice}"] if self.notice else [])])

    def yaml(self) -> str:
        """The manifests as YAML that ``kubectl create -f`` takes."""
        return plans.to_yaml(*self.code_maps, self.experiment)

    def python(self) -> str:
        """The same as a Python call."""
        return f"import jupyterlab_kf as kf\n\nstudy = {self._call('tune')}study.wait()\nstudy.best\n"

    def form(self) -> str:
        """A cell that opens the form of such a study, filled with it.

        Raises:
            UsageError: something was asked for that no word of the magic says.
        """
        if callable(self.request.code):
            return f"import jupyterlab_kf as kf\n\n{self._call('study_form')}"
        return self.magic().replace("%%kf_tune", "%%kf_study", 1)

    def _call(self, function: str) -> str:
        code = self.request.code
        first = getattr(code, "__name__", None) or _quoted(str(code))
        declared = _declared(self.request)
        extra = {name: one for name, one in self.space.items() if declared.get(name) != one}
        given = [f"{key}={bundles.plain(value) if key == 'params' else value!r}" for key, value in self._given()]
        if extra:
            calls = ", ".join(f"{name!r}: kf.{one.expression()}" for name, one in extra.items())
            given = [f"{{{calls}}}", *given]
        arguments = ",\n    ".join([first, *given])
        return f"kf.{function}(\n    {arguments},\n)\n"

    def magic(self) -> str:
        """The same as a cell: its first line, and the code with its search space written into it.

        Raises:
            UsageError: the code is a function, or something was asked for that no word of the magic says.
        """
        code = self.request.code
        if callable(code):
            raise UsageError("a function cannot be shown as a cell", hint="use the Python view")
        text = _text_of(code)
        words = [self.request.objective]
        for key, value in self._given():
            words += _words(key, value)
        declared = _declared(self.request)
        fresh = {name: one for name, one in self.space.items() if declared.get(name) != one}
        return f"%%kf_tune {shlex.join(words)}\n{spaces.rewritten(text, fresh)}"

    def _given(self) -> list[tuple[str, Any]]:
        """The arguments that differ from their defaults, in the signature's order."""
        hidden = {"code", "space", "filename", "first_line", "root"}
        return [
            (entry.name, value)
            for entry in fields(StudyRequest)
            if entry.name not in hidden
            and (value := getattr(self.request, entry.name)) != entry.default
            and value not in (None, (), {}, [])
        ]


def make(request: StudyRequest, *, namespace: str, submission: str) -> StudyPlan:
    """The plan of a request.

    Raises:
        UsageError: anything about the request is wrong; the message says what.
    """
    _check(request)
    found = space_of(request)
    if not found:
        raise UsageError(
            "there is nothing to tune",
            hint="write lr = loguniform(1e-4, 1e-1) at the top of the code, or pass space={'lr': ...}",
        )
    framework = request.framework
    settings = {**_SETTINGS.get(request.algorithm, {}), **(request.settings or {})}
    stand_ins = {key: one.values[0] if one.values else one.low for key, one in found.items()}
    job_request = Request(
        code=request.code,
        framework=framework or "pytorch",
        workers=request.workers if framework else 1,
        name=_name(request, submission),
        namespace=request.namespace,
        profile=request.profile,
        cpu=request.cpu,
        memory=request.memory,
        gpu=request.gpu,
        env={**(request.env or {}), **studies.environment(list(found)), **_checkpoint(settings)},
        params={**(request.params or {}), **stand_ins},
        files=request.files,
        image=request.image or (None if framework or request.profile else IMAGE),
        install=request.install,
        retries=0,
        deadline=request.deadline,
        filename=request.filename,
        first_line=request.first_line,
        root=request.root,
    )
    planned = plans.make(job_request, namespace=namespace, submission=submission)
    *code_maps, job = planned.manifests
    code_maps[0] = _for_trials(code_maps[0], found, framework)
    template = next(iter(training.templates(job).values()))
    trial = studies.unnamed(job) if framework else studies.plain_job(template, request.deadline)
    spec = StudySpec(
        name=planned.spec.name,
        namespace=planned.spec.namespace,
        objective=request.objective,
        direction=request.direction,
        parameters=[one.parameter(key) for key, one in found.items()],
        algorithm=request.algorithm,
        settings=settings,
        trials=request.trials,
        parallel=min(request.parallel, request.trials),
        failed=_most_failed(request.max_failed, request.trials),
        goal=request.goal,
        metrics=request.metrics,
        stop_early=request.stop_early,
        provenance=planned.spec.provenance,
        submission=submission,
    )
    experiment = studies.encode(spec, trial, training.container_of(job) if framework else studies.MAIN)
    if why := katib.problems(katib.defaulted(experiment)):
        raise UsageError(why)
    return StudyPlan(request, found, code_maps, experiment, planned)


def space_of(request: StudyRequest) -> dict[str, Distribution]:
    """What is searched: the code's own declarations, and over them what was given beside it.

    Raises:
        UsageError: a declaration makes no sense; names the line.
    """
    return _declared(request) | spaces.checked(request.space or {})


def with_space(request: StudyRequest, space: Mapping[str, Distribution]) -> StudyRequest:
    """The request, searching these parameters and no others.

    The text is what a person reads: it says what is searched, and nothing beside it does. A parameter that is not
    searched any more keeps a plain value. The space of a function stands beside it.
    """
    code = request.code
    if callable(code):
        return replace(request, space=dict(space))
    known, text = space_of(request), _text_of(code)
    declared = spaces.of_text(text)
    fresh: dict[str, Any] = {name: one.middle() for name, one in known.items() if name not in space}
    fresh |= {name: one for name, one in space.items() if declared.get(name) != one}
    return replace(request, code=spaces.rewritten(text, fresh), space=None) if fresh else replace(request, space=None)


def from_yaml(text: str, request: StudyRequest, *, namespace: str, submission: str) -> StudyRequest:
    """The request whose plan is this edited manifest: ``request`` with what its Experiment says now.

    Code, images and amounts of a trial come from the request; whoever edits those in the manifest is told so, and
    nothing of an edit is dropped in silence.

    Raises:
        UsageError: it is no YAML of one Experiment, or says something that a request cannot hold; names the fields.
    """
    import yaml

    try:
        documents = [one for one in yaml.safe_load_all(text) if isinstance(one, dict)]
    except yaml.YAMLError as error:
        raise UsageError(f"this is not YAML: {error}") from None
    found = [one for one in documents if one.get("kind") == "Experiment"]
    if len(found) != 1:
        raise UsageError(f"{len(found)} Experiments in the YAML; there must be one")
    try:
        fresh = read_back(found[0], request)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"the Experiment cannot be read: {error!r}", hint="go back to what was there") from None
    told = make(fresh, namespace=namespace, submission=submission).experiment
    # The record of the code follows the code.
    wrong = [path for path in _differences(found[0], told) if not path.endswith(names.ANNOTATION_PROVENANCE)]
    if wrong:
        raise UsageError(
            f"the form cannot hold {', '.join(wrong[:_MOST_TOLD])}",
            hint="submit that manifest with kubectl create -f, or change it back",
        )
    return fresh


def read_back(experiment: Obj, request: StudyRequest) -> StudyRequest:
    """The request with what an Experiment says; code, image and amounts stay the request's.

    Raises:
        UsageError: a parameter of it cannot be said by one of the functions of a search space.
        KeyError, TypeError, ValueError, AttributeError: it has another form than those that are made here.
    """
    spec, head = experiment["spec"], experiment["metadata"]
    objective, algorithm = spec["objective"], spec["algorithm"]
    known = space_of(request)
    space = {str(one["name"]): spaces.of_parameter(one, known.get(one["name"])) for one in spec.get("parameters") or ()}
    trials = int(spec["maxTrialCount"])
    failed = spec.get("maxFailedTrialCount")
    return replace(
        with_space(request, space),
        objective=str(objective["objectiveMetricName"]),
        direction=str(objective["type"]),
        goal=objective.get("goal"),
        metrics=tuple(objective.get("additionalMetricNames") or ()),
        algorithm=str(algorithm["algorithmName"]),
        settings={str(one["name"]): str(one["value"]) for one in algorithm.get("algorithmSettings") or ()},
        trials=trials,
        parallel=int(spec["parallelTrialCount"]),
        max_failed=None if failed == _most_failed(None, trials) else failed,
        stop_early=(spec.get("earlyStopping") or {}).get("algorithmName") == "medianstop",
        name=None if head["name"] == _name(request, str(head["labels"][names.LABEL_SUBMISSION])) else head["name"],
        namespace=request.namespace or head.get("namespace"),
    )


def _differences(given: Any, told: Any, path: str = "") -> Iterator[str]:
    """The paths at which an edited manifest says something else than the one that would be made."""
    if isinstance(given, dict) and isinstance(told, dict):
        for key in sorted({*given, *told}, key=str):
            yield from _differences(given.get(key), told.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(given, list) and isinstance(told, list) and len(given) == len(told):
        for index, (one, other) in enumerate(zip(given, told, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif given != told and not _same_number(given, told):
        yield path


def _same_number(given: Any, told: Any) -> bool:
    """Whether two texts of a manifest are one number: ``1e-4`` and ``0.0001``."""
    try:
        return float(given) == float(told)
    except (TypeError, ValueError):
        return False


def _check(request: StudyRequest) -> None:
    if request.framework not in FRAMEWORKS:
        raise UsageError(
            f"studies of {request.framework} jobs are not supported",
            hint=f"leave framework out, or use {', '.join(filter(None, FRAMEWORKS))}",
        )
    if request.direction not in _DIRECTIONS:
        raise UsageError(f"direction is {request.direction!r}; it must be minimize or maximize")
    for what, number in (("trials", request.trials), ("parallel", request.parallel)):
        if not _counts(number):
            raise UsageError(f"{what} is {number!r}; it must be a whole number of 1 or more")


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _declared(request: StudyRequest) -> dict[str, Distribution]:
    code = request.code
    if callable(code):
        return {}
    path = bundles.script_path(code)
    first = 1 if path else request.first_line
    return spaces.of_text(_text_of(code), str(path) if path else request.filename, first)


def _text_of(code: str | Path) -> str:
    path = bundles.script_path(code)
    if path is None or not path.is_file():
        return str(code)
    text = path.read_text(encoding="utf-8")
    return notebooks.read(text.encode(), path.name).text if path.suffix == notebooks.SUFFIX else text


def _name(request: StudyRequest, submission: str) -> str:
    name, code = request.name, request.code
    if name is None:
        path = None if callable(code) else bundles.script_path(code)
        base = path.stem if path else getattr(code, "__name__", "") or "study"
        name = f"{names.slug(base, limit=_LONGEST_NAME - 6)}-{submission[:5]}"
    if len(name) > _LONGEST_NAME:
        raise UsageError(f"the name {name!r} has {len(name)} characters; a study's has at most {_LONGEST_NAME}")
    return names.check_job_name(name)


def _checkpoint(settings: Mapping[str, Any]) -> dict[str, str]:
    """Where a trial's program finds its checkpoint: whoever runs the study mounts it there."""
    path = settings.get("suggestion_trial_dir")
    return {CHECKPOINT: str(path).rstrip("/")} if path else {}


def _most_failed(given: int | None, trials: int) -> int | None:
    if given is not None:
        return given
    return max(min(max(3, trials // 4), trials), 1)


def _for_trials(code_map: Obj, space: Mapping[str, Distribution], framework: str) -> Obj:
    """The code's ConfigMap, its instructions changed to read a trial's values."""
    instructions = json.loads(code_map["data"]["job.json"])
    instructions["params"] = {key: value for key, value in instructions["params"].items() if key not in space}
    instructions["tuned"] = {key: one.reading() for key, one in space.items()}
    instructions["framework"] = framework
    text = json.dumps(instructions, indent=1, ensure_ascii=False, sort_keys=True)
    return {**code_map, "data": {**code_map["data"], "job.json": text}}


_FLAGS: Final[Mapping[str, str]] = {"settings": "--set", "metrics": "--metric"}


def _words(key: str, value: Any) -> list[str]:
    """The words of ``%%kf_tune`` for one argument."""
    if key == "objective":
        return []
    if key == "direction":
        return ["--maximize"]
    if key in ("env", "params", "files"):
        raise UsageError(f"%%kf_tune has no word for {key}", hint="use the Python view")
    flag = _FLAGS.get(key, f"--{key.replace('_', '-')}")
    if value is True:
        return [flag]
    if isinstance(value, Mapping):
        return [flag, *(f"{name}={text}" for name, text in value.items())]
    if isinstance(value, (list, tuple)):
        return [flag, *map(str, value)]
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]


def _quoted(code: str) -> str:
    """A text as a literal, a program in three quotation marks where that reads back as the same."""
    if "\n" in code and '"""' not in code and "\\" not in code and not code.endswith('"'):
        return f'"""\\\n{code}"""' if not code.startswith("\n") else repr(code)
    return repr(code)


__all__ = ["FRAMEWORKS", "StudyPlan", "StudyRequest", "from_yaml", "make", "read_back", "space_of", "with_space"]
