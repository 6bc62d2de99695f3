"""The table of every Kubernetes kind we speak: group, version, plural, scope. Pure data and path building.

One row is all that discovery, URL building, the client and the embedded API server need to know about a kind's
address. What a kind means is elsewhere (codecs, controllers, schemas). Sources: Kubernetes 1.36 API discovery;
Kubeflow training-operator 1.8.1; chainer-operator v1alpha1; Katib 0.19; Seldon Core 1.17.1; Istio 1.30; KServe 0.20.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from jupyterlab_kf.errors import UsageError


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table.

    Attributes:
        group: API group, empty for the core group.
        kind: the CamelCase name, as in a manifest.
        plural: the lower-case name in paths.
        custom: True for a kind that a real cluster knows only through a CustomResourceDefinition.
        subresources: of ``status`` and ``scale``, those that exist.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ("status",)
    custom: bool = False

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The lower-case kind."""
        return self.kind.lower()

    @property
    def resource(self) -> str:
        """``tfjobs.kubeflow.org``, or ``pods`` for the core group: the name in messages and access rules."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """The URL path of a collection or object; each part is percent-encoded."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
            if subresource:
                parts.append(subresource)
        return "/".join(parts)


def _core(
    kind: str,
    plural: str,
    *short: str,
    namespaced: bool = True,
    categories: tuple[str, ...] = (),
    subresources: tuple[str, ...] = ("status",),
) -> Kind:
    return Kind("", "v1", kind, plural, namespaced, tuple(short), categories, subresources)


NAMESPACE: Final = _core("Namespace", "namespaces", "ns", namespaced=False)
NODE: Final = _core("Node", "nodes", "no", namespaced=False)
POD: Final = _core("Pod", "pods", "po", categories=("all",))
SERVICE: Final = _core("Service", "services", "svc", categories=("all",))
CONFIG_MAP: Final = _core("ConfigMap", "configmaps", "cm", subresources=())
SECRET: Final = _core("Secret", "secrets", subresources=())
PERSISTENT_VOLUME_CLAIM: Final = _core("PersistentVolumeClaim", "persistentvolumeclaims", "pvc")
EVENT: Final = _core("Event", "events", "ev", subresources=())
SERVICE_ACCOUNT: Final = _core("ServiceAccount", "serviceaccounts", "sa", subresources=())
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", subresources=())
RESOURCE_QUOTA: Final = _core("ResourceQuota", "resourcequotas", "quota")
"""Read where a cluster has it; the embedded one has one user, and no quotas."""
LEASE: Final = Kind("coordination.k8s.io", "v1", "Lease", "leases", subresources=())
JOB: Final = Kind("batch", "v1", "Job", "jobs", categories=("all",))
DEPLOYMENT: Final = Kind(
    "apps", "v1", "Deployment", "deployments", True, ("deploy",), ("all",), subresources=("status", "scale")
)
REPLICA_SET: Final = Kind(
    "apps", "v1", "ReplicaSet", "replicasets", True, ("rs",), ("all",), subresources=("status", "scale")
)
HORIZONTAL_POD_AUTOSCALER: Final = Kind(
    "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, ("hpa",), ("all",)
)
POD_DISRUPTION_BUDGET: Final = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, ("pdb",))
CUSTOM_RESOURCE_DEFINITION: Final = Kind(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    False,
    ("crd", "crds"),
    ("api-extensions",),
)


def _training(kind: str, version: str = "v1", *short: str, subresources: tuple[str, ...] = ("status",)) -> Kind:
    return Kind("kubeflow.org", version, kind, kind.lower() + "s", True, tuple(short), (), subresources, custom=True)


TF_JOB: Final = _training("TFJob")
PYTORCH_JOB: Final = _training("PyTorchJob", subresources=("status", "scale"))
MPI_JOB: Final = _training("MPIJob")
MPI_JOB_V2: Final = _training("MPIJob", "v2beta1")
MX_JOB: Final = _training("MXJob")
CHAINER_JOB: Final = _training("ChainerJob", "v1alpha1", "chj", "chjs", "chjob", "chjobs")


def _katib(kind: str) -> Kind:
    groups = ("all", "kubeflow", "katib")
    return Kind("kubeflow.org", "v1beta1", kind, kind.lower() + "s", categories=groups, custom=True)


EXPERIMENT: Final = _katib("Experiment")
TRIAL: Final = _katib("Trial")
SUGGESTION: Final = _katib("Suggestion")


