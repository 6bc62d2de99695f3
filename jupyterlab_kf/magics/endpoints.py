"""The words of the serving magics and of ``jupyter kf serve``, and endpoints as they are shown. Knows no IPython."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.magics.arguments import Parser, add_namespace, commas, pair, params, seconds, whole

if TYPE_CHECKING:
    from jupyterlab_kf import Endpoint
    from jupyterlab_kf.widgets.rendered import Rendered

HELP: Final = """\
Serve a model: a variable with a fitted estimator or a class, a saved model's path, or this cell's class.

    %kf_serve model --name iris
    %kf_serve model --name iris --canary 10
    %kf_serve models/digits.onnx --name digits --replicas 2
    %kf_serve --name iris --graph chain(scale, combine(forest, boost, by=majority))
    %%kf_serve --name doubler
    class Doubler:
        def predict(self, X, names):
            return 2 * X

The same name again adds a version, which gets its requests once it is ready. The endpoint is then in `_`, or in the
variable named by --into. Interrupt the kernel to detach.
"""


TERMINAL_HELP: Final = """\
Serve a saved model, a script's class, or the model in a job's results.

    jupyter kf serve model.joblib --name iris
    jupyter kf serve job/digits --name digits --canary 10
    jupyter kf serve --name iris --graph "chain('scale.py', 'model.joblib')"

