"""The worker: questions as JSON lines on standard input, answers on standard output. Ends when its input does."""

from __future__ import annotations

import json
import sys
import warnings

from jupyterlab_kf.suggestions.questions import ask


def main() -> int:
    """Answer until there are no more questions."""
    warnings.simplefilter("ignore")  # the libraries' advice to programmers
    for line in sys.stdin:
        try:
            answer = ask(json.loads(line))
        except Exception as error:  # noqa: BLE001  one question that cannot be answered must not end all others
            answer = {"error": f"{type(error).__name__}: {error}", "fault": True}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
