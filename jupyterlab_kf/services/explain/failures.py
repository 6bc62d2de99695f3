"""What to say of what ran and failed, was ended, or is started again and again; and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.model import Cause, Explanation, Replica
from jupyterlab_kf.services.explain.case import Case, who
from jupyterlab_kf.services.explain.roots import ERROR, Failure, root_cause
from jupyterlab_kf.services.explain.waiting import cannot_start

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


_NOT_INSTALLED: Final = "cannot install "
"""How the installer in a pod begins what it says at its end."""
_NOT_STARTED: Final = ("StartError", "ContainerCannotRun")
_DISRUPTIONS: Final[Mapping[str, tuple[Cause, str]]] = {
    "PreemptionByScheduler": (Cause.PREEMPTED, "made room for pods of a higher priority"),
    "EvictionByEvictionAPI": (Cause.EVICTED, "was moved off its node, as is done before maintenance"),
    "DeletionByTaintManager": (Cause.EVICTED, "was removed from its node, which does not take such pods any more"),
    "DeletionByPodGC": (Cause.NODE_LOST, "was on a node that is gone"),
}
"""Reasons of a pod's condition DisruptionTarget."""


def failed(case: Case) -> Explanation:
    """Why a job has failed."""
    if "deadline" in f"{case.status.reason} {case.status.message}".lower():
        seconds = _deadline(case.job)
        after = f" of {seconds} s" if seconds else ""
        return Explanation(
            f"The job was ended because it ran longer than its deadline{after}.",
            "give it more with --deadline",
            cause=Cause.DEADLINE,
        )
    failure = root_cause(case.replicas, case.tails)
    if (failure is None or not failure.traceback) and (ended := _ended_from_outside(case)):
        return ended
    if failure is not None:
        return _of_failure(case, failure)
    invalid = "validation" in case.status.reason.lower()
    return Explanation(
        case.status.message or "The job failed; its conditions do not say why.",
        _again(case.status.message),
        cause=Cause.INVALID if invalid else Cause.OTHER,
    )


def _ended_from_outside(case: Case) -> Explanation | None:
    """A replica that did not end by itself: its node was shut down or was short of something."""
    for pod in case.pods:
        status = pod.get("status") or {}
        reason, message = str(status.get("reason", "")), str(status.get("message", ""))
        if reason == "Terminated" and "node shutdown" in message:
            node = (pod.get("spec") or {}).get("nodeName", "")
            return Explanation(
                f"The job was ended because node {node} was shut down.",
                "nothing is wrong with its code: run it again",
                cause=Cause.NODE_SHUTDOWN,
            )
    for replica in case.replicas:
        if replica.reason == "Evicted":
            return _evicted(replica)
    return lost(case)


def _evicted(replica: Replica) -> Explanation:
    """A kubelet ended the pod because it used more of something than it may, or than there is."""
    message = replica.message.strip().rstrip(".")
    hint = "run it again; if it happens again, ask for the memory it needs with --memory"
    if "EmptyDir" in message or "ephemeral" in message:
        hint = "write less to the local disk, or to the folder of the results (--output)"
    return Explanation(
        f"{replica.name} was evicted from its node{f': {message}' if message else ''}.",
        hint,
        replica.name,
        cause=Cause.EVICTED,
    )


def lost(case: Case) -> Explanation | None:
    """Replicas whose node does not answer any more, or that were taken off it."""
    for replica in case.replicas:
        pod = case.pod(replica)
        conditions = {one.get("type"): one for one in (pod.get("status") or {}).get("conditions") or ()}
        disruption = conditions.get("DisruptionTarget") or {}
        if disruption.get("status") == "True" and (told := _DISRUPTIONS.get(str(disruption.get("reason")))):
            cause, what = told
            hint = "nothing is wrong with its code: run it again, with --retries if it shall go on by itself"
            if case.served:
                hint = "nothing is wrong with its code: another one is started in its place"
            return Explanation(f"{replica.name} {what}.", hint, replica.name, cause=cause)
    away = [one for one in case.replicas if one.phase == "Running" and _silent(case, one)]
    if not away:
        return None
    return Explanation(
        f"{who(away)} ran on node {away[0].node}, which does not answer any more.",
        "if the machine stays away, the cluster replaces what ran on it after some minutes",
        away[0].name,
        cause=Cause.NODE_LOST,
    )


def _silent(case: Case, replica: Replica) -> bool:
    """Whether a running replica's node has stopped to tell of it: the control plane then says it is not ready."""
    pod = case.pod(replica)
    ready = any(
        one.get("type") == "Ready" and one.get("status") == "False"
        for one in (pod.get("status") or {}).get("conditions") or ()
    )
    return ready and any(event.reason == "NodeNotReady" for event in case.about(replica.pod))


def restarted(case: Case) -> Explanation | None:
    """Replicas that failed and were started again."""
    again = [one for one in case.replicas if one.restarts and one.phase != "Succeeded"]
    if not again:
        return None
    first = again[0]
    failure = root_cause(again, case.tails)
    times = "once" if first.restarts == 1 else f"{first.restarts} times"
    if case.ended(first).get("reason") == "OOMKilled":
        found = _out_of_memory(case, first.name)
        sentence = f"{found.sentence.rstrip('.')}, and was started again {times}."
        return Explanation(sentence, found.hint, first.name, cause=Cause.OUT_OF_MEMORY)
    why = ""
    hint = ""
    if failure is not None:
        code = failure.exit_code
        meaning = exit_meaning(code)
        said = failure.error or failure.said
        why = f": {said}" if said else f": exit code {code}{f', {meaning}' if meaning else ''}"
        missing = failure.said.startswith(_NOT_INSTALLED)
        hint = install_hint(failure.said) if missing else error_hint(failure.error, case.image(), served=case.served)
    return Explanation(
        f"{first.name} failed and was started again {times}{why}",
        hint,
        first.name,
        failure.traceback if failure else "",
        Cause.CRASH_LOOP,
    )


