"""Studies: how good suggestions are and what they cost, against hyperopt and Optuna, and how soon trials run.

Regret is the noise-free value of the best observed point less the optimum, after 100 trials, over seeds that every
engine gets alike. ``KF_BENCH_SHARE`` takes a part of the seeds and of the trials; a small one only tells whether it
works. An interpreter that has Ray Tune is named by ``KF_RAY_PYTHON``; without one that peer is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Row

import jupyterlab_kf as kf
from jupyterlab_kf.suggestions.questions import ask
from jupyterlab_kf.suggestions.telling import worth_telling
from sections.log_line import _tail_delays as tail_delays

SHARE = float(os.environ.get("KF_BENCH_SHARE", "1"))
SEEDS = max(int(11 * SHARE), 2)
TRIALS = 100
NO_OPS = max(int(60 * SHARE), 10)
ALGORITHMS = ("random", "sobol", "tpe", "anneal", "bayesianoptimization", "multivariate-tpe", "cmaes")
HISTORIES = (10, 100, 1000, 10_000)
IMAGE = "plain-python"
Point = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dimension:
    """One parameter: a range, perhaps of whole numbers or on a logarithmic scale, or some words."""

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    words: tuple[str, ...] = ()

    def katib(self, name: str) -> dict[str, Any]:
        """As an Experiment says it."""
        if self.words:
            return {"name": name, "parameterType": "categorical", "feasibleSpace": {"list": list(self.words)}}
        low, high = (str(int(one)) if self.whole else repr(one) for one in (self.low, self.high))
        space = {"min": low, "max": high, "distribution": "logUniform" if self.log else "uniform"}
        return {"name": name, "parameterType": "int" if self.whole else "double", "feasibleSpace": space}

    def read(self, text: str) -> Any:
        """A value of its text."""
        return text if self.words else float(text)


@dataclass(frozen=True, slots=True)
class Problem:
    """A function to be minimised, with its least value and the deviation of the noise that is seen."""

    space: Mapping[str, Dimension]
    truth: Callable[[Point], float]
    least: float
    noise: float = 0.0


def _branin(x: Point) -> float:
    a, b = x["a"], x["b"]
    bend = b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


_WEIGHTS = (1.0, 1.2, 3.0, 3.2)
_SHAPES = (
    (10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14),
)  # fmt: skip
_CENTRES = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886), (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650), (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)  # fmt: skip


def _hartmann(x: Point) -> float:
    found = [x[f"x{place}"] for place in range(6)]
    total = 0.0
    for weight, shape, centre in zip(_WEIGHTS, _SHAPES, _CENTRES, strict=True):
        total += weight * math.exp(-sum(s * (v - c) ** 2 for s, v, c in zip(shape, found, centre, strict=True)))
    return -total


def _quadratic(x: Point) -> float:
    return sum((x[f"x{place}"] - middle) ** 2 for place, middle in enumerate((1.0, -2.0, 0.5, 3.0, -1.0)))


_BEST_RATE = {"adam": -2.5, "sgd": -1.0, "rmsprop": -3.0}
_WORSE = {"adam": 0.0, "sgd": 0.005, "rmsprop": 0.01}


def _training(x: Point) -> float:
    """The error of a network: the best rate depends on the optimiser, and so does what momentum does."""
    kind = x["optimizer"]
    momentum = (0.08 if kind == "sgd" else 0.01) * (x["momentum"] - 0.9) ** 2
    rate = 0.02 * (math.log10(x["rate"]) - _BEST_RATE[kind]) ** 2
    return _WORSE[kind] + rate + momentum + 0.002 * (x["layers"] - 4) ** 2 + 0.1 * (x["dropout"] - 0.2) ** 2


_UNIT = Dimension(0.0, 1.0)
PROBLEMS = {
    "Branin": Problem({"a": Dimension(-5.0, 10.0), "b": Dimension(0.0, 15.0)}, _branin, 0.3978873577),
    "Hartmann-6": Problem({f"x{place}": _UNIT for place in range(6)}, _hartmann, -3.3223680115),
    "noisy quadratic": Problem({f"x{place}": Dimension(-5.0, 5.0) for place in range(5)}, _quadratic, 0.0, 1.0),
    "mixed": Problem(
        {
            "rate": Dimension(1e-5, 1.0, log=True),
            "momentum": Dimension(0.0, 0.99),
            "layers": Dimension(1, 10, whole=True),
            "dropout": Dimension(0.0, 0.8),
            "optimizer": Dimension(words=("adam", "sgd", "rmsprop")),
        },
        _training,
        0.0,
        0.01,
    ),
}


class Game:
    """One engine on one problem: what it sees, and how far it is from the best at the end."""

    def __init__(self, problem: str, seed: int) -> None:
        import numpy as np

        self.problem = PROBLEMS[problem]
        self._noise = np.random.default_rng([seed, 17])
        self._best = (math.inf, math.inf)

    def play(self, point: Point) -> float:
        """What is seen at a point."""
        truth = self.problem.truth(point)
        seen = truth + self.problem.noise * float(self._noise.normal())
        self._best = min(self._best, (seen, truth))
        return seen

    @property
    def regret(self) -> float:
        """Of the point that looked best."""
        return self._best[1] - self.problem.least


def ours(algorithm: str, problem: str, seed: int, at_once: int = 1) -> float:
    """The regret of one of our algorithms, several trials at a time."""
    game = Game(problem, seed)
    space = [one.katib(name) for name, one in game.problem.space.items()]
    history: list[dict[str, Any]] = []
    while len(history) < TRIALS:
        while (waiting := at_once - sum(one["state"] == "pending" for one in history)) > 0:
            found = ask(_question(algorithm, space, history, seed, waiting))["suggestions"]
            for one in found:
                history.append({"name": str(len(history)), "state": "pending", "value": None, **one})
        one = next(one for one in history if one["state"] == "pending")
        point = {name: kind.read(one["assignments"][name]) for name, kind in game.problem.space.items()}
        one |= {"state": "done", "value": game.play(point)}
    return game.regret


def _question(
    algorithm: str, space: list[dict[str, Any]], history: list[dict[str, Any]], seed: int, count: int = 1
) -> dict[str, Any]:
    asked = {"algorithm": algorithm, "settings": {}, "parameters": space, "objective": "minimize", "seed": seed}
    return {**asked, "count": count, "history": history, "max": None}


def hyperopt_tpe(problem: str, seed: int) -> float:
    """hyperopt, used as its documentation uses it."""
    import numpy as np
    from hyperopt import fmin, tpe

    game = Game(problem, seed)
    space, rstate = _hyperopt_space(game.problem), np.random.default_rng(seed)
    fmin(game.play, space, tpe.suggest, TRIALS, rstate=rstate, show_progressbar=False, verbose=False)
    return game.regret


def _hyperopt_space(problem: Problem) -> dict[str, Any]:
    from hyperopt import hp

    space = {}
    for name, one in problem.space.items():
        if one.words:
            space[name] = hp.choice(name, one.words)
        elif one.log:
            space[name] = hp.loguniform(name, math.log(one.low), math.log(one.high))
        elif one.whole:
            space[name] = hp.quniform(name, one.low, one.high, 1)
        else:
            space[name] = hp.uniform(name, one.low, one.high)
    return space


def optuna_tpe(problem: str, seed: int) -> float:
    """Optuna, used as its documentation uses it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    game = Game(problem, seed)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(lambda trial: game.play(_optuna_point(game.problem, trial)), TRIALS)
    return game.regret