The same name again adds a version, which gets its requests once it is ready. Interrupt it to detach.
"""


OFF: Final = "off"


def serve_parser(prog: str, *, terminal: bool = False) -> Parser:
    """The options of ``kf_serve``, or of ``jupyter kf serve``."""
    parser = Parser(prog, description=TERMINAL_HELP if terminal else HELP)
    what = "a path, or job/NAME" if terminal else "a variable, a path, or nothing above a cell's class"
    parser.add_argument("model", metavar="MODEL", nargs="?", help=what)
    parser.add_argument(
        "--graph", nargs="+", action="extend", metavar="GRAPH",
        help="several models in one: chain(scale, model), combine(a, b, by=majority), route(a, b, by=thompson)",
    )  # fmt: skip
    parser.add_argument("--name", help="the endpoint's name (default: made from the model's)")
    parser.add_argument("--version", metavar="VERSION", help="the version's name (default: the next of v1, v2, ...)")
    parser.add_argument("--canary", type=whole, metavar="PERCENT", help="share of the requests that it gets")
    parser.add_argument(
        "--replicas", type=between, default=1, metavar="N",
        help="how many servers (default 1), or 1-4 to have load decide",
    )  # fmt: skip
    parser.add_argument("--rps", type=float, metavar="N", help="load: requests per second for each server, not its CPU")
    parser.add_argument("--idle", type=idle, metavar="TIME", help="no servers after so long without a request, as 5m")
    parser.add_argument("--protocol", default="seldon", metavar="P", help="seldon (default), v2 or tensorflow")
    parser.add_argument("--method", metavar="NAME", help="the estimator's method that answers (default predict)")
    parser.add_argument("--framework", metavar="KIND", help="sklearn, xgboost, pytorch, onnx, tensorflow or mlflow")
    _resources(parser.add_argument_group("what each server gets"))
    _delivery(parser.add_argument_group("what travels with the model"))
    _add_rows(parser, "--reference", "watch it: the rows that the model was trained with", terminal=terminal)
    parser.add_argument("-n", "--namespace", metavar="NS", help="the namespace to work in")
    parser.add_argument("--timeout", type=seconds, default=600.0, metavar="TIME", help="longest wait (default 10m)")
    parser.add_argument("--detach", action="store_true", help="do not wait until it is ready")
    parser.add_argument("--dry-run", action="store_true", help="show what would be made or changed; change nothing")
    if not terminal:
        parser.add_argument("--into", metavar="VAR", help="put the endpoint into this variable")
    return parser


def between(text: str) -> int | tuple[int, int]:
    """``2``, or ``1-4``: from how many to how many.

    Raises:
        argparse.ArgumentTypeError: it is neither.
    """
    from jupyterlab_kf.manifests import scaling

    try:
        found = scaling.wanted(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from None
    return (found.least, found.most) if found.by_load else found.least


def idle(text: str) -> str:
    """A time without a request, such as ``5m``; ``off`` for none."""
    from jupyterlab_kf.manifests import scaling

    if text == OFF:
        return text
    try:
        return scaling.time_of(scaling.wanted(1, None, text).idle or 0)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from None


def _add_rows(parser: Parser, flag: str, what: str, *, terminal: bool) -> None:
    """An option for rows: a variable of the notebook, or a file in a terminal."""
    said = f"{what} (a .npy, .csv or .jsonl file)" if terminal else what
    parser.add_argument(flag, metavar="FILE" if terminal else "VAR", help=said)


def _resources(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--profile", metavar="NAME", help="hardware by name; what is said beside it wins")
    group.add_argument("--cpu", metavar="N", help="CPUs, such as 2 or 500m")
    group.add_argument("--memory", metavar="SIZE", help="memory, such as 4Gi")
    group.add_argument("--gpu", type=whole, metavar="N", help="GPUs")
    group.add_argument("--image", metavar="IMAGE", help="the container image")


def _delivery(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--param", nargs="+", action="extend", default=[], metavar="NAME",
        help="what the class is made with: notebook variables by name, or NAME=VALUE",
    )  # fmt: skip
    group.add_argument("--path", metavar="PATH", help="the model's path in a job's results")
    group.add_argument("--env", nargs="+", action="extend", type=pair, default=[], metavar="K=V", help="environment")
    group.add_argument(
        "--files", nargs="+", action="extend", type=commas, default=[], metavar="PATH", help="a.csv,lib/"
    )
    group.add_argument(
        "--install", nargs="*", metavar="PACKAGE",
        help="install at start what the image lacks: these, such as NAME==1.2; without, what the model imports",
    )  # fmt: skip
    group.add_argument(
        "--volume", action="append", default=[], metavar="CLAIM", help="mount a claim: CLAIM, CLAIM:/PATH[:ro]"
    )


def serve_arguments(options: argparse.Namespace, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keyword arguments of ``jupyterlab_kf.serve`` for parsed options."""
    same = (
        "name",
        "version",
        "canary",
        "replicas",
        "rps",
        "idle",
        "protocol",
        "method",
        "framework",
        "profile",
        "cpu",
        "memory",
        "gpu",
    )
    found = {key: getattr(options, key) for key in (*same, "image", "path", "namespace", "timeout")}
    if options.idle == OFF:
        found["idle"] = None
    if options.reference:
        if options.detach:
            raise UsageError(
                "a reference is asked of the model, which is to be waited for", hint="leave --detach or --reference out"
            )
        found["reference"] = reference(options.reference, variables)
    found |= {
        "params": params(options.param, variables) or None,
        "env": dict(options.env) or None,
        "files": [path for group in options.files for path in group],
        "volumes": options.volume,
        "install": False if options.install is None else options.install or True,
        "wait": not options.detach,
    }
    return found


def terminal_model(options: argparse.Namespace) -> Any:
    """What ``jupyter kf serve`` is to serve.

    Raises:
        UsageError: nothing, or two things.
    """
    from pathlib import Path

    import jupyterlab_kf as kf
    from jupyterlab_kf.services.serving import graphs

    if options.graph:
        if options.model:
            raise UsageError(f"--graph says what is served, and {options.model!r} too", hint="leave one of them out")
        return graphs.from_text(" ".join(options.graph), {})
    if not options.model:
        raise UsageError("there is nothing to serve", hint="name a saved model's path, or job/NAME")
    if options.model.startswith("job/"):
        return kf.job(options.model.removeprefix("job/"), options.namespace)
    return Path(options.model)


