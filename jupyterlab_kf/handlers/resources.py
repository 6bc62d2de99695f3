"""What an authorizer of Jupyter Server is asked about: the families of routes, by the names it knows them by."""

from __future__ import annotations

from typing import Final

CLUSTER: Final = "kf:cluster"
JOBS: Final = "kf:jobs"
STUDIES: Final = "kf:studies"
ENDPOINTS: Final = "kf:endpoints"
STREAMED: Final = (JOBS, STUDIES, ENDPOINTS)
"""Those of which the WebSocket tells."""