def _seldon(version: str) -> Kind:
    group, plural = "machinelearning.seldon.io", "seldondeployments"
    subresources = ("status", "scale")
    return Kind(group, version, "SeldonDeployment", plural, True, ("sdep",), (), subresources, custom=True)


SELDON_DEPLOYMENT: Final = _seldon("v1")
INFERENCE_SERVICE: Final = Kind(
    "serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices", True, ("isvc",), custom=True
)


def _istio(area: str, kind: str, plural: str, *short: str, version: str = "v1") -> Kind:
    categories = ("istio-io", f"{area}-istio-io")
    return Kind(f"{area}.istio.io", version, kind, plural, True, tuple(short), categories, custom=True)


GATEWAY: Final = _istio("networking", "Gateway", "gateways", "gw")
VIRTUAL_SERVICE: Final = _istio("networking", "VirtualService", "virtualservices", "vs")
DESTINATION_RULE: Final = _istio("networking", "DestinationRule", "destinationrules", "dr")
ENVOY_FILTER: Final = _istio("networking", "EnvoyFilter", "envoyfilters", version="v1alpha3")
REQUEST_AUTHENTICATION: Final = _istio("security", "RequestAuthentication", "requestauthentications", "ra")
AUTHORIZATION_POLICY: Final = _istio("security", "AuthorizationPolicy", "authorizationpolicies", "ap")
TELEMETRY: Final = _istio("telemetry", "Telemetry", "telemetries", "telemetry")

ROLE: Final = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles", subresources=())
ROLE_BINDING: Final = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", subresources=())
NETWORK_POLICY: Final = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", subresources=())
"""These are written where a cluster has them: the embedded one has no rules of access, and is not to serve any."""

BUILT_IN: Final[tuple[Kind, ...]] = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    CONFIG_MAP,
    SECRET,
    PERSISTENT_VOLUME_CLAIM,
    EVENT,
    SERVICE_ACCOUNT,
    ENDPOINT_SLICE,
    LEASE,
    JOB,
    DEPLOYMENT,
    REPLICA_SET,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    CUSTOM_RESOURCE_DEFINITION,
)
TRAINING: Final[tuple[Kind, ...]] = (TF_JOB, PYTORCH_JOB, MPI_JOB, MPI_JOB_V2, MX_JOB, CHAINER_JOB)
KATIB: Final[tuple[Kind, ...]] = (EXPERIMENT, TRIAL, SUGGESTION)
SERVING: Final[tuple[Kind, ...]] = (
    SELDON_DEPLOYMENT,
    *(replace(SELDON_DEPLOYMENT, version=version) for version in ("v1alpha2", "v1alpha3")),
    INFERENCE_SERVICE,
)
"""Endpoints; the older versions say the same as v1, under another name."""
TRAFFIC: Final[tuple[Kind, ...]] = (
    GATEWAY,
    VIRTUAL_SERVICE,
    DESTINATION_RULE,
    *(replace(k, version=v) for k in (GATEWAY, VIRTUAL_SERVICE, DESTINATION_RULE) for v in ("v1beta1", "v1alpha3")),
    ENVOY_FILTER,
    REQUEST_AUTHENTICATION,
    AUTHORIZATION_POLICY,
    *(replace(k, version="v1beta1") for k in (REQUEST_AUTHENTICATION, AUTHORIZATION_POLICY)),
    TELEMETRY,
    replace(TELEMETRY, version="v1alpha1"),
)
"""Istio's kinds, each with the versions that its definition serves; all versions of a kind say the same."""
OPERATED: Final[tuple[Kind, ...]] = TRAINING + KATIB + SERVING + TRAFFIC
"""Kinds that a cluster knows only when their operators' definitions are installed."""
ALL: Final[tuple[Kind, ...]] = BUILT_IN + OPERATED

_BY_IDENTITY: Final = {(k.api_version, k.kind): k for k in ALL}


def of(api_version: str, kind: str) -> Kind:
    """The row of an object's apiVersion and kind.

    Raises:
        UsageError: the table has no such row.
    """
    row = _BY_IDENTITY.get((api_version, kind))
    if row is None:
        raise UsageError(f"{kind!r} of {api_version!r} is not a kind that this version of jupyterlab-kf knows")
    return row


def named(kind: str) -> Iterator[Kind]:
    """Every row with that CamelCase kind, in the table's order (MPIJob has two versions, Istio's kinds up to three)."""
    return (row for row in ALL if row.kind == kind)