def predict_parser(prog: str) -> Parser:
    """``kf_predict``."""
    parser = Parser(prog, description="Ask an endpoint: %kf_predict iris X, or a Python literal such as [[5.1, 3.5]].")
    parser.add_argument("name", metavar="NAME", help="the endpoint's name")
    parser.add_argument("data", metavar="DATA", nargs="+", help="a variable's name, or a Python literal")
    add_namespace(parser)
    parser.add_argument("--into", metavar="VAR", help="put the prediction into this variable")
    return parser


def traffic_parser(prog: str) -> Parser:
    """``kf_traffic``."""
    parser = Parser(
        prog,
        description="Divide an endpoint's requests: %kf_traffic iris v1=90 v2=10; or one of the options, such as "
        "--replicas 1-4 or --idle 5m. "
        "Without any, say how they are divided.",
    )
    parser.add_argument("name", metavar="NAME", help="the endpoint's name")
    parser.add_argument("shares", metavar="VERSION=PERCENT", nargs="*", type=pair, help="must sum to 100")
    parser.add_argument("--promote", metavar="VERSION", help="all requests to this one; the others are taken away")
    parser.add_argument(
        "--rollback", nargs="?", const="", metavar="REVISION", help="as it was before, or at a revision"
    )
    parser.add_argument("--mirror", type=pair, metavar="VERSION=PERCENT", help="copies of requests; 0 ends it")
    parser.add_argument("--remove", metavar="VERSION", help="take away a version that answers nothing")
    parser.add_argument("--replicas", type=between, metavar="N", help="how many servers each has; 1-4: by load")
    parser.add_argument("--rps", type=float, metavar="N", help="load: requests per second for each server, not its CPU")
    parser.add_argument("--idle", type=idle, metavar="TIME", help="no servers after so long without a request; off")
    parser.add_argument("--history", action="store_true", help="what was changed, by whom, from where")
    add_namespace(parser)
    return parser


def feedback_parser(prog: str) -> Parser:
    """``kf_feedback``."""
    parser = Parser(prog, description="Tell how good the last prediction of this notebook was.")
    parser.add_argument("name", metavar="NAME", help="the endpoint's name")
    parser.add_argument("reward", metavar="REWARD", nargs="?", type=float, help="a number; 1 is usual for right")
    parser.add_argument("--truth", metavar="DATA", help="what would have been right: a variable, or a literal")
    add_namespace(parser)
    return parser


def monitor_parser(prog: str, *, terminal: bool = False) -> Parser:
    """``kf_monitor``, or ``jupyter kf monitor``."""
    example = "jupyter kf monitor iris --reference train.csv" if terminal else "%kf_monitor iris --reference X_train"
    parser = Parser(
        prog,
        description="Watch whether an endpoint is asked and answers as for the data its model was trained with: "
        f"{example}. Without --reference, show what was found.",
    )
    parser.add_argument("name", metavar="NAME", help="the endpoint's name")
    _add_rows(parser, "--reference", "the rows that the model was trained with", terminal=terminal)
    _add_rows(parser, "--labels", "what is right for each of them", terminal=terminal)
    parser.add_argument("--groups", metavar="COLUMN", help="the column whose groups are to be answered alike")
    parser.add_argument("--sample", type=float, default=1.0, metavar="SHARE", help="share of the requests (default 1)")
    parser.add_argument("--window", type=whole, default=1000, metavar="N", help="rows that are compared (default 1000)")
    parser.add_argument("--no-outliers", action="store_true", help="do not look at single rows")
    parser.add_argument("--end", action="store_true", help="take the monitor away")
    add_namespace(parser)
    return parser


def reference(said: str, variables: Mapping[str, Any] | None) -> Any:
    """The rows that an option names: a variable of the notebook, or a file where there is none.

    Raises:
        UsageError: it is not there, or no rows can be read of it.
    """
    if variables is None:
        from jupyterlab_kf.services.serving import batches

        return batches.rows_of(said)
    if said not in variables:
        raise UsageError(f"the notebook has no variable {said!r}", hint="run the cell that makes it")
    return variables[said]


