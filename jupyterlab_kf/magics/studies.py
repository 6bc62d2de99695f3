"""The words of ``%%kf_tune`` and ``jupyter kf tune``, and a study as it is shown. Knows no IPython."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.magics.arguments import Parser, split

if TYPE_CHECKING:
    from jupyterlab_kf import Study
    from jupyterlab_kf.services.designs import StudyRequest
    from jupyterlab_kf.widgets.rendered import Rendered

HELP: Final = """\
Search for the parameters with which this cell does best.

    %%kf_tune loss --trials 20
    lr = loguniform(1e-4, 1e-1)
    units = integer(16, 256)
    optimizer = choice("adam", "sgd")
    ...
    print(f"loss={loss}")

Assignments of uniform, loguniform, normal, lognormal, integer and choice at the top of the cell are the search space;
each trial runs the cell with values in their place. Interrupt the kernel to detach: the study goes on.
"""


def tune_parser(prog: str, *, file: bool = False) -> Parser:
    """The options of a study."""
    parser = Parser(prog, description=None if file else HELP)
    if file:
        parser.add_argument("code", metavar="FILE", help="the Python script whose parameters are tuned")
    parser.add_argument("objective", metavar="METRIC", nargs="?", default="loss", help="what counts; default loss")
    parser.add_argument("--maximize", action="store_true", help="more of it is better; less is, when left out")
    parser.add_argument("--trials", type=int, metavar="N", help="trials at most; default 20")
    parser.add_argument("--parallel", type=int, metavar="N", help="trials at the same time; default 2")
    parser.add_argument("--algorithm", metavar="NAME", help="random, grid, sobol, tpe, bayesianoptimization and others")
    parser.add_argument("--set", nargs="+", metavar="KEY=VALUE", default=[], help="settings of the algorithm")
    parser.add_argument("--goal", type=float, metavar="VALUE", help="end when the metric reaches this")
    parser.add_argument("--max-failed", type=int, metavar="N", help="failed trials that end the study")
    parser.add_argument("--metric", nargs="+", metavar="NAME", default=[], help="further metrics to keep")
    parser.add_argument("--stop-early", action="store_true", help="end trials that are behind the median of others")
    parser.add_argument("--framework", metavar="NAME", help="pytorch, tensorflow or mpi: each trial is such a job")
    parser.add_argument("--workers", type=int, metavar="N", help="replicas that train, with a framework")
    parser.add_argument("--name", metavar="NAME", help="the study's name")
    parser.add_argument("--namespace", metavar="NS", help="where it goes")
    parser.add_argument("--profile", metavar="NAME", help="hardware by name; what is said beside it wins")
    parser.add_argument("--cpu", metavar="N", help="CPUs of each replica")
    parser.add_argument("--memory", metavar="SIZE", help="memory of each replica")
    parser.add_argument("--gpu", type=int, metavar="N", help="GPUs of each replica")
    parser.add_argument("--image", metavar="IMAGE", help="the container image")
    parser.add_argument(
        "--install", nargs="*", metavar="PACKAGE",
        help="each trial installs what the image lacks: these, such as NAME==1.2; without, what the code imports",
    )  # fmt: skip
    parser.add_argument("--deadline", type=int, metavar="SECONDS", help="seconds after which a trial fails")
    parser.add_argument("--detach", action="store_true", help="do not wait")
    parser.add_argument("--dry-run", action="store_true", help="show the manifest and what would be made; make nothing")
    if not file:
        parser.add_argument("--into", metavar="VAR", help="put the study into this variable")
    return parser


FORM_HELP: Final = """\
Set up a study of this cell in a form. The words are those of %%kf_tune, and fill the form.

    %%kf_study accuracy --maximize
    lr = 0.1
    ...
    print(f"accuracy={accuracy}")
