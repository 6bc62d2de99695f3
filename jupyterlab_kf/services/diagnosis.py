"""What a cluster has and lacks for each feature, in plain words, and how to get what is missing. Pure.

What an account may not see is "cannot tell" and never "missing". The install commands name the releases that this
project is written for (training operator 1.8.1, mpi-operator 0.6.0); no test runs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from jupyterlab_kf import kinds, quantities
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks
from jupyterlab_kf.model import Obj, labels, meta, parse_time
from jupyterlab_kf.services.roles import ROLES, Right, binding, holding

State = Literal["ok", "lacks", "look", "unknown"]
"""``look`` is for what works but may surprise; ``unknown`` for what the account may not see."""

_BUILT_IN: Final = "+jupyterlab-kf"
"""How a server says in its version that its controllers are part of it."""
_ABSENT: Final = "is not installed"
_SKEW: Final = 30.0
_SILENT: Final = 60.0
"""Seconds after which a job without a status says that nobody looks after its kind."""
_OLDEST: Final = (1, 27)
_SHARED: Final = (
    "nfs", "cephfs", "efs.csi", "file.csi.azure", "filestore.csi", "longhorn", "glusterfs", "portworx", "lustre",
    "weka", "beegfs", "quobyte", "jupyterlab-kf",
)  # fmt: skip
"""Parts of the names of provisioners whose volumes many nodes can write; a class does not say it itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``hint`` is how to get it, where it lacks."""

    state: State
    what: str
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A feature and what it needs. Without an ``essential`` one, nothing can be trained."""

    name: str
    title: str
    findings: tuple[Finding, ...]
    essential: bool = False

    @property
    def state(self) -> State:
        """The worst of its findings."""
        order: tuple[State, ...] = ("lacks", "look", "unknown", "ok")
        return next((state for state in order if any(one.state == state for one in self.findings)), "ok")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. ``ready`` when jobs can be trained here."""

    cluster: str
    why: str
    server: str
    version: str
    namespace: str
    user: str
    sections: tuple[Section, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing essential lacks."""
        return not any(section.essential and section.state == "lacks" for section in self.sections)

    def __repr__(self) -> str:
        states = ", ".join(f"{section.name}: {section.state}" for section in self.sections)
        return f"<Report on {self.cluster}: {states}>"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a cluster answered. None stands for what the account may not see."""

    version: str = ""
    skew: float | None = None
    user: str = ""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """API group -> the versions that are served."""
    resources: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """``group/version`` -> plural names."""
    rights: Mapping[Right, bool | None] = field(default_factory=dict)
    namespace: Obj | None = None
    missing: bool = False
    """The namespace does not exist."""
    quotas: tuple[Obj, ...] | None = None
    nodes: tuple[Obj, ...] | None = None
    classes: tuple[Obj, ...] | None = None
    deployments: tuple[Obj, ...] | None = None
    jobs: tuple[Obj, ...] = ()
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class _Operator:
    """Who looks after kinds: where it is told by name, and how it is installed."""

    name: str
    deployments: tuple[str, ...]
    install: str

    @property
    def called(self) -> str:
        """In a sentence."""
        return f"the {self.name}" if self.name.islower() or self.name.endswith("operator") else self.name


_TRAINING = _Operator(
    "training operator",
    ("training-operator",),
    "kubectl apply --server-side -k "
    '"github.com/kubeflow/training-operator.git/manifests/overlays/standalone?ref=v1.8.1"',
)
_MPI = _Operator(
    "MPI operator",
    ("mpi-operator",),
    "kubectl apply --server-side -f "
    "https://raw.githubusercontent.com/kubeflow/mpi-operator/v0.6.0/deploy/v2beta1/mpi-operator.yaml",
)
_CHAINER = _Operator(
    "chainer operator", ("chainer-operator",), "no cluster of today runs it; use the cluster on this machine"
)
_KATIB = _Operator(
    "Katib",
    ("katib-controller",),
    "kubectl apply --server-side -k "
    '"github.com/kubeflow/katib.git/manifests/v1beta1/installs/katib-standalone?ref=v0.17.0"',
)
_SELDON = _Operator(
    "Seldon Core",
    ("seldon-controller-manager",),
    "helm install seldon-core seldon-core-operator --repo https://storage.googleapis.com/seldon-charts "
    "--namespace seldon-system --create-namespace",
)
_ISTIO = _Operator(
    "Istio",
    ("istiod",),
    "istioctl install --set profile=default\n"
    "or Istio's CustomResourceDefinitions alone and a gateway of ours: kubectl apply -k hub_config/gateway",
)
_GATEWAY = _Operator("gateway", ("istio-ingressgateway",), "kubectl -n istio-system describe pods")
_OPERATORS: Final = {kinds.MPI_JOB_V2: _MPI, kinds.CHAINER_JOB: _CHAINER}

_COMMON: Final = tuple(
    right
    for name in ("kf-viewer", "kf-trainer")
    for right in ROLES[name]
    if right.plural in ("configmaps", "pods") and not right.subresource
)
_LOGS: Final = (Right("get", "", "pods", "log"), Right("list", "", "events"))
_EVERYWHERE: Final = Right("list", kinds.PYTORCH_JOB.group, kinds.PYTORCH_JOB.plural, everywhere=True)


def rights() -> list[Right]:
    """What an account is asked about."""
    return [*dict.fromkeys(right for rights in ROLES.values() for right in rights), _EVERYWHERE]


def diagnose(facts: Facts, *, cluster: str, why: str, server: str, namespace: str) -> Report:
    """What the facts mean for each feature."""
    sections = (
        Section("connection", "Connection", tuple(_connection(facts, namespace)), essential=True),
        Section("training", "Training", tuple(_training(facts, namespace)), essential=True),
        Section("logs", "Logs and events", tuple(_allowed(facts, _LOGS, namespace, "read logs and events"))),
        Section("results", "Results", tuple(_results(facts, namespace))),
        Section("panels", "Panels", tuple(_panels(facts, namespace))),
        Section("hardware", "Hardware and quotas", tuple(_hardware(facts, namespace))),
        Section("studies", "Studies", tuple(_studies(facts, namespace))),
        Section("serving", "Serving", tuple(_serving(facts, namespace))),
        Section("kernels", "Kernels", tuple(_kernels(facts, namespace))),
        Section("routes", "Routes", tuple(_routes(facts))),
    )
    return Report(cluster, why, server, facts.version, namespace, facts.user, sections)


def _connection(facts: Facts, namespace: str) -> Iterator[Finding]:
    numbers = facts.version.lstrip("v").split(".")
    known = tuple(int(part) for part in numbers[:2]) if all(part.isdigit() for part in numbers[:2]) else None
    if known is not None and known < _OLDEST:
        hint = f"Kubernetes {_OLDEST[0]}.{_OLDEST[1]} or newer is needed for what is asked and applied here"
        yield Finding("look", "Server", f"Kubernetes {facts.version} is old", hint)
    else:
        yield Finding("ok", "Server", f"Kubernetes {facts.version}")
    if facts.user:
        yield Finding("ok", "Account", facts.user)
    if facts.skew is None:
        yield Finding("unknown", "Clocks", "the server does not say what time it is")
    elif abs(facts.skew) > _SKEW:
        side = "behind" if facts.skew > 0 else "ahead of"
        yield Finding(
            "look", "Clocks", f"this machine is {abs(facts.skew):.0f} s {side} the server",
            "set this machine's clock: tokens may be refused and ages shown wrong",
        )  # fmt: skip
    else:
        yield Finding("ok", "Clocks", "they agree")
    if facts.missing:
        hint = f"kubectl create namespace {namespace}, or choose another: %kf_cluster use NAME --namespace NAMESPACE"
        yield Finding("lacks", "Namespace", f"{namespace} does not exist", hint)
    elif (meta(facts.namespace or {})).get("deletionTimestamp"):
        yield Finding("lacks", "Namespace", f"{namespace} is being deleted", "choose another one")
    else:
        yield Finding("ok", "Namespace", namespace)


def _training(facts: Facts, namespace: str) -> Iterator[Finding]:
    usable = known = 0
    for row in frameworks.FRAMEWORKS:
        family = [kind for kind in kinds.TRAINING if kind.kind == row.kind.kind]
        served = [kind for kind in family if kind.plural in facts.resources.get(kind.api_version, ())]
        if not served:
            operator = _OPERATORS.get(row.kind, _TRAINING)
            yield Finding("look", row.title, f"{row.kind.kind} is not served", operator.install)
            continue
        known += 1
        kind = served[0]
        operator = _OPERATORS.get(kind, _TRAINING)
        missing = [one for one in _of(facts, kind) if facts.rights.get(one) is False]
        if missing:
            detail = f"{kind.kind} {kind.version}; you may not {_listed(missing)} in {namespace}"
            yield Finding("look", row.title, detail, _grant(facts, missing, namespace))
            continue
        state, said = _running(facts, operator, kind)
        lacks = state == "lacks"
        usable += not lacks
        # One kind that cannot be used is not the end: the sentence below is, when none can.
        detail = f"{kind.kind} {kind.version}; {said}"
        yield Finding("look" if lacks else state, row.title, detail, operator.install if lacks else "")
    if not usable:
        # Where some are served, what lacks is said with each.
        hint = "" if known else _TRAINING.install
        yield Finding("lacks", "Frameworks", "no kind of training job can be used here", hint)
    yield from _allowed(facts, _COMMON, namespace, "ship code and see pods")
    yield _pod_security(facts)


def _of(facts: Facts, kind: Kind) -> list[Right]:
    return [one for one in facts.rights if (one.group, one.plural) == (kind.group, kind.plural) and not one.everywhere]


def _running(facts: Facts, operator: _Operator, kind: Kind | None) -> tuple[State, str]:
    """Whether an operator runs: by its Deployment where that may be seen, else by what it has done."""
    if _BUILT_IN in facts.version:
        return "ok", "its controller is part of this cluster"
    return _deployed(facts, operator) or _seen_at_work(facts, operator, kind)


def _deployed(facts: Facts, operator: _Operator) -> tuple[State, str] | None:
    for deployment in facts.deployments or ():
        if meta(deployment).get("name") in operator.deployments:
            ready = int((deployment.get("status") or {}).get("readyReplicas") or 0)
            where = f"{meta(deployment).get('namespace')}/{meta(deployment).get('name')}"
            if ready:
                return "ok", f"{operator.name} runs ({where})"
            return "lacks", f"{operator.name} is installed ({where}), but none of its pods is ready"
    return None


def _seen_at_work(facts: Facts, operator: _Operator, kind: Kind | None) -> tuple[State, str]:
    mine = [job for job in facts.jobs if kind is not None and job.get("kind") == kind.kind]
    if any((job.get("status") or {}).get("conditions") for job in mine):
        return "ok", f"{operator.name} has looked after jobs here"
    if any(facts.now - (parse_time(meta(job).get("creationTimestamp")) or facts.now) > _SILENT for job in mine):
        return "lacks", f"nobody looks after it: a job has no status after {_SILENT:.0f} s"
    if facts.deployments is None:
        return (
            "unknown",
            f"cannot tell whether {operator.called} runs: you may not see Deployments, and no job is here",
        )
    return "look", f"no Deployment of {operator.called} is to be seen; it may run under another name"


def _allowed(facts: Facts, rights: Iterable[Right], namespace: str, purpose: str) -> Iterator[Finding]:
    asked = {right: facts.rights.get(right) for right in rights}
    if refused := [right for right, may in asked.items() if may is False]:
        said = f"you may not {_listed(refused)} in {namespace}"
        yield Finding("lacks", "Rights", said, _grant(facts, refused, namespace))
    elif None in asked.values():
        yield Finding("unknown", "Rights", "the server does not say what you may do")
    else:
        yield Finding("ok", "Rights", f"you may {purpose}")


def _grant(facts: Facts, rights: Iterable[Right], namespace: str) -> str:
    """What an administrator is to do: the roles that hold the rights, and a command for each."""
    names = holding(rights)
    roles = f"the role {names[0]}" if len(names) == 1 else f"the roles {' and '.join(names)}"
    commands = [binding(name, facts.user, namespace) for name in names]
    return "\n".join([f"an administrator gives you {roles} of hub_config/rbac:", *commands])


def _listed(rights: Iterable[Right]) -> str:
    """``create, get pods or list events``: verbs of one thing together."""
    things: dict[str, list[str]] = {}
    for right in rights:
        verb, _, thing = str(right).partition(" ")
        things.setdefault(thing, []).append(verb)
    said = [f"{', '.join(verbs)} {thing}" for thing, verbs in things.items()]
    return said[0] if len(said) == 1 else f"{'; '.join(said[:-1])} or {said[-1]}"


def _pod_security(facts: Facts) -> Finding:
    if facts.namespace is None:
        return Finding("unknown", "Pod Security", "you may not see the namespace's labels")
    level = labels(facts.namespace).get("pod-security.kubernetes.io/enforce", "")
    if not level:
        return Finding("ok", "Pod Security", "the namespace demands nothing")
    return Finding("ok", "Pod Security", f"the namespace demands {level!r}, which the pods made here meet")


def _results(facts: Facts, namespace: str) -> Iterator[Finding]:
    yield from _allowed(facts, ROLES["kf-results"], namespace, "make volumes for results, and read them back")
    if facts.classes is None:
        yield Finding("unknown", "Storage", "you may not see the storage classes")
        return
    default = next((one for one in facts.classes if _is_default(one)), None)
    names = ", ".join(str(meta(one).get("name")) for one in facts.classes)
    hint = "an administrator marks one with storageclass.kubernetes.io/is-default-class: true"
    if _BUILT_IN in facts.version and not facts.classes:
        yield Finding("ok", "Storage", "folders of this machine, shared by all replicas")
        return
    if default is None:
        detail = f"no storage class is the default (there are: {names})" if names else "there is no storage class"
        yield Finding(
            "look",
            "Storage",
            f"{detail}; results come back through the logs, or on a volume that you name (--volume CLAIM)",
            hint,
        )
        return
    provisioner = str(default.get("provisioner") or "")
    name = meta(default).get("name")
    if any(part in provisioner for part in _SHARED):
        yield Finding("ok", "Storage", f"{name} ({provisioner}): volumes that all replicas can write")
    else:
        yield Finding(
            "unknown", "Storage", f"{name} ({provisioner}): cannot tell whether several nodes can write one volume",
            "results of one replica are safe; for several, an administrator can add a class with ReadWriteMany (NFS)",
        )  # fmt: skip


def _is_default(found: Obj) -> bool:
    return (meta(found).get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"


def _panels(facts: Facts, namespace: str) -> Iterator[Finding]:
    watch_right = Right("watch", kinds.PYTORCH_JOB.group, kinds.PYTORCH_JOB.plural)
    everywhere, watch = facts.rights.get(_EVERYWHERE), facts.rights.get(watch_right)
    if everywhere:
        yield Finding("ok", "Jobs", "those of all namespaces are shown")
    elif watch:
        yield Finding("ok", "Jobs", f"those of {namespace} are shown; you may not list others")
    elif watch is None:
        yield Finding("unknown", "Jobs", "the server does not say what you may see")
    else:
        yield Finding(
            "lacks", "Jobs", f"you may not watch jobs in {namespace}", _grant(facts, [watch_right], namespace)
        )


def _hardware(facts: Facts, namespace: str) -> Iterator[Finding]:
    if facts.nodes is None:
        yield Finding("unknown", "Machines", "you may not see the nodes; what does not fit is told by the scheduler")
    else:
        ready = [node for node in facts.nodes if _ready(node)]
        state: State = "ok" if ready else "lacks"
        yield Finding(
            state, "Machines", f"{len(ready)} of {len(facts.nodes)} are ready", "" if ready else "no job can run"
        )
        gpus = _gpus(ready)
        if gpus:
            yield Finding("ok", "GPUs", ", ".join(f"{count} of {name}" for name, count in sorted(gpus.items())))
        else:
            hint = "where machines have GPUs, an administrator installs their device plugin (NVIDIA: gpu-operator)"
            yield Finding("look", "GPUs", "no machine offers any", hint)
    if facts.quotas is None:
        yield Finding("unknown", "Quota", f"you may not see the quotas of {namespace}")
        return
    said = [part for quota in facts.quotas for part in _quota(quota)]
    if not facts.quotas:
        yield Finding("ok", "Quota", f"{namespace} has none")
    for full, detail in said:
        hint = "delete finished jobs, or ask an administrator for more" if full else ""
        yield Finding("look" if full else "ok", "Quota", detail, hint)


def _quota(quota: Obj) -> Iterator[tuple[bool, str]]:
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    for name, most in sorted(hard.items()):
        have = used.get(name, "0")
        yield quantities.parse(str(have)) >= quantities.parse(str(most)), f"{name}: {have} of {most} used"


def _ready(node: Obj) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _gpus(nodes: Iterable[Obj]) -> dict[str, int]:
    total: dict[str, int] = {}
    for node in nodes:
        for name, amount in ((node.get("status") or {}).get("allocatable") or {}).items():
            if "gpu" in name and str(amount).isdigit() and int(amount):
                total[name] = total.get(name, 0) + int(amount)
    return total


def _studies(facts: Facts, namespace: str) -> Iterator[Finding]:
    yield from (found := list(_optional(facts, "kubeflow.org", ("v1beta1", "experiments"), _KATIB)))
    if found[0].detail != _ABSENT:
        yield from _allowed(facts, ROLES["kf-studies"], namespace, "make studies and see their trials")


def _serving(facts: Facts, namespace: str) -> Iterator[Finding]:
    yield from (found := list(_optional(facts, "machinelearning.seldon.io", None, _SELDON)))
    if found[0].detail != _ABSENT:
        yield from _allowed(facts, ROLES["kf-serving"], namespace, "serve models and ask them")
        yield from _allowed(facts, ROLES["kf-monitoring"], namespace, "have endpoints watched")


def _kernels(facts: Facts, namespace: str) -> Iterator[Finding]:
    yield from _allowed(facts, ROLES["kf-kernels"], namespace, "run kernels in pods of their own")


def _routes(facts: Facts) -> Iterator[Finding]:
    """Istio, or where it is not the gateway that obeys its objects: without either nobody does."""
    group, alone = "networking.istio.io", _deployed(facts, _ISTIO) is None
    found = _deployed(facts, _GATEWAY) if alone and _BUILT_IN not in facts.version else None
    if found is None or group not in facts.groups:
        yield from _optional(facts, group, None, _ISTIO)
        return
    state, said = found
    detail = f"{group} {', '.join(facts.groups[group])}; without Istio, a {said}"
    yield Finding(state, "Gateway", detail, _GATEWAY.install if state == "lacks" else "")


def _optional(facts: Facts, group: str, resource: tuple[str, str] | None, operator: _Operator) -> Iterator[Finding]:
    versions = facts.groups.get(group, ())
    if resource is not None:
        served = resource[1] in facts.resources.get(f"{group}/{resource[0]}", ())
        versions = (resource[0],) if served else ()
    if not versions:
        yield Finding("look", operator.name, _ABSENT, operator.install)
        return
    state, said = _running(facts, operator, None)
    yield Finding(
        state, operator.name, f"{group} {', '.join(versions)}; {said}", operator.install if state == "lacks" else ""
    )
