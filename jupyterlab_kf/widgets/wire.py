"""Views as JSON: what JupyterLab's renderers of ``application/vnd.jupyterlab-kf.job+json`` and its like are given.

Pure. Every value is valid JSON: numbers that are not finite become null, since browsers refuse ``NaN``; series are
thinned as the plot thins them, so that a long training does not make a notebook heavy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf.model import JobView
from jupyterlab_kf.widgets import plot

if TYPE_CHECKING:
    from jupyterlab_kf.services.serving.states import EndpointView

MIME_JOB: Final = "application/vnd.jupyterlab-kf.job+json"
MIME_JOBS: Final = "application/vnd.jupyterlab-kf.jobs+json"
MIME_ENDPOINT: Final = "application/vnd.jupyterlab-kf.endpoint+json"
MIME_STUDY: Final = "application/vnd.jupyterlab-kf.study+json"
VERSION: Final = 1


def plain(value: Any) -> Any:
    """A value of the model as JSON data."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(item) for key, item in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return str(value)
    return value


def endpoint_json(view: EndpointView) -> dict[str, Any]:
    """The view of an endpoint, with the version of this format."""
    return {"version": VERSION, **plain(view)}


def job_json(view: JobView) -> dict[str, Any]:
    """The view, with the version of this format."""
    thinned = {
        metric: {replica: plot.thin(points) for replica, points in series.items()}
        for metric, series in view.metrics.items()
    }
    data: dict[str, Any] = plain(view)
    data["metrics"] = plain({m: {r: [asdict(p) for p in ps] for r, ps in s.items()} for m, s in thinned.items()})
    return {"version": VERSION, **data}
