"""Endpoints from a terminal: the notebook's verbs, their output as text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from jupyterlab_kf.cli.saying import PROG, Row, say, say_at_once
from jupyterlab_kf.magics import endpoints


def _serve(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.magics import verbs
    from jupyterlab_kf.widgets.endpoints import endpoint_card

    model, words = endpoints.terminal_model(options), endpoints.serve_arguments(options)
    if options.dry_run:
        plan = kf.plan_serve(model, **words)
        sys.stderr.write(f"{plan.summary}\n")
        say(plan.yaml())
        return 0
    from jupyterlab_kf.services import serving

    endpoint, told = verbs.submitted(lambda: serving.begin(model, **words))
    for line in told:
        sys.stderr.write(f"{PROG}: {line}\n")
    say_at_once(f"submitted {endpoint.name}")
    if options.detach:
        return 0
    try:
        for view in endpoint.coming(options.timeout):
            say_at_once(endpoint_card(view).text)
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndetached; {endpoint.name} comes up by itself: {PROG} endpoints {endpoint.name}\n")
        raise
    if options.reference:
        endpoint.monitor(words["reference"], timeout=options.timeout)
        say(f"{endpoint.name} is monitored: {PROG} monitor {endpoint.name}")
    return 0


def _predict(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.endpoints import answer_card

    value = endpoints.value_of(options.data, {})
    say(answer_card(kf.endpoint(options.name, options.namespace).ask(value)).text)
    return 0


def _traffic(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.endpoints import history_table

    endpoint = kf.endpoint(options.name, options.namespace)
    if options.history:
        say(history_table(endpoint.history()).text)
    else:
        say(endpoints.card(endpoints.divide(endpoint, options)).text)
    return 0


def _monitor(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf

    say(endpoints.monitor(kf.endpoint(options.name, options.namespace), options, None).text)
    return 0


def _endpoints(options: argparse.Namespace) -> int:
    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.display import log_line

    if not options.name:
        say(endpoints.listing(options.namespace).text)
        return 0
    endpoint = kf.endpoint(options.name, options.namespace)
    if options.logs:
        ranks: dict[str, int] = {}
        for line in endpoint.logs():
            say(log_line(line, ranks, color=sys.stdout.isatty()))
    elif options.delete:
        endpoint.delete()
        say(f"deleted {endpoint.name}")
    else:
        say(endpoints.card(endpoint, measured=True).text)
    return 0


ROWS: Final[Sequence[Row]] = (
    ("serve", lambda prog: endpoints.serve_parser(prog, terminal=True), _serve, "make a model an endpoint"),
    ("predict", endpoints.predict_parser, _predict, "ask an endpoint"),
    ("traffic", endpoints.traffic_parser, _traffic, "divide an endpoint's requests, promote, roll back"),
    (
        "monitor",
        lambda prog: endpoints.monitor_parser(prog, terminal=True),
        _monitor,
        "watch an endpoint for drift, or show what was found",
    ),
    ("endpoints", endpoints.endpoints_parser, _endpoints, "list endpoints, or show or delete one"),
)
