"""The worker: questions as JSON lines on standard input, answers on standard output. Ends when its input does."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import warnings
from typing import Final

from jupyterlab_kf.suggestions.questions import ask, prepare

_POLITE: Final = 10


def main() -> int:
    """Answer until there are no more questions."""
    warnings.simplefilter("ignore")  # the libraries' advice to programmers
    prepared: set[str] = set()
    for line in sys.stdin:
        algorithm = ""
        try:
            question = json.loads(line)
            algorithm = str(question.get("algorithm"))
            answer = ask(question)
        except Exception as error:  # noqa: BLE001  one question that cannot be answered must not end all others
            answer = {"error": f"{type(error).__name__}: {error}", "fault": True}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if algorithm not in prepared:
            prepared.add(algorithm)
            threading.Thread(target=_prepare, args=(algorithm,), daemon=True).start()
    return 0


def _prepare(algorithm: str) -> None:
    """Import an algorithm's libraries beside the trials that run now, which come first."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _POLITE)
    with contextlib.suppress(ImportError):  # the question that needs it says so
        prepare(algorithm)


if __name__ == "__main__":
    sys.exit(main())
