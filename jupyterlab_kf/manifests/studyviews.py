"""A study as it is looked at: its head, its trials as short as they can be said, and what a saved notebook keeps. Pure.

Values of parameters stand in the order of the head's parameters: of ten thousand trials no name is said twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Final

from jupyterlab_kf.controllers.katib.experiment import STOPPED, restartable
from jupyterlab_kf.controllers.katib.observations import ANNOTATION
from jupyterlab_kf.manifests import studies
from jupyterlab_kf.model import Obj, meta, parse_time
from jupyterlab_kf.suggestions import importance
from jupyterlab_kf.suggestions.space import Parameter, SpaceError, parameter

VERSION: Final = 1
"""Of the format in which a notebook keeps a study."""
MOST_SAVED: Final = 200
"""Trials that a notebook keeps."""
MOST_CURVE: Final = 24
"""Points of a trial's learning curve."""
WAITING: Final = ("Pending", "Created")
RUNNING: Final = "Running"
_PLAIN: Final = {
    "ExperimentGoalReached": "The goal was reached.",
    "ExperimentMaxTrialsReached": "All trials of its budget were used.",
    STOPPED: "It was stopped.",
    "ExperimentSuggestionEndReached": "There is nothing left to try.",
}


@dataclass(frozen=True, slots=True)
class StudyParameter:
    """What is searched: a range, perhaps on a logarithmic scale, or some values."""

    name: str
    type: str
    low: float | None
    high: float | None
    log: bool
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyTrial:
    """One trial. Times are epoch seconds.

    ``values`` are in the order of the head's parameters, ``metrics`` in that of its further metrics. ``curve`` has the
    objective as it was reported, as pairs of number and value; empty where it was reported once. ``started`` is when it
    was made, ``began`` when its program began to run: None while it waits, and where nobody wrote it down.
    """

    name: str
    number: int
    state: str
    values: tuple[str, ...]
    value: float | None
    metrics: tuple[float | None, ...]
    curve: tuple[tuple[float, float], ...]
    started: float | None
    began: float | None
    finished: float | None
    message: str

    @property
    def counts(self) -> bool:
        """Whether its value is a result: what a trial that failed or still runs reported is none."""
        return self.state in ("Succeeded", "EarlyStopped")


@dataclass(frozen=True, slots=True)
class ParameterShare:
    """How much a parameter has to do with the best trials: its share of 1."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class StudyHead:
    """A study but for its trials. Times are epoch seconds, ``eta`` is in seconds from ``seen``.

    ``message`` says why it is in its ``state``; ``best`` is the name of the best trial, empty while there is none;
    ``goal`` ends the study; ``budget`` is 0 where there is none. ``resumable`` is one that has ended and may go on.
    """

    uid: str
    namespace: str
    name: str
    state: str
    message: str
    objective: str
    direction: str
    goal: float | None
    algorithm: str
    parameters: tuple[StudyParameter, ...]
    metrics: tuple[str, ...]
    budget: int
    parallel: int
    best: str
    done: int
    running: int
    failed: int
    created: float
    finished: float | None
    eta: float | None
    seen: float
    resumable: bool
    importance: tuple[ParameterShare, ...]

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.state in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study at one moment: what a cell keeps of it. ``trials`` are some of ``total``."""

    version: int
    total: int
    head: StudyHead
    trials: tuple[StudyTrial, ...]


def space_of(experiment: Obj) -> tuple[Parameter, ...]:
    """What is searched, as the algorithms see it; parameters that make no sense are left out."""
    found = []
    for one in (experiment.get("spec") or {}).get("parameters") or ():
        try:
            found.append(parameter(one))
        except SpaceError:
            continue
    return tuple(found)


def parameters_of(experiment: Obj) -> tuple[StudyParameter, ...]:
    """What is searched, as it is shown."""
    return tuple(
        StudyParameter(
            one.name,
            one.type,
            None if one.texts else one.low,
            None if one.texts else one.high,
            one.distribution.startswith("log"),
            one.texts,
        )
        for one in space_of(experiment)
    )


