"""What is too long for the unit suite: records of the real operators played again, made-up histories and
studies, the launcher as a process, and what is compared with Kubernetes' own client, which is slow to import.

Nothing here needs a cluster either. Helpers are those of the unit suite, and properties have all of their examples.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("whole", deadline=None)
settings.load_profile("whole")