def monitor(endpoint: Endpoint, options: argparse.Namespace, variables: Mapping[str, Any] | None) -> Rendered:
    """What the options of ``kf_monitor`` ask for, done, and what is shown of it; of a terminal there are no variables.

    Raises:
        UsageError: a variable is not there, or two things are asked for at once.
    """
    from jupyterlab_kf.widgets.monitoring import findings_card
    from jupyterlab_kf.widgets.tables import note

    if options.end:
        if options.reference:
            raise UsageError("one thing at a time: --end and --reference")
        endpoint.end_monitoring()
        return note(f"Endpoint {endpoint.name} is not monitored any more.")
    if options.reference:
        endpoint.monitor(
            reference(options.reference, variables),
            labels=None if options.labels is None else reference(options.labels, variables),
            groups=options.groups,
            sample=options.sample,
            window=options.window,
            outliers=not options.no_outliers,
        )
    return findings_card(endpoint.name, endpoint.findings())


def endpoints_parser(prog: str) -> Parser:
    """``kf_endpoints``."""
    parser = Parser(prog, description="List the endpoints of a namespace, or show one with what it measured.")
    parser.add_argument("name", metavar="NAME", nargs="?", help="show this one")
    parser.add_argument("--logs", action="store_true", help="what its servers printed")
    parser.add_argument("--delete", action="store_true", help="delete it, with all its versions")
    add_namespace(parser)
    return parser


def divide(endpoint: Endpoint, options: argparse.Namespace) -> Endpoint:
    """What the options of ``kf_traffic`` ask for.

    Raises:
        UsageError: two things are asked for at once, or a share is not a number.
    """
    asked = [name for name in ("shares", "promote", "mirror", "remove") if getattr(options, name)]
    asked += ["rollback"] if options.rollback is not None else []
    scaled = options.replicas or options.idle
    asked += ["replicas or idle"] if scaled else []
    if options.rps is not None and options.replicas is None:
        raise UsageError("--rps is said of --replicas", hint="for example --replicas 1-4 --rps 20")
    if len(asked) > 1:
        raise UsageError(f"one thing at a time: {' and '.join(asked)}")
    if options.promote:
        return endpoint.promote(options.promote)
    if options.rollback is not None:
        return endpoint.rollback(_percent(options.rollback, "revision") if options.rollback else None)
    if options.mirror:
        return endpoint.mirror(options.mirror[0], _percent(options.mirror[1], options.mirror[0]))
    if options.remove:
        return endpoint.remove(options.remove)
    if options.shares:
        return endpoint.traffic({name: _percent(share, name) for name, share in options.shares})
    return _scaled(endpoint, options)


def _scaled(endpoint: Endpoint, options: argparse.Namespace) -> Endpoint:
    if options.replicas:
        endpoint = endpoint.scale(options.replicas, rps=options.rps)
    return endpoint.sleep_after(None if options.idle == OFF else options.idle) if options.idle else endpoint


def _percent(text: str, what: str) -> int:
    if not text.removesuffix("%").strip().isdigit():
        raise UsageError(f"{what}={text}: not a whole number")
    return int(text.removesuffix("%"))


def value_of(words: Sequence[str], variables: Mapping[str, Any]) -> Any:
    """What the rest of a line stands for: a variable, or a Python literal.

    Raises:
        UsageError: it is neither.
    """
    import ast

    said = " ".join(words)
    if said in variables:
        return variables[said]
    try:
        return ast.literal_eval(said)
    except (ValueError, SyntaxError):
        raise UsageError(
            f"{said!r} is neither a variable of this notebook nor a Python literal",
            hint="give a variable's name, or a literal such as '[[5.1, 3.5, 1.4, 0.2]]'",
        ) from None


def card(endpoint: Endpoint, *, measured: bool = False) -> Rendered:
    """An endpoint as it is now."""
    from jupyterlab_kf.widgets.endpoints import endpoint_card

    return endpoint_card(endpoint.view(), endpoint.metrics() if measured else None)


def listing(namespace: str | None) -> Rendered:
    """The table of endpoints."""
    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.endpoints import endpoints_table

    return endpoints_table([one.view() for one in kf.endpoints(namespace)])
