"""Why a job waits or failed, in one sentence, and what to do about it. Pure: objects, events and log tails in.

For a failed job the root cause is the replica that failed first and not as a consequence: when one process dies, its
peers report broken connections a moment later. Says nothing when there is nothing to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jupyterlab_kf.manifests import pods, training
from jupyterlab_kf.model import Event, Explanation, LogLine, Phase, Ref, Replica, Status, meta, parse_time
from jupyterlab_kf.services.logs import plain

Tails = Mapping[str, Sequence[LogLine]]

_TRACEBACK: Final = "Traceback (most recent call last):"
_FRAME: Final = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+)')
_ERROR: Final = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?$")
_CONSEQUENCE: Final = re.compile(
    r"connection (?:reset|closed|refused|aborted)|broken pipe|peer|socket timeout|unavailable|heartbeat|"
    r"ProcessGroup|NCCL|gloo|rendezvous|DistBackendError|DistNetworkError|Stop_?Iteration.*server|cancelled",
    re.IGNORECASE,
)
_LAUNCHER: Final = "launch.py: "
_KILLED: Final = (None, 137, 143)
_PREEMPTION: Final = re.compile(r"\s*(?:no new claims to deallocate,?\s*)?preemption: .*?incoming pod\.?")
_EXIT_CODES: Final[Mapping[int, str]] = {
    2: "the command line was wrong",
    126: "the command could not be executed",
    127: "the command was not found in the image",
    130: "it was interrupted",
    132: "it hit an instruction that this processor does not have",
    134: "it aborted",
    136: "it divided by zero",
    137: "it was killed",
    139: "it crashed by a memory access that is not allowed",
    143: "it was asked to end",
}


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is known of a job at one moment; ``tails`` are the last lines by replica or rank."""

    job: Mapping[str, Any]
    status: Status
    replicas: Sequence[Replica]
    pods: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Event] = ()
    tails: Tails = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """One replica's (or rank's) failure.

    Attributes:
        consequence: True when another replica's end explains it.
        said: what our own launcher said, when it was the one to give up.
    """

    replica: str
    time: float
    exit_code: int | None
    reason: str
    traceback: str
    consequence: bool
    said: str = ""

    @property
    def error(self) -> str:
        """The traceback's last line: ``ValueError: no data``."""
        lines = [line for line in self.traceback.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1] if lines else "")

    @property
    def place(self) -> str:
        """The last frame in the user's own files: ``cell.py, line 7``."""
        frames = [match for line in self.traceback.splitlines() if (match := _FRAME.match(line))]
        named = [frame for frame in frames if not frame["file"].startswith("<")]
        own = [frame for frame in named if "/" not in frame["file"]] or named
        return f"{own[-1]['file']}, line {own[-1]['line']}" if own else ""


def explain(case: Case) -> Explanation | None:
    """Why the job is not running or did not succeed; None when all is well."""
    if case.status.phase is Phase.SUCCEEDED:
        return None
    if case.status.phase is Phase.SUSPENDED:
        kind, name = str(case.job.get("kind", "")).lower(), meta(case.job).get("name", "")
        patch = '{"spec":{"runPolicy":{"suspend":false}}}'
        return Explanation(
            "The job is suspended: its replicas are put aside until somebody resumes it.",
            f"kubectl patch {kind} {name} --type merge -p '{patch}'",
        )
    if case.status.phase is Phase.FAILED:
        return _failed(case)
    rules = (_image, _mount, _unschedulable, _container, _refused, _restarted, _warning)
    return next((answer for rule in rules if (answer := rule(case)) is not None), None)


def root_cause(replicas: Sequence[Replica], tails: Tails) -> Failure | None:
    """The failure that explains the others; None when no replica failed."""
    # A launcher fails because a rank did, and never before it.
    failures = _rank_failures(replicas, tails) or _failures(replicas, tails)
    if not failures:
        return None
    return min(failures, key=lambda one: (one.consequence, not one.traceback and one.exit_code in _KILLED, one.time))


