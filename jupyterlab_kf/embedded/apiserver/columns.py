"""Column definitions of ``kubectl get`` tables, in the real server's words; descriptions come from the schemas. Pure.

Those of custom kinds are their ``additionalPrinterColumns``. The cells are in :mod:`.tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import katib, schemas, serving, training
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

_META: Final = schemas.OBJECT_META
_NAME: Final = ("Name", "string", 0, (_META, "name"))
_AGE: Final = ("Age", "string", 0, (_META, "creationTimestamp"))
_WORKLOAD: Final = (
    ("Containers", "string", 1, "Names of each container in the template."),
    ("Images", "string", 1, "Images referenced by each container in the template."),
)
_CORE: Final = "io.k8s.api.core.v1"
_APPS: Final = "io.k8s.api.apps.v1"
_SCALING: Final = "io.k8s.api.autoscaling.v2"

_RESTARTS: Final = (
    "The number of times the containers in this pod have been restarted and when the last container in this pod has "
    "restarted."
)
Column = tuple[str, str, int, str | tuple[str, str]]

_COLUMNS: Final[Mapping[Kind, tuple[Column, ...]]] = {
    kinds.POD: (
        _NAME,
        ("Ready", "string", 0, "The aggregate readiness state of this pod for accepting traffic."),
        ("Status", "string", 0, "The aggregate status of the containers in this pod."),
        (
            "Restarts",
            "string",
            0,
            _RESTARTS,
        ),
        _AGE,
        ("IP", "string", 1, (f"{_CORE}.PodStatus", "podIP")),
        ("Node", "string", 1, (f"{_CORE}.PodSpec", "nodeName")),
        ("Nominated Node", "string", 1, (f"{_CORE}.PodStatus", "nominatedNodeName")),
        ("Readiness Gates", "string", 1, (f"{_CORE}.PodSpec", "readinessGates")),
    ),
    kinds.NODE: (
        _NAME,
        ("Status", "string", 0, "The status of the node"),
        ("Roles", "string", 0, "The roles of the node"),
        _AGE,
        ("Version", "string", 0, (f"{_CORE}.NodeSystemInfo", "kubeletVersion")),
        ("Internal-IP", "string", 1, (f"{_CORE}.NodeStatus", "addresses")),
        ("External-IP", "string", 1, (f"{_CORE}.NodeStatus", "addresses")),
        ("OS-Image", "string", 1, (f"{_CORE}.NodeSystemInfo", "osImage")),
        ("Kernel-Version", "string", 1, (f"{_CORE}.NodeSystemInfo", "kernelVersion")),
        ("Container-Runtime", "string", 1, (f"{_CORE}.NodeSystemInfo", "containerRuntimeVersion")),
    ),
    kinds.NAMESPACE: (_NAME, ("Status", "string", 0, "The status of the namespace"), _AGE),
    kinds.SERVICE: (
        _NAME,
        ("Type", "string", 0, (f"{_CORE}.ServiceSpec", "type")),
        ("Cluster-IP", "string", 0, (f"{_CORE}.ServiceSpec", "clusterIP")),
        ("External-IP", "string", 0, (f"{_CORE}.ServiceSpec", "externalIPs")),
        ("Port(s)", "string", 0, (f"{_CORE}.ServiceSpec", "ports")),
        _AGE,
        ("Selector", "string", 1, (f"{_CORE}.ServiceSpec", "selector")),
    ),
    kinds.CONFIG_MAP: (_NAME, ("Data", "string", 0, (f"{_CORE}.ConfigMap", "data")), _AGE),
    kinds.SECRET: (
        _NAME,
        ("Type", "string", 0, (f"{_CORE}.Secret", "type")),
        ("Data", "string", 0, (f"{_CORE}.Secret", "data")),
        _AGE,
    ),
    kinds.SERVICE_ACCOUNT: (_NAME, _AGE),
    kinds.PERSISTENT_VOLUME_CLAIM: (
        _NAME,
        ("Status", "string", 0, (f"{_CORE}.PersistentVolumeClaimStatus", "phase")),
        ("Volume", "string", 0, (f"{_CORE}.PersistentVolumeClaimSpec", "volumeName")),
        ("Capacity", "string", 0, (f"{_CORE}.PersistentVolumeClaimStatus", "capacity")),
        ("Access Modes", "string", 0, (f"{_CORE}.PersistentVolumeClaimStatus", "accessModes")),
        ("StorageClass", "string", 0, "StorageClass of the pvc"),
        ("VolumeAttributesClass", "string", 0, "VolumeAttributesClass of the pvc"),
        _AGE,
        ("VolumeMode", "string", 1, (f"{_CORE}.PersistentVolumeClaimSpec", "volumeMode")),
    ),
    kinds.EVENT: (
        ("Last Seen", "string", 0, (f"{_CORE}.Event", "lastTimestamp")),
        ("Type", "string", 0, (f"{_CORE}.Event", "type")),
        ("Reason", "string", 0, (f"{_CORE}.Event", "reason")),
        ("Object", "string", 0, (f"{_CORE}.Event", "involvedObject")),
        ("Subobject", "string", 1, (f"{_CORE}.ObjectReference", "fieldPath")),
        ("Source", "string", 1, (f"{_CORE}.Event", "source")),
        ("Message", "string", 0, (f"{_CORE}.Event", "message")),
        ("First Seen", "string", 1, (f"{_CORE}.Event", "firstTimestamp")),
        ("Count", "string", 1, (f"{_CORE}.Event", "count")),
        ("Name", "string", 1, (_META, "name")),
    ),
    kinds.ENDPOINT_SLICE: (
        _NAME,
        ("AddressType", "string", 0, ("io.k8s.api.discovery.v1.EndpointSlice", "addressType")),
        ("Ports", "string", 0, ("io.k8s.api.discovery.v1.EndpointSlice", "ports")),
        ("Endpoints", "string", 0, ("io.k8s.api.discovery.v1.EndpointSlice", "endpoints")),
        _AGE,
    ),
    kinds.LEASE: (_NAME, ("Holder", "string", 0, ("io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity")), _AGE),
    kinds.JOB: (
        _NAME,
        ("Status", "string", 0, "Status of the job."),
        ("Completions", "string", 0, ("io.k8s.api.batch.v1.JobStatus", "succeeded")),
        ("Duration", "string", 0, "Time required to complete the job."),
        _AGE,
        *_WORKLOAD,
        ("Selector", "string", 1, ("io.k8s.api.batch.v1.JobSpec", "selector")),
    ),
    kinds.DEPLOYMENT: (
        _NAME,
        ("Ready", "string", 0, "Number of the pod with ready state"),
        ("Up-to-date", "string", 0, (f"{_APPS}.DeploymentStatus", "updatedReplicas")),
        ("Available", "string", 0, (f"{_APPS}.DeploymentStatus", "availableReplicas")),
        _AGE,
        *_WORKLOAD,
        ("Selector", "string", 1, (f"{_APPS}.DeploymentSpec", "selector")),
    ),
    kinds.REPLICA_SET: (
        _NAME,
        ("Desired", "integer", 0, (f"{_APPS}.ReplicaSetSpec", "replicas")),
        ("Current", "integer", 0, (f"{_APPS}.ReplicaSetStatus", "replicas")),
        ("Ready", "integer", 0, (f"{_APPS}.ReplicaSetStatus", "readyReplicas")),
        _AGE,
        *_WORKLOAD,
        ("Selector", "string", 1, (f"{_APPS}.ReplicaSetSpec", "selector")),
    ),
    kinds.HORIZONTAL_POD_AUTOSCALER: (
        _NAME,
        ("Reference", "string", 0, (f"{_SCALING}.HorizontalPodAutoscalerSpec", "scaleTargetRef")),
        ("Targets", "string", 0, (f"{_SCALING}.HorizontalPodAutoscalerSpec", "metrics")),
        ("MinPods", "string", 0, (f"{_SCALING}.HorizontalPodAutoscalerSpec", "minReplicas")),
        ("MaxPods", "string", 0, (f"{_SCALING}.HorizontalPodAutoscalerSpec", "maxReplicas")),
        ("Replicas", "string", 0, (f"{_SCALING}.HorizontalPodAutoscalerStatus", "currentReplicas")),
        _AGE,
    ),
    kinds.POD_DISRUPTION_BUDGET: (
        _NAME,
        ("Min Available", "string", 0, "The minimum number of pods that must be available."),
        ("Max Unavailable", "string", 0, "The maximum number of pods that may be unavailable."),
        ("Allowed Disruptions", "integer", 0, "Calculated number of pods that may be disrupted at this time."),
        _AGE,
    ),
    kinds.CUSTOM_RESOURCE_DEFINITION: (_NAME, ("Created At", "date", 0, (_META, "creationTimestamp"))),
}


def _described(description: str | tuple[str, str]) -> str:
    if isinstance(description, str):
        return description
    component, name = description
    found = (schemas.components()[component].get("properties") or {}).get(name) or {}
    # A table's words are those of the type's source, to which only OpenAPI adds the values of an enumeration.
    return str(found.get("description") or "").partition("\n\nPossible enum values:")[0]


def _definition_of(column: Column) -> dict[str, Any]:
    name, kind, priority, description = column
    return {
        "name": name,
        "type": kind,
        "format": "name" if name == "Name" else "",
        "description": _described(description),
        "priority": priority,
    }


def printer_columns(kind: Kind, crd: Obj | None) -> list[dict[str, Any]]:
    """``additionalPrinterColumns`` of a custom kind; an age when it has none."""
    age = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    known = katib.COLUMNS.get(kind, serving.COLUMNS.get(kind))
    given = training.COLUMNS.get((kind.api_version, kind.kind)) if known is None else [*known, age]
    if crd is not None:
        given = (schemas.crd_version(kind, crd) or {}).get("additionalPrinterColumns")
    return given or [age]


def columns(kind: Kind, crd: Obj | None = None) -> list[dict[str, Any]]:
    """``columnDefinitions`` of a kind's table."""
    known = _COLUMNS.get(kind)
    if known is not None:
        return [_definition_of(column) for column in known]
    return [
        _definition_of(_NAME),
        *(
            {
                "name": column["name"],
                "type": column.get("type", "string"),
                "format": column.get("format", ""),
                "description": column.get("description")
                or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
                "priority": column.get("priority", 0),
            }
            for column in printer_columns(kind, crd)
        ),
    ]