def trial_of(trial: Obj, names: Sequence[str], metrics: Sequence[str]) -> StudyTrial:
    """A Trial as it is shown, of a study with these parameters and further metrics."""
    row = studies.row_of(trial)
    record = _record(trial)
    return StudyTrial(
        name=row.name,
        number=row.number,
        state=row.state,
        values=tuple(_short(row.parameters.get(name, "")) for name in names),
        value=_finite(row.value),
        metrics=tuple(_finite(row.metrics.get(name)) for name in metrics),
        curve=_curve(trial, record),
        started=row.started,
        began=_began(trial, record),
        finished=row.finished,
        message="" if row.state in (*WAITING, RUNNING, "Succeeded") else row.message[:400],
    )


def head_of(experiment: Obj, trials: Iterable[StudyTrial], *, now: float) -> StudyHead:
    """A study's head; without importances, which :func:`weighed` adds."""
    row, spec = studies.study_row(experiment), experiment.get("spec") or {}
    objective = spec.get("objective") or {}
    best = (experiment.get("status") or {}).get("currentOptimalTrial") or {}
    parallel = int(spec.get("parallelTrialCount") or 3)
    known = list(trials)
    over = row.state in ("Succeeded", "Failed")
    return StudyHead(
        uid=row.uid,
        namespace=row.namespace,
        name=row.name,
        state=row.state,
        message=told(experiment),
        objective=row.objective,
        direction=str(objective.get("type") or "minimize"),
        goal=_finite(objective.get("goal")),
        algorithm=row.algorithm,
        parameters=parameters_of(experiment),
        metrics=tuple(str(name) for name in objective.get("additionalMetricNames") or ()),
        budget=row.budget,
        parallel=parallel,
        best=str(best.get("bestTrialName") or ""),
        done=row.done,
        running=row.running,
        failed=row.failed,
        created=row.created,
        finished=row.finished,
        eta=None if over else eta(known, row.budget, parallel, now),
        seen=now,
        resumable=over and restartable(experiment),
        importance=(),
    )


def told(experiment: Obj) -> str:
    """Why it has ended, in plain words; empty while it runs."""
    state, message = studies.state_of(experiment)
    if state not in ("Succeeded", "Failed"):
        return ""
    held = (experiment.get("status") or {}).get("conditions") or ()
    reason = next((str(one.get("reason")) for one in held if one.get("type") == state), "")
    plain = _PLAIN.get(reason) or message.removeprefix("Experiment has failed because ")
    return plain[:1].upper() + plain[1:]


def eta(trials: Sequence[StudyTrial], budget: int, parallel: int, now: float) -> float | None:
    """Seconds until the budget is used up, at the pace of the trials that have ended; None while there is no pace."""
    took = [one.finished - one.started for one in trials if one.finished and one.started and one.state == "Succeeded"]
    if not took or not budget:
        return None
    each = fmean(took)
    left = budget - sum(1 for one in trials if one.state not in (*WAITING, RUNNING))
    under_way = sum(min(now - one.started, each) for one in trials if one.state == RUNNING and one.started)
    return max(0.0, each * max(0, left) - under_way) / max(1, min(parallel, left))


def weighed(space: Sequence[Parameter], cells: Iterable[tuple[importance.Cells, float]], head: StudyHead) -> StudyHead:
    """The head with the parameters' importances, the greatest first."""
    found = importance.shares(space, list(cells), low=head.direction != "maximize")
    order = sorted(found.items(), key=lambda item: -item[1])
    return replace(head, importance=tuple(ParameterShare(name, round(share, 4)) for name, share in order))


def record(experiment: Obj, trials: Sequence[Obj], *, now: float) -> StudyRecord:
    """A whole study at this moment."""
    space = space_of(experiment)
    bare = head_of(experiment, (), now=now)
    names = [one.name for one in space]
    known = numbered([trial_of(trial, names, bare.metrics) for trial in trials])
    head = head_of(experiment, known, now=now)
    cells = [
        (found, one.value)
        for one, trial in zip(known, _ordered(trials, known), strict=True)
        if one.counts
        and one.value is not None
        and (found := importance.cells_of(space, studies.assigned(trial))) is not None
    ]
    return StudyRecord(VERSION, len(known), weighed(space, cells, head), tuple(known))