def traceback_in(lines: Sequence[LogLine]) -> tuple[str, float | None]:
    """The last Python traceback of a log, with the one that caused it, and the time of its last line."""
    texts = [plain(line.text) for line in lines]
    starts = [place for place, text in enumerate(texts) if text.strip() == _TRACEBACK]
    if not starts:
        return "", None
    first = starts[-1]
    # "During handling of ..." and "... the direct cause ..." join tracebacks of one failure.
    for place in reversed(starts[:-1]):
        between = " ".join(texts[place:first])
        if "During handling of the above" not in between and "direct cause of the following" not in between:
            break
        first = place
    last = _end(texts, starts[-1])
    return "\n".join(texts[first : last + 1]), lines[last].time


def _end(texts: Sequence[str], start: int) -> int:
    """The last line of the traceback that begins at ``start``: its error, with the error's further lines."""
    place = start + 1
    while place < len(texts) and (texts[place].startswith(" ") or not texts[place].strip()):
        place += 1
    last = min(place, len(texts) - 1)
    while last + 1 < len(texts) and texts[last + 1].startswith(("  ", "\t")):
        last += 1
    return last


def decode_event(obj: Mapping[str, Any]) -> Event:
    """An Event object of either API, decoded."""
    about = obj.get("involvedObject") or {}
    series = obj.get("series") or {}
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
    return Event(
        type=str(obj.get("type") or "Normal"),
        reason=str(obj.get("reason") or ""),
        message=str(obj.get("message") or ""),
        about=Ref(
            str(about.get("kind") or ""),
            str(about.get("name") or ""),
            str(about.get("namespace") or ""),
            str(about.get("uid") or ""),
        ),
        count=int(series.get("count") or obj.get("count") or 1),
        last=parse_time(last or meta(obj).get("creationTimestamp")),
        source=str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""),
    )


# Failed


def _failed(case: Case) -> Explanation:
    if "deadline" in f"{case.status.reason} {case.status.message}".lower():
        seconds = _deadline(case.job)
        after = f" of {seconds} s" if seconds else ""
        return Explanation(
            f"The job was ended because it ran longer than its deadline{after}.", "give it more with --deadline"
        )
    failure = root_cause(case.replicas, case.tails)
    if (failure is None or not failure.traceback) and (node := _shut_down(case)):
        return Explanation(
            f"The job was ended because node {node} was shut down.", "nothing is wrong with its code: run it again"
        )
    if failure is None:
        return Explanation(
            case.status.message or "The job failed; its conditions do not say why.", _again(case.status.message)
        )
    return _of_failure(case.job, failure)


def _shut_down(case: Case) -> str:
    """The node that ended a replica because it was shutting down (kubelet's graceful node shutdown), or nothing."""
    for pod in case.pods:
        status = pod.get("status") or {}
        if status.get("reason") == "Terminated" and "node shutdown" in str(status.get("message", "")):
            return str((pod.get("spec") or {}).get("nodeName", ""))
    return ""


def _of_failure(job: Mapping[str, Any], failure: Failure) -> Explanation:
    who = failure.replica
    if failure.reason == "OOMKilled":
        limit = _memory_limit(job, who)
        more = f" of {limit}" if limit else ""
        return Explanation(
            f"{who} was ended because it used more memory than its limit{more}.",
            "ask for more with --memory, or use smaller batches",
            who,
            failure.traceback,
        )
    if failure.traceback:
        where = f" ({failure.place})" if failure.place else ""
        return Explanation(
            f"{who} failed: {failure.error}{where}", error_hint(failure.error, job), who, failure.traceback
        )
    code = failure.exit_code
    if failure.said:
        return Explanation(f"{who} failed: {failure.said}", "", who)
    meaning = exit_meaning(code)
    return Explanation(
        f"{who} ended with exit code {code}{f': {meaning}' if meaning else ''}.",
        f"look at its last lines: %kf_logs {meta(job).get('name', '')} --replica {who}",
        who,
    )


def exit_meaning(code: int | None) -> str:
    """What an exit code says by convention; empty when it says nothing."""
    return _EXIT_CODES.get(code, "") if code is not None else ""


