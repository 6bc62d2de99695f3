"""The monitor of an endpoint: a process of its own that gets copies of payloads, and says what has changed.

``reference`` is what it compares with, ``windows`` what it keeps of the last copies, ``judging`` the tests (pure),
``alarms`` when something is said again (pure), ``events`` how the cluster is told, ``server`` the process. Nothing here
is on the way of a request: whoever sends copies drops them when nobody takes them.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Watch until a signal says otherwise; answers the exit status."""
    from .server import main as run

    return run(argv)