"""


def form_parser(prog: str) -> Parser:
    """``kf_study``: the words of a study, above a cell."""
    parser = tune_parser(prog)
    parser.description = FORM_HELP
    return parser


VERBS: Final = ("show", "stop", "stop-trial", "resume", "extend", "clone")
VERBS_HELP: Final = """\
Look at a study, or change it. Above a cell: its form (%%kf_study --help).

    %kf_study show bowl
    %kf_study stop-trial bowl 7       end one trial; the study goes on
    %kf_study stop bowl               end it and what runs of it
    %kf_study resume bowl             let it go on; --trials for a greater budget
    %kf_study extend bowl --trials 50
    %kf_study clone bowl              its form with its settings, in a new cell
"""


def verbs_parser(prog: str) -> Parser:
    """``kf_study`` on a line, and ``jupyter kf study``: what is done with a study that is there."""
    parser = Parser(prog, description=VERBS_HELP if prog.startswith("%") else "Look at a study, or change it.")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help=", ".join(VERBS))
    parser.add_argument("name", metavar="NAME", help="the study")
    parser.add_argument("trial", nargs="*", metavar="TRIAL", help="with stop-trial: the trials' numbers or names")
    parser.add_argument("--trials", type=int, metavar="N", help="with extend and resume: its budget in all")
    parser.add_argument("-n", "--namespace", metavar="NS", help="where it is; the connection's own when left out")
    return parser


def deed(options: argparse.Namespace) -> tuple[Rendered, str]:
    """Do what the options say: what there is to show, and the code of a new cell, empty but for ``clone``."""
    import jupyterlab_kf as kf

    if bool(options.trial) != (options.verb == "stop-trial"):
        raise UsageError("trials go with stop-trial, and stop-trial needs some", hint="kf_study stop-trial NAME 7 8")
    if options.trials is not None and options.verb not in ("extend", "resume"):
        raise UsageError("--trials goes with extend and resume")
    study = kf.study(options.name, options.namespace)
    match options.verb:
        case "stop":
            study.stop()
        case "stop-trial":
            for trial in options.trial:
                study.stop_trial(trial)
        case "resume":
            study.resume(options.trials)
        case "extend":
            if options.trials is None:
                raise UsageError("how many trials?", hint=f"kf_study extend {options.name} --trials 50")
            study.extend(options.trials)
        case "clone":
            return card(study), study.form()
    return card(study), ""


def read_cell(cell: str, before: StudyRequest) -> StudyRequest:
    """The request that ``%%kf_tune`` and a cell make; what no word says stays as it was before.

    Raises:
        UsageError: it is no such cell, or a word of it makes no sense.
    """
    line, _, code = cell.partition("\n")
    word, _, rest = line.partition(" ")
    if word != "%%kf_tune":
        raise UsageError("the cell must begin with %%kf_tune", hint="for example %%kf_tune loss --trials 20")
    options = tune_parser("%%kf_tune").parse_args(split(rest))
    kept = {key: getattr(before, key) for key in ("env", "params", "files", "filename", "first_line", "root")}
    return type(before)(code, **kept, **tune_arguments(options))


_SAME: Final = (
    "trials", "parallel", "algorithm", "goal", "max_failed", "framework", "workers", "name", "namespace", "profile",
    "cpu", "memory", "gpu", "image", "deadline",
)  # fmt: skip


def tune_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of ``jupyterlab_kf.tune`` for parsed options."""
    found: dict[str, Any] = {key: getattr(options, key) for key in _SAME if getattr(options, key) is not None}
    settings = {}
    for word in options.set:
        key, sign, value = word.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {word}: write KEY=VALUE", hint="for example --set random_state=1")
        settings[key] = value
    if getattr(options, "into", None) and not options.into.isidentifier():
        raise UsageError(f"--into {options.into}: not a name for a variable")
    if options.install is not None:
        found["install"] = options.install or True
    return {
        **found,
        "objective": options.objective,
        "direction": "maximize" if options.maximize else "minimize",
        "settings": settings,
        "metrics": options.metric,
        "stop_early": options.stop_early,
    }


def card(study: Study) -> Rendered:
    """A study as it is now."""
    from jupyterlab_kf.widgets.studies import study_card

    return study_card(study.record())