def _of_failure(case: Case, failure: Failure) -> Explanation:
    name = failure.replica
    replica = next((one for one in case.replicas if one.name == name), None)
    if failure.reason == "OOMKilled":
        found = _out_of_memory(case, name)
        return Explanation(found.sentence, found.hint, name, failure.traceback, Cause.OUT_OF_MEMORY)
    if failure.traceback:
        where = f" ({failure.place})" if failure.place else ""
        return Explanation(
            f"{name} failed: {failure.error}{where}",
            error_hint(failure.error, case.image(), served=case.served),
            name,
            failure.traceback,
            Cause.PYTHON_ERROR,
        )
    if replica is not None and failure.reason in _NOT_STARTED:
        return cannot_start(case, replica, replica.message or failure.reason)
    code = failure.exit_code
    if failure.said:
        return _given_up(name, failure.said)
    if code is None:
        said = ": ".join(text for text in (failure.reason, replica.message if replica else "") if text)
        return Explanation(f"{name} failed{f': {said}' if said else ''}.", "", name)
    meaning = exit_meaning(code)
    return Explanation(
        f"{name} ended with exit code {code}{f': {meaning}' if meaning else ''}.",
        f"look at its last lines: %kf_logs {case.name} --replica {name}",
        name,
        cause=Cause.EXIT_CODE,
    )


def _given_up(name: str, said: str) -> Explanation:
    """What our own launcher said when it did not start the code."""
    if said.startswith(_NOT_INSTALLED):
        return Explanation(f"{name} could not start: {said}", install_hint(said), name, cause=Cause.NOT_INSTALLED)
    return Explanation(f"{name} failed: {said}", "", name, cause=Cause.EXIT_CODE)


def _out_of_memory(case: Case, name: str) -> Explanation:
    limit = case.limit(name, "memory")
    return Explanation(
        f"{name} was ended because it used more memory than its limit{f' of {limit}' if limit else ''}.",
        "ask for more with --memory, or use smaller batches",
    )


def exit_meaning(code: int | None) -> str:
    """What an exit code says by convention; empty when it says nothing."""
    return _EXIT_CODES.get(code, "") if code is not None else ""


def install_hint(said: str) -> str:
    """What to do about a package that could not be installed."""
    if "index cannot be reached" in said:
        return (
            "name an index that pods may reach, in the profile's environment or with --env: PIP_INDEX_URL=https://..., "
            "or PIP_FIND_LINKS=FOLDER; or choose an image that has the package with --image"
        )
    if "no such version" in said or "no package of that name" in said:
        return "check its name and version (--install NAME==VERSION); PIP_INDEX_URL says which index is asked"
    return "choose an image that has it with --image, or another version: --install NAME==VERSION"


_ELSEWHERE: Final = (
    "the image {image} has no {module!r}: have it installed at start with --install, choose an image that has it with "
    "--image, or "
)
_NOT_THERE: Final = "a {noun} does not see the notebook's variables: define {name!r} in "
_NO_FILE: Final = "a {noun} has no files of the notebook's folder but those that "
_ERROR_HINTS: Final[Mapping[str, tuple[str, str]]] = {
    "ModuleNotFoundError": (
        f"{_ELSEWHERE}ship your own module with --files",
        f"{_ELSEWHERE}serve from the folder that has your own module, which then goes along",
    ),
    "NameError": (
        f"{_NOT_THERE}the code, or pass it with --param {{name}}",
        f"{_NOT_THERE}the class's own cell or file, or give it to the class with params (--param)",
    ),
    "FileNotFoundError": (f"{_NO_FILE}--files ships", f"{_NO_FILE}files=[...] (--files) ships"),
    "ConnectionRefusedError": (
        "is the service up, and may the job's namespace reach it?",
        "is the service up, and may the endpoint's namespace reach it?",
    ),
    "OutOfMemoryError": ("use smaller batches, or ask for a larger GPU",) * 2,
}
"""What to do about an error of a job, and of an endpoint's server."""
_LIKE: Final[Mapping[str, str]] = {"UnboundLocalError": "NameError", "gaierror": "ConnectionRefusedError"}


def error_hint(error: str, image: str, *, served: bool = False) -> str:
    """What to do about a Python error, where that can be said; ``served`` says that it is an endpoint's."""
    match = ERROR.match(error)
    kind, text = (match["type"].rpartition(".")[2], match["text"] or "") if match else ("", error)
    kind = "OutOfMemoryError" if "CUDA out of memory" in error else _LIKE.get(kind, kind)
    quoted = re.search(r"'([^']+)'", text)
    name = quoted.group(1) if quoted else ""
    if kind == "NameError" and not name:
        return ""
    hint = _ERROR_HINTS.get(kind, ("", ""))[served]
    noun = "server" if served else "job"
    return hint.format(image=image, module=name.split(".")[0], name=name, noun=noun)


def _deadline(job: Mapping[str, Any]) -> int | None:
    spec = job.get("spec") or {}
    for part in (spec.get("runPolicy"), spec.get("master"), spec):
        if isinstance(part, Mapping) and part.get("activeDeadlineSeconds"):
            return int(part["activeDeadlineSeconds"])
    return None


def _again(message: str) -> str:
    return "raise --retries if it may succeed when tried again" if "backoff" in message.lower() else ""