def _optuna_point(problem: Problem, trial: Any) -> Point:
    point = {}
    for name, one in problem.space.items():
        if one.words:
            point[name] = trial.suggest_categorical(name, one.words)
        elif one.whole:
            point[name] = trial.suggest_int(name, int(one.low), int(one.high))
        else:
            point[name] = trial.suggest_float(name, one.low, one.high, log=one.log)
    return point


MOST_EPOCHS = 27
EPOCHS = 20 * MOST_EPOCHS


class Course(Game):
    """The mixed problem with epochs: an error that falls as they pass, sooner where the rate is greater."""

    def __init__(self, seed: int) -> None:
        super().__init__("mixed", seed)
        self.spent = 0
        self._shown = (0, math.inf, math.inf)

    def after(self, point: Point, epochs: int) -> float:
        """What is seen after so many epochs."""
        truth = self.problem.truth(point)
        left = 0.3 * math.exp(-epochs / (4 - math.log10(point["rate"])))
        seen = truth + left + 0.002 * float(self._noise.normal())
        self._shown = min(self._shown, (-epochs, seen, truth))
        return seen

    @property
    def regret(self) -> float:
        """Of the point that looked best of those with most epochs."""
        return self._shown[2] - self.problem.least


def ours_by_epochs(algorithm: str, seed: int) -> float:
    """The regret of hyperband, ASHA, or of an algorithm that gives each trial all epochs; each trial begins anew."""
    game = Course(seed)
    space = [one.katib(name) for name, one in game.problem.space.items()]
    settings: dict[str, str] = {}
    if algorithm in ("hyperband", "asha"):
        space.append(Dimension(1, MOST_EPOCHS, whole=True).katib("epochs"))
        settings = {"resource_name": "epochs", "r_l": str(MOST_EPOCHS), "eta": "3"}
    history: list[dict[str, Any]] = []
    while game.spent < EPOCHS:
        (one,) = ask({**_question(algorithm, space, history, seed), "settings": settings})["suggestions"]
        point = {name: kind.read(one["assignments"][name]) for name, kind in game.problem.space.items()}
        epochs = int(one["assignments"].get("epochs", MOST_EPOCHS))
        game.spent += epochs
        history.append({"name": str(len(history)), "state": "done", "value": game.after(point, epochs), **one})
    return game.regret


