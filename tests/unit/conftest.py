"""What keeps the unit suite quick, and changes nothing of what it shows.

``make test`` runs properties with hypothesis' full number of examples (``--hypothesis-profile=default``); here each has
a tenth of them, others at each run.
"""

from __future__ import annotations

import gc
import os
import sys

from hypothesis import settings

# Some environments say to keep no bytecode. Then each run, and each process that a test starts, compiles everything
# anew (and pytest rewrites all asserts), which takes longer than the tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# jsonschema compiles 38 grammars for it when it is imported, a second of work for a format that no schema here has.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as Python marks what cannot be imported

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices here are small: threads would only wait for each other

settings.register_profile("quick", max_examples=10, deadline=None)
settings.load_profile("quick")

gc.set_threshold(50_000)  # thousands of modules and tests are made, and hardly any of it is ever garbage


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: nobody needs to look through it again and again."""
    gc.collect()
    gc.freeze()
