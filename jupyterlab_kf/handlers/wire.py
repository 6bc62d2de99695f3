"""What travels between the panels and the server, as plain values: the TypeScript types are generated from here.

Rows, pages, views and events are those of the services and the model; here is what is only said on the wire. A
message of the WebSocket from the server is a list of frames, all that changed since the last; ``type`` tells which one
a frame is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from jupyterlab_kf.manifests.capacity import Capacity
from jupyterlab_kf.manifests.scaling import Scaling
from jupyterlab_kf.manifests.serving.rows import EndpointRow
from jupyterlab_kf.manifests.studies import StudyRow
from jupyterlab_kf.manifests.studyviews import StudyHead, StudyTrial
from jupyterlab_kf.model import JobView
from jupyterlab_kf.services.board import JobGroup, JobQuery, JobRow, Link
from jupyterlab_kf.services.jobfeed import JobKey
from jupyterlab_kf.services.kernels.starts import KernelStart
from jupyterlab_kf.services.serving.editing import GraphDraft
from jupyterlab_kf.services.serving.findings import Findings
from jupyterlab_kf.services.serving.live import EndpointKey, Sample, Totals
from jupyterlab_kf.services.serving.states import EndpointView
from jupyterlab_kf.services.studyfeed import StudyKey

API: Final = "jupyterlab-kf"
"""The first part of every path."""


@dataclass(frozen=True, slots=True)
class Framework:
    """What can be launched."""

    name: str
    title: str
    roles: tuple[str, ...]
    image: str
    leads: bool


@dataclass(frozen=True, slots=True)
class HardwareOffer:
    """A hardware profile that a job can have, and in ``room`` a sentence about the room there is for it now.

    ``fits`` is False where nothing of it would start now, ``ever`` where it could not even if nothing else ran.
    ``room`` is empty where that is not known.
    """

    slug: str
    title: str
    hardware: str
    room: str
    fits: bool
    ever: bool


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """The cluster that the panels look at. ``fault`` says why no hardware profiles could be read."""

    name: str
    namespace: str
    why: str
    link: Link
    frameworks: tuple[Framework, ...]
    capacity: Capacity | None = None
    profiles: tuple[HardwareOffer, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """A cluster that could be looked at. What is not known before it is asked is empty."""

    name: str
    namespace: str
    server: str


@dataclass(frozen=True, slots=True)
class Contexts:
    """The clusters that could be looked at. ``current`` is the name of the one that is."""

    current: str
    contexts: tuple[Context, ...]


@dataclass(frozen=True, slots=True)
class UseRequest:
    """Look at another cluster; an empty namespace leaves it to the cluster."""

    context: str
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """A filled-in launch form. ``code`` is source text; with ``path`` a script or notebook below the root is run.

    ``folder`` is where local modules are looked up, below the server's root. ``filename`` is what tracebacks show;
    where it is ``train.ipynb cell 3`` the source text is a cell as it stands in its notebook.
    """

    framework: str = "pytorch"
    code: str = ""
    path: str = ""
    folder: str = ""
    filename: str = "cell.py"
    name: str = ""
    namespace: str = ""
    workers: int | None = None
    replicas: dict[str, int] = field(default_factory=dict)
    cpu: str = ""
    memory: str = ""
    gpu: int = 0
    profile: str = ""
    nproc: int = 1
    env: dict[str, str] = field(default_factory=dict)
    args: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    image: str = ""
    install: list[str] = field(default_factory=list)
    output: str = ""
    volumes: list[str] = field(default_factory=list)
    replace: bool = False
    submission: str = ""
    """Twelve hexadecimal digits that the form keeps: what is sent twice is created once."""
    like: JobKey | None = None
    """A job whose other files, such as local modules, travel with this code too."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What the image lacks of what the code imports, and what would have to be installed for it."""

    sentence: str
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """What a launch would create. ``fits`` is a sentence about the cluster as it is now, ``room`` whether it fits.

    ``code`` is what a file that was named would run, and ``dropped`` what of a notebook does not run.
    """

    name: str
    namespace: str
    kind: str
    summary: str
    yaml: str
    python: str
    magic: str
    fits: str
    room: bool
    code: str
    dropped: tuple[str, ...]
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class JobDetail:
    """What a job's page shows beside its view."""

    key: JobKey
    manifest: str
    version: str
    provenance: dict[str, Any]
    code: str
    filename: str
    files: tuple[str, ...]
    suspended: bool
    suspendable: bool