def optuna_by_epochs(sampler: str, seed: int) -> float:
    """Optuna's Hyperband, which prunes a trial where it stands and so pays no epoch twice."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    game = Course(seed)
    pruner = optuna.pruners.HyperbandPruner(1, MOST_EPOCHS, 3)
    study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed), pruner=pruner)

    def trial(asked: Any) -> float:
        point, seen = _optuna_point(game.problem, asked), math.inf
        for epoch in range(1, MOST_EPOCHS + 1):
            seen = game.after(point, epoch)
            game.spent += 1
            asked.report(seen, epoch)
            if asked.should_prune():
                raise optuna.TrialPruned
        return seen

    while game.spent < EPOCHS:
        study.optimize(trial, 1)
    return game.regret


def epochs() -> Iterator[Row]:
    """Hyperband and ASHA with the epochs of 20 whole trials, beside random trials and Optuna's Hyperband."""
    seeds = range(SEEDS * 3)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        peer, model = (
            list(pool.map(optuna_by_epochs, [name] * len(seeds), seeds)) for name in ("RandomSampler", "TPESampler")
        )
        said, told = "regret, epochs of 20 whole trials", "Optuna's Hyperband, random"
        yield Row(f"{said}: Optuna's Hyperband, TPE", model, peer, told, unit="")
        for name in ("random", "hyperband", "asha", "tpe", "bayesianoptimization"):
            found = list(pool.map(ours_by_epochs, [name] * len(seeds), seeds))
            yield Row(f"{said}: {name}", found, peer, told, unit="")