def error_hint(error: str, job: Mapping[str, Any]) -> str:
    """What to do about a Python error, where that can be said."""
    match = _ERROR.match(error)
    kind, text = (match["type"].rpartition(".")[2], match["text"] or "") if match else ("", error)
    quoted = re.search(r"'([^']+)'", text)
    name = quoted.group(1) if quoted else ""
    if kind == "ModuleNotFoundError":
        return (
            f"the image {_image_of(job)} has no {name.split('.')[0]!r}: choose one that has with --image, "
            "or ship your own module with --files"
        )
    if kind in ("NameError", "UnboundLocalError") and name:
        return (
            f"a job does not see the notebook's variables: define {name!r} in the code, or pass it with --param {name}"
        )
    if kind == "FileNotFoundError":
        return "a job has no files of the notebook's folder but those that --files ships"
    if kind in ("ConnectionRefusedError", "gaierror"):
        return "is the service up, and may the job's namespace reach it?"
    if "CUDA out of memory" in error or kind == "OutOfMemoryError":
        return "use smaller batches, or ask for a larger GPU"
    return ""


def _failures(replicas: Sequence[Replica], tails: Tails) -> list[Failure]:
    found = []
    for replica in replicas:
        lines = tails.get(replica.name, ())
        trace, seen = traceback_in(lines)
        if not trace and _TRACEBACK in replica.message:
            trace, _ = traceback_in([LogLine(replica.name, text) for text in replica.message.splitlines()])
        ended_badly = replica.exit_code not in (None, 0) or replica.phase == "Failed"
        if not ended_badly and not (trace and replica.restarts):
            continue
        failure = Failure(
            replica=replica.name,
            time=seen or replica.finished or float("inf"),
            # A run after the one that failed may have been killed; an uncaught exception always ends with 1.
            exit_code=1 if trace and replica.exit_code in _KILLED else replica.exit_code,
            reason=replica.reason,
            traceback=trace,
            consequence=False,
        )
        said = next((line.text for line in reversed(lines) if line.text.startswith(_LAUNCHER)), "")
        failure = replace(failure, said=said.removeprefix(_LAUNCHER))
        text = failure.error or " ".join(line.text for line in lines[-3:])
        found.append(_judged(failure, text))
    return found


def _judged(failure: Failure, text: str) -> Failure:
    return replace(failure, consequence=bool(_CONSEQUENCE.search(text)))


def _rank_failures(replicas: Sequence[Replica], tails: Tails) -> list[Failure]:
    """Failures of MPI ranks, whose lines came through the launcher and whose exit codes mpirun hides."""
    if not any(one.exit_code not in (None, 0) or one.phase == "Failed" for one in replicas):
        return []
    found = []
    for name, lines in tails.items():
        trace, seen = traceback_in(lines) if name.startswith("rank-") else ("", None)
        if trace:
            failure = Failure(name, seen or float("inf"), 1, "Error", trace, consequence=False)
            found.append(_judged(failure, failure.error))
    return found


def _deadline(job: Mapping[str, Any]) -> int | None:
    spec = job.get("spec") or {}
    for part in (spec.get("runPolicy"), spec.get("master"), spec):
        if isinstance(part, Mapping) and part.get("activeDeadlineSeconds"):
            return int(part["activeDeadlineSeconds"])
    return None


def _again(message: str) -> str:
    return "raise --retries if it may succeed when tried again" if "backoff" in message.lower() else ""


# Waiting


def _image(case: Case) -> Explanation | None:
    for replica in case.replicas:
        if replica.reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
            told = next((e.message for e in case.events if e.about.name == replica.pod and e.reason == "Failed"), "")
            detail = told or replica.message
            return Explanation(
                f"{replica.name} waits for its image {_image_of(case.job)}, which cannot be pulled"
                + (f": {detail}" if detail else "."),
                _image_hint(detail),
                replica.name,
            )
    return None


def _image_hint(detail: str) -> str:
    if "environment" in detail:
        return "its packages could not be installed: is a package index within reach? It is tried again by itself"
    return "name one that the cluster can reach with --image; is a pull secret missing?"


def _mount(case: Case) -> Explanation | None:
    waiting = {replica.pod: replica for replica in case.replicas if replica.phase == "Pending" and replica.pod}
    claim = training.output_claim_of(case.job)
    for event in reversed(case.events):
        if event.reason in ("FailedMount", "FailedAttachVolume") and event.about.name in waiting:
            return Explanation(
                f"{waiting[event.about.name].name} waits for a volume: {event.message}",
                "does the volume exist, and may several machines mount it at once?",
                waiting[event.about.name].name,
            )
        if event.reason in ("ProvisioningFailed", "FailedBinding") and event.about.name == claim:
            return Explanation(
                f"The folder for the results cannot be made: {event.message}",
                "leave --output out, or ask for a storage class that can be shared between machines",
            )
    return None