def _ordered(trials: Sequence[Obj], known: Sequence[StudyTrial]) -> list[Obj]:
    by_name = {str(meta(trial).get("name")): trial for trial in trials}
    return [by_name[one.name] for one in known]


def numbered(trials: Sequence[StudyTrial]) -> list[StudyTrial]:
    """In the order in which they were suggested. Katib itself numbers none: then by the time of their start."""
    order = sorted(trials, key=lambda one: (one.number, one.started or math.inf, one.name))
    if len(order) > 1 and not any(one.number for one in order):
        return [replace(one, number=number) for number, one in enumerate(order)]
    return order


def saved(whole: StudyRecord, most: int = MOST_SAVED) -> StudyRecord:
    """What a notebook keeps: the trials that a picture needs, without learning curves.

    Those are each that was the best so far, the newest, the last that failed, and of the others some, evenly.
    """
    trials = [replace(one, curve=()) for one in whole.trials]
    if len(trials) > most:
        low = whole.head.direction != "maximize"
        so_far, kept = math.inf, set[int]()
        for place, one in enumerate(trials):
            value = math.inf if one.value is None else one.value if low else -one.value
            if value < so_far:
                so_far = value
                kept.add(place)
        failed = [place for place, one in enumerate(trials) if one.state == "Failed"]
        kept = {*sorted(kept)[-most // 4 :], *failed[-most // 20 :], *range(len(trials) - most // 10, len(trials))}
        rest = [place for place in range(len(trials)) if place not in kept]
        room = most - len(kept)
        kept |= {rest[index * len(rest) // room] for index in range(room)}
        trials = [one for place, one in enumerate(trials) if place in kept]
    return replace(whole, trials=tuple(trials))


def _record(trial: Obj) -> Mapping[str, Any]:
    """What a trial reported, as whoever collects it wrote it down; empty where there is none."""
    text = str((meta(trial).get("annotations") or {}).get(ANNOTATION) or "")
    try:
        found = json.loads(text) if text else {}
    except ValueError:  # a record that is none
        return {}
    return found if isinstance(found, dict) else {}


def _began(trial: Obj, record: Mapping[str, Any]) -> float | None:
    """When its program began to run: as it was written down, or as long as it runs the time of that condition."""
    if (told := _finite(record.get("began"))) is not None:
        return told
    held = (trial.get("status") or {}).get("conditions") or ()
    running = (one for one in held if one.get("type") == RUNNING and one.get("status") == "True")
    return next((parse_time(one.get("lastTransitionTime")) for one in running), None)


def _curve(trial: Obj, record: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """The objective's course, thinned, with its end."""
    objective = str(((trial.get("spec") or {}).get("objective") or {}).get("objectiveMetricName") or "")
    try:
        points = record["metrics"][objective]["points"] if record else []
        pairs = [(float(place), value) for place, _, said in points if (value := _finite(said)) is not None]
    except (ValueError, KeyError, TypeError):  # a record that is none has no course
        return ()
    if len(pairs) < 2:  # noqa: PLR2004  one point is no course
        return ()
    step = max(1, math.ceil((len(pairs) - 1) / (MOST_CURVE - 1)))
    kept = pairs[:-1:step][: MOST_CURVE - 1]
    return tuple((place, float(f"{value:.6g}")) for place, value in (*kept, pairs[-1]))


def _finite(given: Any) -> float | None:
    try:
        value = float(given)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _short(text: str) -> str:
    """A number in six digits; anything else as it is."""
    if len(text) <= 8:  # noqa: PLR2004  as short as it would become
        return text
    value = _finite(text)
    return text if value is None or text.lstrip("-").isdecimal() else f"{value:.6g}"