@dataclass(frozen=True, slots=True)
class Copies:
    """The job, said in four ways."""

    magic: str
    python: str
    yaml: str
    kubectl: str


@dataclass(frozen=True, slots=True)
class StudyCopies:
    """A study, said in some ways.

    ``form`` is a cell that opens its form under another name, empty where there is none; ``best`` its program with the
    values of a trial, empty while there is none.
    """

    magic: str
    python: str
    yaml: str
    kubectl: str
    form: str
    best: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The body of every answer that is not a success.

    ``now`` and ``both`` come with an edit that was too late: what there is now, and the edit's manifest on top of it.
    """

    message: str
    hint: str
    reason: str
    now: JobDetail | None = None
    both: str = ""


@dataclass(frozen=True, slots=True)
class EndpointRevision:
    """A change of an endpoint: ``when`` in epoch seconds, the percentages as they were to be from then on.

    ``models`` has the hash of each version's model.
    """

    number: int
    cause: str
    author: str
    notebook: str
    when: float
    traffic: Mapping[str, int]
    models: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EndpointDetail:
    """What an endpoint's page shows beside its view: its changes, newest first, its manifest, a request to try.

    ``url`` is where other programs reach it, as far as that is known.
    """

    key: EndpointKey
    revisions: tuple[EndpointRevision, ...]
    manifest: str
    example: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequest:
    """A change of an endpoint: to plan it or, with the ``mark`` of its plan, to make it.

    ``what`` is traffic (with ``shares`` in percent), promote or remove (a ``version``), mirror (a version and a
    ``percent``), rollback (to a ``revision``, or to how it was before), graph: a version's edited one, which becomes
    a new version that gets ``percent`` of the requests, or scale: how many servers a version has
    (``scaling``; all versions where none is named).
    """

    what: Literal["traffic", "promote", "rollback", "mirror", "remove", "graph", "scale"]
    shares: dict[str, int] = field(default_factory=dict)
    version: str = ""
    percent: int = 0
    revision: int | None = None
    graph: GraphDraft | None = None
    scaling: Scaling | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """What a change would make different, as a unified diff, and the state of the endpoint that it is about.

    ``python`` is the same as a call, ``yaml`` the manifest as it would be.
    """

    cause: str
    diff: str
    mark: str
    slow: bool
    """Whether versions come or go."""
    python: str = ""
    yaml: str = ""


@dataclass(frozen=True, slots=True)
class ChangeDone:
    """A change that was made, and the endpoint's revision since then."""

    key: EndpointKey
    revision: int


@dataclass(frozen=True, slots=True)
class TryRequest:
    """A value to predict for: rows, text, or a message of the endpoint's protocol."""

    value: Any


@dataclass(frozen=True, slots=True)
class TryAnswer:
    """What came back: the prediction, which version gave it, and on which way. ``request`` and ``response`` as sent."""

    value: Any
    version: str
    seconds: float
    routing: Mapping[str, int]
    tags: Mapping[str, Any]
    request: Any
    response: Any


@dataclass(frozen=True, slots=True)
class FeedbackRequest:
    """How good an answer was; 1 is usual for right."""

    request: Any
    response: Any
    reward: float


# ------------------------------------------------------------------------------------------------- from the browser


@dataclass(frozen=True, slots=True)
class AskRows:
    """Show me these rows, and keep showing them; asked again with the same id the window moves."""

    id: str
    query: JobQuery
    type: Literal["rows"] = "rows"


@dataclass(frozen=True, slots=True)
class AskJob:
    """Show me this job."""

    id: str
    key: JobKey
    type: Literal["job"] = "job"


@dataclass(frozen=True, slots=True)
class AskLines:
    """Read me its log."""

    id: str
    key: JobKey
    type: Literal["lines"] = "lines"


@dataclass(frozen=True, slots=True)
class AskStudies:
    """Show me the studies."""

    id: str
    type: Literal["studies"] = "studies"