def studies() -> Iterator[Row]:
    """All of it."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of the processes below; the suggestion service has it, too
    yield from regret()
    yield from epochs()
    yield from suggesting()
    yield from running()
    yield from plotting()


def regret() -> Iterator[Row]:
    """Every algorithm on every problem, beside Optuna's TPE; hyperopt's own TPE is one of them."""
    from scipy.stats import mannwhitneyu

    seeds = range(SEEDS)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for problem in PROBLEMS:
            peers = {
                peer.__name__: [pool.submit(peer, problem, seed) for seed in seeds]
                for peer in (hyperopt_tpe, optuna_tpe)
            }
            mine = {
                (name, at_once): [pool.submit(ours, name, problem, seed, at_once) for seed in seeds]
                for name, at_once in [*((name, 1) for name in ALGORITHMS), ("bayesianoptimization", 8), ("tpe", 8)]
            }
            theirs = {name: [one.result() for one in futures] for name, futures in peers.items()}
            peer = theirs["optuna_tpe"]
            yield Row(f"regret, {problem}: hyperopt's TPE", theirs["hyperopt_tpe"], peer, "Optuna's TPE", unit="")
            for (name, at_once), futures in mine.items():
                found = [one.result() for one in futures]
                worse = [mannwhitneyu(found, other, alternative="greater").pvalue for other in theirs.values()]
                said = f"regret, {problem}: {name}" + (f", {at_once} at a time" if at_once > 1 else "")
                goal = f"not worse; p against hyperopt {worse[0]:.2f}, Optuna {worse[1]:.2f}"
                yield Row(said, found, peer, "Optuna's TPE", goal, "")


def suggesting() -> Iterator[Row]:
    """CPU milliseconds of one suggestion, reading the question and writing the answer included."""
    with contextlib.ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
        for count in HISTORIES:
            peers = {peer.__name__: pool.submit(peer, count).result() for peer in (hyperopt_cost, optuna_cost)}
            for name in ("tpe", "bayesianoptimization", "multivariate-tpe"):
                found = pool.submit(our_cost, name, count).result()
                peer = "optuna_cost" if name == "multivariate-tpe" else "hyperopt_cost"
                goal = "<= 20 ms" if name == "tpe" else "<= 120 ms" if name == "bayesianoptimization" else ""
                told = "Optuna's TPE" if peer == "optuna_cost" else "hyperopt's TPE"
                yield Row(f"a suggestion after {count} trials: {name}", found, peers[peer], told, goal, "ms CPU")


def _played(count: int) -> list[tuple[dict[str, str], float]]:
    """A history at random points of the mixed problem."""
    problem = PROBLEMS["mixed"]
    space = [one.katib(name) for name, one in problem.space.items()]
    asked = (_question("random", space, [], seed) for seed in range(count))
    points = [ask(one)["suggestions"][0]["assignments"] for one in asked]
    read = [{name: one.read(point[name]) for name, one in problem.space.items()} for point in points]
    return [(point, problem.truth(values)) for point, values in zip(points, read, strict=True)]


def _cost(action: Callable[[int], object], runs: int = 5) -> list[float]:
    action(0)
    found = []
    for number in range(runs):
        start = time.process_time()
        action(number + 1)
        found.append((time.process_time() - start) * 1000)
    return found


def our_cost(algorithm: str, count: int) -> list[float]:
    """Ours, as the worker is asked: a line in with what must be told, a line out."""
    space = [one.katib(name) for name, one in PROBLEMS["mixed"].space.items()]
    history = [
        {"name": str(number), "assignments": point, "labels": {}, "state": "done", "value": value}
        for number, (point, value) in enumerate(_played(count))
    ]
    told = worth_telling(algorithm, space, [("done", one["value"]) for one in history], 1.0)
    asked = [_question(algorithm, space, [history[place] for place in told], seed) for seed in range(6)]
    lines = [json.dumps({**one, "before": len(history) - len(told)}) for one in asked]
    return _cost(lambda number: json.dumps(ask(json.loads(lines[number]))))


def hyperopt_cost(count: int) -> list[float]:
    """hyperopt, whose trials stay in memory."""
    from hyperopt import Trials, tpe
    from hyperopt.base import Domain

    problem = PROBLEMS["mixed"]
    domain, trials = Domain(lambda _: 0.0, _hyperopt_space(problem)), Trials()
    documents = []
    for number, (point, value) in enumerate(_played(count)):
        values = {
            name: one.words.index(point[name]) if one.words else one.read(point[name])
            for name, one in problem.space.items()
        }
        places = {name: [number] for name in values}
        misc = {"tid": number, "cmd": None, "idxs": places, "vals": {name: [v] for name, v in values.items()}}
        more = {"owner": None, "book_time": None, "refresh_time": None, "exp_key": None, "version": 0, "spec": None}
        documents.append({"tid": number, "result": {"status": "ok", "loss": value}, "misc": misc, "state": 2, **more})
    trials.insert_trial_docs(documents)
    trials.refresh()
    return _cost(lambda number: tpe.suggest([count + number], domain, trials, number))


def optuna_cost(count: int) -> list[float]:
    """Optuna, whose trials stay in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem = PROBLEMS["mixed"]
    d = optuna.distributions
    space = {
        name: d.CategoricalDistribution(one.words)
        if one.words
        else d.IntDistribution(int(one.low), int(one.high))
        if one.whole
        else d.FloatDistribution(one.low, one.high, log=one.log)
        for name, one in problem.space.items()
    }
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    made = [
        optuna.trial.create_trial(
            params={
                name: int(point[name]) if one.whole else one.read(point[name]) for name, one in problem.space.items()
            },
            distributions=space,
            value=value,
        )
        for point, value in _played(count)
    ]
    study.add_trials(made)
    return _cost(lambda _: study.ask(space))


