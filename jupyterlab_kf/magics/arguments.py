"""The words after a magic or a command: one table of options, typed, with errors that name the nearest real one.

The magics and ``jupyter kf`` share these parsers, so that a line can be moved from one to the other. Raises
:class:`~jupyterlab_kf.errors.UsageError` and nothing else; never ends the process. Refuses abbreviations: what works
today must not become ambiguous by an option that is added tomorrow.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from jupyterlab_kf import quantities
from jupyterlab_kf.errors import UsageError

FRAMEWORKS: Final = "pytorch, tensorflow, mpi, mxnet, chainer"
ROLES: Final = ("chief", "master", "ps", "worker", "evaluator", "server", "scheduler", "launcher")
_VARIABLE: Final = re.compile(r"\{([A-Za-z_]\w*)\}")


class HelpShownError(Exception):
    """``--help`` was given and answered; there is nothing more to do."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises and suggests."""

    def __init__(self, prog: str, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog=prog, allow_abbrev=False, **options)

    def parse_known_args(  # type: ignore[override]  # the overloads only differ in the namespace's type
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As the base class, but what is left over is an error."""
        parsed, extra = super().parse_known_args(args, namespace)
        if extra:
            raise self._unknown(extra[0])
        return parsed, []

    def _unknown(self, word: str) -> UsageError:
        if not word.startswith("-"):
            return UsageError(f"{self.prog} does not expect {word!r}", hint=f"{self.prog} --help explains its options")
        flag, known = word.split("=", 1)[0], self.flags()
        return UsageError(f"{self.prog} has no option {flag!r}", hint=_suggest(flag, known))

    def flags(self) -> list[str]:
        """The long options, and the short ones that have no long form."""
        found: list[str] = []
        for action in self._actions:
            long = [name for name in action.option_strings if name.startswith("--")]
            found += long or list(action.option_strings)
        return found

    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the process."""
        choice = re.fullmatch(r"(\w+): invalid choice: '(.*)' \(choose from (.*)\)", message.removeprefix("argument "))
        if choice:
            known = re.findall(r"[\w-]+", choice[3])
            raise UsageError(f"{self.prog} has no {choice[1].lower()} {choice[2]!r}", hint=_suggest(choice[2], known))
        text = re.sub(r"^argument (?:-\w/)?(\S+): ", r"\1: ", message)
        raise UsageError(f"{self.prog}: {text}", hint=f"{self.prog} --help explains its options")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Reached after ``--help`` only."""
        raise HelpShownError(message or str(status))


def _suggest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def split(line: str, variables: Mapping[str, Any] | None = None) -> list[str]:
    """The words of a line as a shell would split them; ``{name}`` is replaced by a variable of that name.

    Nothing else is expanded: ``$`` and back-quotes stay as they are.
    """
    known = variables or {}

    def value(match: re.Match[str]) -> str:
        return str(known[match[1]]) if match[1] in known else match[0]

    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"cannot read {line!r}: {str(error).lower()}", hint="close the quotation mark") from error
    return [_VARIABLE.sub(value, word) for word in words]


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def seconds(text: str) -> float:
    """A time: a number of seconds, or with a unit (``90``, ``90s``, ``5m``, ``2h``)."""
    try:
        return quantities.seconds(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from None


def whole_seconds(text: str) -> int:
    """The same in whole seconds, as Kubernetes counts them."""
    return round(seconds(text))


def pair(text: str) -> tuple[str, str]:
    """``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def interval(text: str) -> tuple[int, int]:
    """``MIN:MAX``."""
    low, colon, high = text.partition(":")
    if not (colon and low.isdigit() and high.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form MIN:MAX, such as 2:4")
    return int(low), int(high)


def commas(text: str) -> list[str]:
    """``a.py,data/`` as its parts."""
    return [part for part in text.split(",") if part]


def train_parser(prog: str, *, code: str = "") -> Parser:
    """The options of a training job.

    Args:
        prog: how the help calls it.
        code: ``required`` for a command that takes a file, ``optional`` for a magic whose code may be the cell.
    """
    parser = Parser(prog, description=TRAIN_HELP if code != "required" else None)
    if code == "required":
        parser.add_argument("code", metavar="FILE", help="the Python script or notebook that every replica runs")
    parser.add_argument("framework", metavar="FRAMEWORK", nargs="?", help=FRAMEWORKS)
    if code == "optional":
        parser.add_argument(
            "code", metavar="CODE", nargs="?", help="on a line of its own: a script, a notebook or a function"
        )
    _replicas(parser.add_argument_group("replicas"))
    _resources(parser.add_argument_group("what each replica gets"))
    _delivery(parser.add_argument_group("what travels with the code"))
    job = parser.add_argument_group("the job")
    _policy(job)
    if code != "required":
        job.add_argument("--into", metavar="VAR", help="put the job into this variable")
        job.add_argument(
            "--filename", metavar="FILE",
            help="whose code the cell has, as tracebacks name it; a notebook's cells are marked by # %%%% cell 1",
        )  # fmt: skip
    return parser


TRAIN_HELP: Final = """\
Run this cell as a distributed training job: every replica runs the cell, as it is.

    %%kf_train pytorch -n 2
    %%kf_train tensorflow --chief 1 --ps 1 --worker 2
    %%kf_train mpi -n 4 --param epochs lr=0.1 --output results

The cell shows the job live until it is finished. Interrupt the kernel to detach: the job goes on.
The job is then in `_`, or in the variable named by --into. A word `{name}` is replaced by a variable's value.
"""


def _replicas(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-n", "--workers", type=whole, metavar="N", help="how many replicas train (default 1)")
    for role in ROLES:
        group.add_argument(f"--{role}", type=whole, metavar="N", help=f"replicas of the role {role}")
    group.add_argument("--nproc", type=whole, default=1, metavar="N", help="processes in each replica (default 1)")
    group.add_argument("--elastic", type=interval, metavar="MIN:MAX", help="PyTorch: go on with fewer or more workers")


def _resources(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--profile", metavar="NAME", help="hardware by name; what is said beside it wins")
    group.add_argument("--cpu", metavar="N", help="CPUs, such as 2 or 500m")
    group.add_argument("--memory", metavar="SIZE", help="memory, such as 4Gi")
    group.add_argument("--gpu", type=whole, metavar="N", help="GPUs")
    group.add_argument(
        "--image", metavar="IMAGE", help="the container image (default: the profile's, else the framework's)"
    )


def _delivery(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--param", nargs="+", action="extend", default=[], metavar="NAME",
        help="notebook variables by name, or NAME=VALUE with a Python literal; plain data only",
    )  # fmt: skip
    group.add_argument(
        "--env", nargs="+", action="extend", type=pair, default=[], metavar="K=V", help="environment variables"
    )
    group.add_argument(
        "--files",
        nargs="+",
        action="extend",
        type=commas,
        default=[],
        metavar="PATH",
        help="a.csv,lib/",
    )
    group.add_argument(
        "--install", nargs="*", metavar="PACKAGE",
        help="install at start what the image lacks: these, such as NAME==1.2; without, what the code imports",
    )  # fmt: skip
    group.add_argument("--output", metavar="DIR", help="what replicas write to $KF_OUTPUT is brought back to DIR")
    group.add_argument(
        "--volume", action="append", default=[], metavar="CLAIM",
        help="mount a volume claim: CLAIM, CLAIM:/PATH or CLAIM:/PATH:ro; the path is in $KF_VOLUME_CLAIM",
    )  # fmt: skip
    group.add_argument(
        "--args", nargs=argparse.REMAINDER, default=[], metavar="...", help="the rest of the line goes to the program"
    )


def _policy(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--name", help="the job's name (default: made from the framework)")
    group.add_argument("--namespace", metavar="NS", help="the namespace to work in")
    group.add_argument("--replace", action="store_true", help="delete a job of that name first")
    group.add_argument("--restart", metavar="POLICY", help="Never, OnFailure, Always or ExitCode")
    group.add_argument("--retries", type=whole, metavar="N", help="restarts before it fails (default 0)")
    group.add_argument("--deadline", type=whole_seconds, metavar="TIME", help="longest run, such as 90s, 20m or 2h")
    group.add_argument("--ttl", type=whole_seconds, metavar="TIME", help="delete the job this long after its end")
    group.add_argument(
        "--clean", default="Running", metavar="WHICH", help="pods deleted at the end: Running (default), All or None"
    )
    group.add_argument("--detach", action="store_true", help="do not wait; show it later with %%kf_wait")
    group.add_argument("--dry-run", action="store_true", help="show the manifest and what would be made; make nothing")


def train_arguments(options: argparse.Namespace, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keyword arguments of ``jupyterlab_kf.train`` and ``plan`` for parsed options.

    Args:
        options: what :func:`train_parser` gave.
        variables: the notebook's, for ``--param NAME``; None where there are none.
    """
    if not options.framework:
        raise UsageError(
            "which framework should train it?", hint=f"the frameworks are {FRAMEWORKS}; for example pytorch -n 2"
        )
    roles = {role: getattr(options, role) for role in ROLES if getattr(options, role) is not None}
    files = [path for group in options.files for path in group]
    found: dict[str, Any] = {
        "framework": options.framework,
        "workers": options.workers,
        "replicas": roles or None,
        "env": dict(options.env) or None,
        "params": params(options.param, variables) or None,
        "files": files,
        "volumes": options.volume,
        "args": options.args,
        "install": False if options.install is None else options.install or True,
    }
    same = ("name", "namespace", "cpu", "memory", "gpu", "profile", "nproc", "image", "output")
    found |= {
        key: getattr(options, key)
        for key in (*same, "replace", "restart", "retries", "deadline", "ttl", "clean", "elastic")
    }
    return found


def cell_arguments(options: argparse.Namespace, name: str, first_line: int) -> dict[str, Any]:
    """What tracebacks call the code of a cell: by the name that was given, else by the cell's own and its lines."""
    return {"filename": options.filename} if options.filename else {"filename": name, "first_line": first_line}


def params(words: Sequence[str], variables: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters: ``name`` takes the notebook's variable, ``name=text`` the literal, or the text if it is none."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not name.isidentifier():
            raise UsageError(f"--param: {name!r} is not a name", hint="write --param lr, or --param lr=0.1")
        if equals:
            found[name] = _literal(text)
        elif variables is None:
            raise UsageError(f"--param {name} has no value", hint=f"write --param {name}=VALUE")
        elif name not in variables:
            raise UsageError(
                f"--param {name}: the notebook has no variable {name!r}",
                hint=f"run the cell that sets it, or write --param {name}=VALUE",
            )
        else:
            found[name] = variables[name]
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def named_parser(prog: str, description: str, *, names: str = "") -> Parser:
    """The start of every parser about existing jobs: NAME (``names`` may be ``+`` or ``*``) and --namespace."""
    parser = Parser(prog, description=description)
    if names:
        parser.add_argument("names", metavar="NAME", nargs=names, help="names of jobs")
    else:
        parser.add_argument("name", metavar="NAME", help="the job's name")
    add_namespace(parser)
    return parser


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """``-n/--namespace``, as kubectl has it."""
    parser.add_argument("-n", "--namespace", metavar="NS", help="the namespace to look in")


def jobs_parser(prog: str) -> Parser:
    """``kf_jobs``."""
    parser = Parser(prog, description="List the training jobs of a namespace, however they were started.")
    add_namespace(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of every namespace")
    return parser


def logs_parser(prog: str) -> Parser:
    """``kf_logs``."""
    parser = named_parser(prog, "Print what a job's replicas printed.")
    parser.add_argument("--replica", help="one replica only, such as worker-1")
    parser.add_argument("--rank", type=whole, metavar="N", help="one rank only")
    parser.add_argument("--tail", type=whole, metavar="N", help="only the last lines of each replica")
    parser.add_argument("--since", type=whole_seconds, metavar="TIME", help="only lines of the last seconds, or 5m, 2h")
    parser.add_argument("--timestamps", action="store_true", help="with the time of each line")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job is finished")
    return parser


def describe_parser(prog: str) -> Parser:
    """``kf_describe``."""
    return named_parser(prog, "Show a job with its replicas, conditions and events, and why it waits or failed.")


def wait_parser(prog: str) -> Parser:
    """``kf_wait``."""
    parser = named_parser(prog, "Show a job live until it is finished; an error if it fails.")
    parser.add_argument("--timeout", type=seconds, metavar="TIME", help="give up after this time; the job goes on")
    return parser


def delete_parser(prog: str) -> Parser:
    """``kf_delete``."""
    parser = named_parser(prog, "Delete jobs with everything that was made for them.", names="*")
    parser.add_argument("--all", action="store_true", help="every training job of the namespace")
    return parser


CLUSTER_ACTIONS: Final = ("status", "start", "stop", "use")


def cluster_parser(prog: str) -> Parser:
    """``kf_cluster``."""
    parser = Parser(prog, description="Look at the cluster; start or stop the one on this machine; choose another.")
    parser.add_argument("action", nargs="?", default="status", metavar="ACTION", help=", ".join(CLUSTER_ACTIONS))
    parser.add_argument("context", nargs="?", metavar="CONTEXT", help="for use: a kubeconfig context, or embedded")
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="for use: where to work there")
    return parser


def doctor_parser(prog: str) -> Parser:
    """``kf_doctor``."""
    parser = Parser(prog, description="Say what the cluster has and lacks for each feature, and how to get it.")
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="where you work; by default where jobs go")
    return parser