def _unschedulable(case: Case) -> Explanation | None:
    told = {e.about.name: e.message for e in case.events if e.reason == "FailedScheduling"}
    waiting = [one for one in case.replicas if one.phase == "Pending" and not one.node and one.pod]
    stuck = [
        one
        for one in waiting
        if one.reason in ("Unschedulable", "SchedulerError", "SchedulingGated") or one.pod in told
    ]
    if not stuck:
        return None
    first = stuck[0]
    message = _PREEMPTION.sub("", told.get(first.pod) or first.message).strip()
    others = f" and {len(stuck) - 1} more" if len(stuck) > 1 else ""
    by_name = {str(meta(pod).get("name")): pod for pod in case.pods}
    return Explanation(
        f"{first.name}{others} cannot be placed on a machine: {message}",
        _scheduling_hint(message, by_name.get(first.pod) or {}),
        first.name,
    )


def _scheduling_hint(message: str, pod: Mapping[str, Any]) -> str:
    wanted = pods.requests_of(pod.get("spec") or {})
    for resource, flag in (("cpu", "--cpu"), ("memory", "--memory"), (pods.GPU, "--gpu")):
        if f"Insufficient {resource}" in message:
            asked = f"each replica asks for {pods.amount(resource, wanted[resource])}; " if resource in wanted else ""
            return f"{asked}ask for less with {flag}, use fewer workers, or wait for other jobs (%kf_jobs) to end"
    if "persistentvolumeclaim" in message.lower():
        return "the results' volume is not there: does the cluster have a default storage class?"
    if "taint" in message or "affinity" in message or "selector" in message:
        return "no machine accepts it: ask the cluster's administrator which ones are meant for such jobs"
    return "wait for other jobs (%kf_jobs) to end, or ask for less"


def _container(case: Case) -> Explanation | None:
    for replica in case.replicas:
        if replica.reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
            return Explanation(
                f"{replica.name} cannot be started: {replica.message or replica.reason}",
                "the pod's events say more: %kf_describe " + str(meta(case.job).get("name", "")),
                replica.name,
            )
    return None


def _refused(case: Case) -> Explanation | None:
    if case.pods:
        return None
    for event in reversed(case.events):
        if event.type == "Warning" and event.reason.startswith("FailedCreate"):
            quota = "exceeded quota" in event.message
            return Explanation(
                f"The replicas cannot be created: {event.message}",
                "ask for less, or delete jobs that are done (%kf_jobs)" if quota else "",
            )
    return None


def _restarted(case: Case) -> Explanation | None:
    again = [one for one in case.replicas if one.restarts and one.phase != "Succeeded"]
    if not again:
        return None
    failure = root_cause(again, case.tails)
    times = "once" if again[0].restarts == 1 else f"{again[0].restarts} times"
    why = ""
    if failure is not None:
        why = f": {failure.error}" if failure.error else f": exit code {failure.exit_code}"
    return Explanation(
        f"{again[0].name} failed and was started again {times}{why}",
        error_hint(failure.error, case.job) if failure and failure.error else "",
        again[0].name,
        failure.traceback if failure else "",
    )


def _warning(case: Case) -> Explanation | None:
    """The newest warning about the job itself, while nothing runs."""
    uid = meta(case.job).get("uid")
    if case.status.phase is Phase.RUNNING:
        return None
    told = [event for event in case.events if event.type == "Warning" and event.about.uid == uid]
    return Explanation(f"{told[-1].reason}: {told[-1].message}") if told else None


def _image_of(job: Mapping[str, Any]) -> str:
    template: Mapping[str, Any] = next(iter(training.templates(job).values()), {})
    containers = (template.get("spec") or {}).get("containers") or [{}]
    return str(containers[0].get("image", ""))


def _memory_limit(job: Mapping[str, Any], replica: str) -> str:
    role = replica.rpartition("-")[0]
    template = training.templates(job).get("worker" if role == "rank" else role, {})
    containers = (template.get("spec") or {}).get("containers") or [{}]
    return str(((containers[0].get("resources") or {}).get("limits") or {}).get("memory") or "")
