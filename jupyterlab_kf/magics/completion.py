"""Completion of the words after a magic: options, frameworks, actions, hardware profiles.

Asks no cluster: pressing a key must not start one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf.magics import arguments, endpoints, studies

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

PARSERS: Final[dict[str, Callable[[str], arguments.Parser]]] = {
    "kf_train": lambda prog: arguments.train_parser(prog, code="optional"),
    "kf_study": studies.form_parser,
    "kf_tune": studies.tune_parser,
    "kf_jobs": arguments.jobs_parser,
    "kf_logs": arguments.logs_parser,
    "kf_describe": arguments.describe_parser,
    "kf_wait": arguments.wait_parser,
    "kf_delete": arguments.delete_parser,
    "kf_cluster": arguments.cluster_parser,
    "kf_doctor": arguments.doctor_parser,
    "kf_serve": endpoints.serve_parser,
    "kf_predict": endpoints.predict_parser,
    "kf_traffic": endpoints.traffic_parser,
    "kf_feedback": endpoints.feedback_parser,
    "kf_endpoints": endpoints.endpoints_parser,
    "kf_monitor": endpoints.monitor_parser,
}
_WITH_PROFILE: Final = ("kf_train", "kf_serve")


def words(magic: str, line: str, symbol: str) -> list[str]:
    """What may stand at the end of a line that begins with the magic.

    Args:
        magic: its bare name.
        line: everything up to the cursor.
        symbol: the word that is being typed; the end of the line.
    """
    before = line.removesuffix(symbol).split()
    if magic in _WITH_PROFILE and before[-1] == "--profile":
        known = _profiles()
    elif magic in _WITH_PROFILE and symbol.startswith("--profile="):
        known = [f"--profile={name}" for name in _profiles()]
    elif symbol.startswith("-"):
        known = PARSERS[magic](magic).flags()
    elif len(before) == 1:
        first = {"kf_train": arguments.FRAMEWORKS.split(", "), "kf_cluster": list(arguments.CLUSTER_ACTIONS)}
        first["kf_study"] = list(studies.VERBS)
        known = first.get(magic, [])
    elif magic == "kf_cluster" and before[1:] == ["use"]:
        known = _contexts()
    else:
        known = []
    return [word for word in known if word.startswith(symbol)]


def _contexts() -> list[str]:
    """Names of clusters, from files alone."""
    from jupyterlab_kf import settings
    from jupyterlab_kf.cluster import connection
    from jupyterlab_kf.errors import ClusterError

    try:
        return connection.contexts(settings.load())
    except ClusterError:  # a kubeconfig that cannot be read is told when the cell runs, not at the Tab key
        return [connection.EMBEDDED]


def _profiles() -> list[str]:
    """Names of hardware profiles, from their file alone."""
    from jupyterlab_kf.errors import UsageError
    from jupyterlab_kf.services import hardware

    try:
        return [profile.slug for profile in hardware.profiles()]
    except UsageError:  # a file with faults is told when the cell runs, not at the Tab key
        return []


def complete_magics(shell: InteractiveShell) -> None:
    """Hand the words to IPython's completer."""

    def completer(magic: str) -> Callable[[Any, Any], list[str]]:
        # IPython splits words at "-", so the symbol it gives is only the end of an option: read the line instead.
        def complete(_: Any, event: Any) -> list[str]:
            typed = event.text_until_cursor
            symbol = "" if typed.endswith(" ") else typed.split()[-1]
            found = words(magic, typed, symbol)
            cut = len(symbol) - len(event.symbol)
            return [word[cut:] for word in found]

        return complete

    for magic in PARSERS:
        for escape in ("%", "%%"):
            shell.set_hook("complete_command", completer(magic), str_key=f"{escape}{magic}")  # type: ignore[no-untyped-call]