NO_OP = "import time\nx = uniform(0, 1)\nprint(f'loss={x} first={time.time()}', flush=True)\n"
PEER = "import sys; print(f'loss={float(sys.argv[1])}')"


def running() -> Iterator[Row]:
    """Trials that do nothing, two at a time: how many in a minute, and how soon the first begins."""
    ours_, first = zip(*(_no_ops() for _ in range(2)), strict=True)
    rates = [_optuna_processes() for _ in range(2)]
    yield Row("trials a minute, 2 at a time, no-op", list(ours_), rates, "Optuna with subprocesses", "", "a minute")
    if python := os.environ.get("KF_RAY_PYTHON"):
        program = Path(__file__).with_name("studies_ray.py")
        done = subprocess.run([python, str(program), str(NO_OPS)], check=True, capture_output=True, text=True)
        yield Row("the same", list(ours_), [float(done.stdout.split()[-1])], "Ray Tune", "", "a minute")
    yield Row("submit to the first trial's first line", list(first), [], "", "<= 0.3 s more than a process")


def _no_ops() -> tuple[float, float]:
    """Trials a minute; seconds from submit to the first line of the first trial."""
    begin, clock = time.time(), time.monotonic()
    study = kf.tune(NO_OP, name=f"no-op-{uuid.uuid4().hex[:6]}", algorithm="random", trials=NO_OPS, metrics=["first"],
                    image=IMAGE, cpu="100m")  # fmt: skip
    study.wait(timeout=600)
    took = time.monotonic() - clock
    first = min(float(row.metrics["first"]) for row in study.trials)
    study.delete()
    return NO_OPS / took * 60, first - begin


def _optuna_processes() -> float:
    """The peer: two threads, each of which starts a process for its trial and reads what it prints."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def trial(asked: Any) -> float:
        command = [sys.executable, "-c", PEER, str(asked.suggest_float("x", 0, 1))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout.partition("=")[2])

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    clock = time.monotonic()
    study.optimize(trial, NO_OPS, n_jobs=2)
    return NO_OPS / (time.monotonic() - clock) * 60


POINTS = 20
CURVE = (
    "import time\nx = uniform(0, 1)\n"
    f"for step in range({POINTS}):\n    print(f'loss={{time.time() % 1000}}', flush=True)\n    time.sleep(0.5)\n"
)


def plotting() -> Iterator[Row]:
    """From a printed metric to the point of the curve that the server sends to whoever looks at the study."""
    study = kf.tune(CURVE, name="curve", trials=1, parallel=1, image=IMAGE, cpu="100m")
    delays = asyncio.run(_points("curve", study.namespace))
    study.wait(timeout=60)
    study.delete()
    code = "import time\nfor _ in range(20):\n    print('at', time.time(), flush=True)\n    time.sleep(0.1)\n"
    yield Row("metric line to the point of a curve", delays, tail_delays(code), "tail -f", "<= 500 ms", "ms")


async def _points(name: str, space: str) -> list[float]:
    """Milliseconds from each print, whose value is its time, until the feed of the study's view has the point."""
    from jupyterlab_kf.services.studyfeed import StudyFeeds, StudyKey

    found: dict[float, float] = {}
    async with _client() as client:

        async def connected() -> Any:
            return client

        feeds = StudyFeeds(connected)

        def take() -> None:
            now = time.time()
            for _, trial in feed.since(0):
                for _, value in trial.curve:  # six digits of a number below 1000 tell milliseconds
                    found.setdefault(value, (now - value) % 1000 * 1000)

            if len(found) >= POINTS:
                complete.set()

        complete = asyncio.Event()
        feed, _ = feeds.look(StudyKey(space, name), take)
        try:
            await asyncio.wait_for(complete.wait(), 60)
        finally:
            await feeds.stop()
    return list(found.values())[2:]


@contextlib.asynccontextmanager
async def _client() -> AsyncIterator[Any]:
    from jupyterlab_kf.cluster import connection
    from jupyterlab_kf.cluster.client import Client
    from jupyterlab_kf.settings import load

    options = load()
    client = Client(connection.open_connection(connection.choose(options), options))
    try:
        yield client
    finally:
        await client.close()


__all__ = ["studies"]
