"""Completion of the words after a magic: options, frameworks, actions.

Asks no cluster: pressing a key must not start one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf.magics import arguments

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

PARSERS: Final[dict[str, Callable[[str], arguments.Parser]]] = {
    "kf_train": lambda prog: arguments.train_parser(prog, code="optional"),
    "kf_jobs": arguments.jobs_parser,
    "kf_logs": arguments.logs_parser,
    "kf_describe": arguments.describe_parser,
    "kf_wait": arguments.wait_parser,
    "kf_delete": arguments.delete_parser,
    "kf_cluster": arguments.cluster_parser,
}


def words(magic: str, line: str, symbol: str) -> list[str]:
    """What may stand at the end of a line that begins with the magic.

    Args:
        magic: its bare name.
        line: everything up to the cursor.
        symbol: the word that is being typed; the end of the line.
    """
    if symbol.startswith("-"):
        known = PARSERS[magic](magic).flags()
    elif len(line.removesuffix(symbol).split()) == 1:
        first = {"kf_train": arguments.FRAMEWORKS.split(", "), "kf_cluster": list(arguments.CLUSTER_ACTIONS)}
        known = first.get(magic, [])
    else:
        known = []
    return [word for word in known if word.startswith(symbol)]


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