@dataclass(frozen=True, slots=True)
class AskEndpoints:
    """Show me the endpoints."""

    id: str
    type: Literal["endpoints"] = "endpoints"


@dataclass(frozen=True, slots=True)
class AskKernels:
    """Show me the kernels in pods that are being started."""

    id: str
    type: Literal["kernels"] = "kernels"


@dataclass(frozen=True, slots=True)
class AskStudy:
    """Show me this study with its trials."""

    id: str
    key: StudyKey
    type: Literal["study"] = "study"


@dataclass(frozen=True, slots=True)
class AskEndpoint:
    """Show me this endpoint with what it measures."""

    id: str
    key: EndpointKey
    type: Literal["endpoint"] = "endpoint"


@dataclass(frozen=True, slots=True)
class Close:
    """I have seen enough of that."""

    id: str
    type: Literal["close"] = "close"


# --------------------------------------------------------------------------------------------------- to the browser


@dataclass(frozen=True, slots=True)
class LinkFrame:
    """How it stands with the cluster."""

    link: Link
    cluster: str
    namespace: str
    type: Literal["link"] = "link"


@dataclass(frozen=True, slots=True)
class RowsFrame:
    """A window: its items in order (a row by its uid, or the head of a group), and the rows that are new or changed."""

    id: str
    total: int
    matched: int
    size: int
    offset: int
    items: tuple[str | JobGroup, ...]
    rows: tuple[JobRow, ...]
    counts: dict[str, int]
    namespaces: tuple[str, ...]
    type: Literal["rows"] = "rows"


@dataclass(frozen=True, slots=True)
class JobFrame:
    """A job: the parts of its view that changed. ``gone`` once it was deleted."""

    id: str
    gone: bool
    error: str
    view: JobView
    type: Literal["job"] = "job"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log, as short as it can be said: replica, text, time."""

    r: str
    s: str
    t: float | None


@dataclass(frozen=True, slots=True)
class LinesFrame:
    """Lines that came; ``done`` after the last."""

    id: str
    lines: tuple[Line, ...]
    done: bool
    error: str = ""
    type: Literal["lines"] = "lines"


@dataclass(frozen=True, slots=True)
class StudiesFrame:
    """The newest of ``total`` studies, newest first; not ``served`` where the cluster has none of their kind."""

    id: str
    rows: tuple[StudyRow, ...]
    total: int
    served: bool
    type: Literal["studies"] = "studies"


@dataclass(frozen=True, slots=True)
class EndpointsFrame:
    """The newest of ``total`` endpoints, newest first; not ``served`` where the cluster has none of their kind."""

    id: str
    rows: tuple[EndpointRow, ...]
    total: int
    served: bool
    type: Literal["endpoints"] = "endpoints"


@dataclass(frozen=True, slots=True)
class KernelsFrame:
    """The kernels in pods that are being started now, and the newest that could not be."""

    id: str
    starts: tuple[KernelStart, ...]
    type: Literal["kernels"] = "kernels"


@dataclass(frozen=True, slots=True)
class StudyFrame:
    """A study: its head where that changed, and the trials that are new or changed.

    ``total`` is how many there are; with ``fresh`` what was sent before counts no more. ``gone`` once it was deleted.
    """

    id: str
    gone: bool
    error: str
    head: StudyHead | None
    trials: tuple[StudyTrial, ...]
    removed: tuple[str, ...]
    total: int
    fresh: bool
    type: Literal["study"] = "study"


@dataclass(frozen=True, slots=True)
class EndpointFrame:
    """An endpoint: how it is, what its versions measured in all, and the samples that are new.

    With ``fresh`` the samples that were sent before count no more. ``gone`` once it was deleted. Where it is
    ``monitored``, ``findings`` are what was found, or null where that is as it was; ``unwatched`` says why it is old.
    """

    id: str
    gone: bool
    error: str
    view: EndpointView | None
    totals: Mapping[str, Totals]
    samples: tuple[Sample, ...]
    fresh: bool
    monitored: bool
    findings: Findings | None
    unwatched: str
    type: Literal["endpoint"] = "endpoint"


@dataclass(frozen=True, slots=True)
class EndedFrame:
    """A job has just succeeded or failed."""

    row: JobRow
    type: Literal["ended"] = "ended"
