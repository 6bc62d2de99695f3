"""Why replicas that were accepted do not run: each rule looks at one reason and answers, or leaves it to the next.

Owns the reading of a kubelet's waiting reasons, of the events about volumes and of refusals by quotas and admission.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from jupyterlab_kf.manifests import pods, training
from jupyterlab_kf.model import Cause, Event, Explanation, Phase, Replica, meta
from jupyterlab_kf.services.explain.case import Case

ABSENT_AFTER: Final = 20.0
"""Seconds after which a job that nobody has taken up has no operator: one that runs answers within a second."""

NO_CLAIM: Final = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" (?:not found|is being deleted)')
_PULLING: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_STARTING: Final = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError")
_CONFIG: Final = re.compile(r'(?P<kind>configmap|secret)s? "(?P<name>[^"]+)" not found', re.IGNORECASE)
_KEY: Final = re.compile(r"couldn't find key (?P<key>\S+) in (?P<kind>ConfigMap|Secret) (?P<name>\S+)")
_REFERENCE: Final = re.compile(r"references non-existent (?P<kind>config|secret) key: (?P<key>\S+)")
_QUOTA: Final = re.compile(
    r"exceeded quota: (?P<name>[^,]+), requested: (?P<requested>.+?), used: (?P<used>.+?), limited: (?P<limited>\S+)"
)
_SECURITY: Final = re.compile(r'violates PodSecurity "(?P<level>[^":]+)[^"]*": (?P<rules>.+)$', re.DOTALL)
_NO_ACCOUNT: Final = re.compile(r'serviceaccount "(?P<name>[^"]+)" not found')
_FORBIDDEN: Final = re.compile(r"is forbidden: (?P<why>.+)$", re.DOTALL)
_VALIDATION: Final = re.compile(r"^(?:\w+ failed validation because|Found validation errors:)\s*")
_DENIED: Final = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request: (?P<why>.+)$', re.DOTALL)


def image(case: Case) -> Explanation | None:
    """The image cannot be had."""
    for replica in case.replicas:
        if replica.reason not in _PULLING:
            continue
        told = next((e.message for e in case.about(replica.pod) if e.reason == "Failed" and "image" in e.message), "")
        told = told or next((e.message for e in case.about(replica.pod) if e.reason == "Failed"), "")
        detail = told or replica.message
        return Explanation(
            f"{replica.name} waits for its image {case.image()}, which cannot be pulled"
            + (f": {detail}" if detail else "."),
            _image_hint(detail),
            replica.name,
            cause=Cause.IMAGE_PULL,
        )
    return None


def _image_hint(detail: str) -> str:
    if "environment" in detail:
        return "its packages could not be installed: is a package index within reach? It is tried again by itself"
    return "name one that the cluster can reach with --image; is a pull secret missing?"


def config(case: Case) -> Explanation | None:
    """A ConfigMap or Secret that a replica needs is not there, or lacks a key."""
    for replica in case.replicas:
        if replica.phase != "Pending" or not replica.pod:
            continue
        mounts = [e.message for e in case.about(replica.pod) if e.reason == "FailedMount"]
        for text in (replica.message, *reversed(mounts)):
            found = _missing(text)
            if found and (replica.reason == "CreateContainerConfigError" or text in mounts):
                kind, what = found
                return Explanation(
                    f"{replica.name} waits for {what}, which does not exist.",
                    f"create it in namespace {meta(case.job).get('namespace', '')}: "
                    f"kubectl get {kind.lower()}s lists those there are",
                    replica.name,
                    cause=Cause.CONFIG_MISSING,
                )
    return None


def _missing(text: str) -> tuple[str, str] | None:
    """Kind and name of what a kubelet misses."""
    names = {"configmap": "ConfigMap", "secret": "Secret", "config": "ConfigMap"}
    if found := _CONFIG.search(text):
        kind = names[found["kind"].lower()]
        return kind, f"the {kind} {found['name']!r}"
    if found := _KEY.search(text):
        name = found["name"].rpartition("/")[2]
        return found["kind"], f"the key {found['key']!r} of the {found['kind']} {name!r}"
    if found := _REFERENCE.search(text):
        kind = names[found["kind"]]
        return kind, f"the key {found['key']!r} of a {kind}"
    return None


def volume(case: Case) -> Explanation | None:
    """A volume cannot be made, attached or mounted."""
    waiting = {replica.pod: replica for replica in case.replicas if replica.phase == "Pending" and replica.pod}
    claims = training.claims_of(case.job)
    if not waiting and all(replica.pod for replica in case.replicas):
        return None
    for event in reversed(case.events):
        if event.reason in ("FailedMount", "FailedAttachVolume") and event.about.name in waiting:
            return _mount(case, waiting[event.about.name], event)
        if event.reason in ("ProvisioningFailed", "FailedBinding") and event.about.name in claims:
            mine = (output := training.output_of(case.job)) is not None and event.about.name == output.claim
            what = "folder for the results" if mine else f"volume of claim {event.about.name!r}"
            return Explanation(
                f"The {what} cannot be made: {event.message}",
                "leave --output out, or ask for a storage class that can be shared between machines",
                cause=Cause.VOLUME_PROVISIONING,
            )
    return None


def claim_missing(case: Case, replica: Replica, claim: str) -> Explanation:
    """A volume claim that nobody made; a scheduler says so, or a kubelet."""
    return Explanation(
        f"{replica.name} waits for the volume claim {claim!r}, which does not exist.",
        f"create it (kubectl get pvc lists those there are), or leave it out of the {case.noun} {case.name}",
        replica.name,
        cause=Cause.VOLUME_MISSING,
    )


def _mount(case: Case, replica: Replica, event: Event) -> Explanation:
    if found := NO_CLAIM.search(event.message):
        return claim_missing(case, replica, found["name"])
    return Explanation(
        f"{replica.name} waits for a volume: {event.message}",
        "does the volume exist, and may several machines mount it at once?",
        replica.name,
        cause=Cause.VOLUME_MOUNT,
    )


def container(case: Case) -> Explanation | None:
    """The container cannot be started."""
    for replica in case.replicas:
        if replica.reason in _STARTING:
            return cannot_start(case, replica, replica.message or replica.reason)
    return None


def cannot_start(case: Case, replica: Replica, said: str) -> Explanation:
    """A container that its machine could not start."""
    look = f"kubectl describe pod {replica.pod}" if case.served else f"%kf_describe {case.name}"
    hint = f"the pod's events say more: {look}"
    if "run as root" in said or "non-numeric user" in said:
        hint = "the image runs as root, which the cluster does not allow: name another with --image"
    elif "executable file not found" in said or "no such file" in said:
        hint = f"the image {case.image()} does not have that program: name another with --image"
    return Explanation(f"{replica.name} cannot be started: {said}", hint, replica.name, cause=Cause.CANNOT_START)


def refused(case: Case) -> Explanation | None:
    """Pods that the API server did not take: a quota, Pod Security, a limit range, a webhook."""
    if case.replicas and all(replica.phase != "Waiting" for replica in case.replicas):
        return None
    for event in reversed(case.said_of_job()):
        if event.reason.startswith("FailedCreate"):
            return _quota(event.message) or _admission(event.message)
    return None


def _quota(message: str) -> Explanation | None:
    if "exceeded quota" not in message:
        return None
    found = _QUOTA.search(message)
    if found is None:
        return Explanation(
            f"The replicas cannot be created: {message}",
            "ask for less, or delete jobs that are done (%kf_jobs)",
            cause=Cause.QUOTA,
        )
    requested, used, limited = (_amounts(found[part]) for part in ("requested", "used", "limited"))
    over = [name for name, most in limited.items() if _over(requested.get(name, "0"), most)]
    told = "; ".join(
        f"{name} {requested.get(name, '?')} more on top of {used.get(name, '?')}, of {most}"
        for name, most in limited.items()
    )
    hint = "wait for jobs to end, or delete those that are done (%kf_jobs)"
    if over:
        hint = "ask for less with --cpu, --memory or --gpu, or ask an administrator for a larger quota"
    return Explanation(f"The replicas exceed the namespace's quota {found['name']!r}: {told}.", hint, cause=Cause.QUOTA)


def _amounts(text: str) -> Mapping[str, str]:
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def _over(requested: str, limit: str) -> bool:
    """Whether a single replica asks for more than the whole quota."""
    return pods.quantity(requested, "quota") > pods.quantity(limit, "quota")


def _admission(message: str) -> Explanation:
    if found := _SECURITY.search(message):
        rules = re.sub(r"\s*\((?:[^()]|\([^()]*\))*\)", "", found["rules"]).strip().rstrip(".")
        return Explanation(
            f"The namespace takes only pods that pass Pod Security {found['level']!r}, and these do not: {rules}.",
            "ask an administrator for a namespace that allows it, or leave out what the pods ask for",
            cause=Cause.ADMISSION,
        )
    if found := _DENIED.search(message):
        return Explanation(
            f"The replicas are refused by the cluster's rule {found['name']!r}: {found['why']}",
            "ask the cluster's administrator what the rule asks for",
            cause=Cause.ADMISSION,
        )
    if found := _NO_ACCOUNT.search(message):
        return Explanation(
            f"The replicas cannot be created: there is no service account {found['name']!r}.",
            "create it, or leave serviceAccountName out of the job",
            cause=Cause.ADMISSION,
        )
    found = _FORBIDDEN.search(message)
    return Explanation(
        f"The replicas cannot be created: {found['why'] if found else message}",
        "ask the cluster's administrator",
        cause=Cause.ADMISSION,
    )


def invalid(case: Case) -> Explanation | None:
    """An operator that looked at the manifest, said what is wrong with it, and does nothing more."""
    for event in reversed(case.said_of_job()):
        # training operator: MPIJobFailedValidation, of an MXJob too; mpi-operator: ValidationError.
        if event.reason.endswith(("FailedValidation", "ValidationError")):
            said = _VALIDATION.sub("", event.message).strip().rstrip(".")
            return Explanation(
                f"The operator does not take the job, because its manifest is wrong: {said}.",
                "correct it and submit it again: nothing will happen with this one",
                cause=Cause.INVALID,
            )
    return None


def operator(case: Case) -> Explanation | None:
    """Nobody has taken the job up: the API server knows its kind, but no operator looks after it."""
    created = case.status.created
    if not case.now or created is None or case.job.get("status") or case.pods or case.now - created < ABSENT_AFTER:
        return None
    return Explanation(
        f"Nobody has taken the job up for {_seconds(case.now - created)}: "
        f"it seems that no operator of {case.job.get('kind')}s runs on this cluster.",
        "jupyter kf doctor tells what the cluster lacks; an administrator can start the operator, "
        "and then the job goes on by itself",
        cause=Cause.OPERATOR_ABSENT,
    )


def _seconds(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004  two minutes
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes"


def warning(case: Case) -> Explanation | None:
    """The newest warning about the job itself, while nothing runs."""
    if case.status.phase is Phase.RUNNING:
        return None
    told = case.said_of_job()
    return Explanation(f"{told[-1].reason}: {told[-1].message}") if told else None
