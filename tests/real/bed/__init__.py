"""A real Kubernetes cluster for the tests: what it is built from, how it is put together, how it ends.

The parts are Kubernetes' and Kubeflow's own programs, built once from their published Go modules. Nothing here knows
the embedded cluster; the yardstick stands beside what it measures.
"""

import sys
from pathlib import Path

# Where the tests' tools are made is decided in one place, for these as for all others.
_TOOLS = str(Path(__file__).parents[2] / "tools")
if _TOOLS not in sys.path:
    sys.path.append(_TOOLS)
