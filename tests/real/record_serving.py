"""Records what the real Seldon operator makes of the table of SeldonDeployments, into tests/golden/serving.

python tests/real/record_serving.py MANAGER CRDS

MANAGER is Seldon's operator 1.17.1, built with ``go build`` in the folder ``operator`` of SeldonIO/seldon-core at the
tag v1.17.1 (it is not published as a Go module); CRDS a folder with its CustomResourceDefinition and Istio's. Its
installation is that of its chart with Istio switched on, without a user id.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bed import credentials
from bed.api import Api, until
from bed.binaries import KUBERNETES_VERSION
from bed.cluster import RealCluster
from bed.serving_cases import CASES
from record import laid_out

TARGET = Path(__file__).parents[1] / "golden" / "serving" / "real-1.17.1.json"
NAMESPACE = "serving"
KINDS = (
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.istio.io/v1", "VirtualService"),
    ("networking.istio.io/v1", "DestinationRule"),
)
_MLSERVER = "seldonio/mlserver"
_SERVERS: dict[str, dict[str, tuple[str, str]]] = {
    "SKLEARN_SERVER": {"seldon": ("seldonio/sklearnserver", "1.17.1"), "v2": (_MLSERVER, "1.3.5-sklearn")},
    "XGBOOST_SERVER": {"seldon": ("seldonio/xgboostserver", "1.17.1"), "v2": (_MLSERVER, "1.3.5-xgboost")},
    "MLFLOW_SERVER": {"seldon": ("seldonio/mlflowserver", "1.17.1"), "v2": (_MLSERVER, "1.3.5-mlflow")},
    "TENSORFLOW_SERVER": {
        "seldon": ("seldonio/tfserving-proxy", "1.17.1"),
        "tensorflow": ("tensorflow/serving", "2.1.0"),
    },
    "TRITON_SERVER": {"v2": ("nvcr.io/nvidia/tritonserver", "21.08-py3")},
    "HUGGINGFACE_SERVER": {"v2": (_MLSERVER, "1.3.5-huggingface")},
    "TEMPO_SERVER": {"v2": (_MLSERVER, "1.3.5-slim")},
}
_CONFIG = {
    "predictor_servers": {
        name: {"protocols": {p: {"image": image, "defaultImageVersion": tag} for p, (image, tag) in protocols.items()}}
        for name, protocols in _SERVERS.items()
    },
    "storageInitializer": {
        "image": "seldonio/rclone-storage-initializer:1.17.1",
        "cpuRequest": "100m",
        "cpuLimit": "1",
        "memoryRequest": "100Mi",
        "memoryLimit": "1Gi",
    },
    "explainer": {"image": "seldonio/alibiexplainer:1.17.1", "image_v2": f"{_MLSERVER}:1.3.5-alibi-explain"},
    "credentials": {},
}
_ENVIRONMENT = {
    "POD_NAMESPACE": "seldon-system",
    "ISTIO_ENABLED": "true",
    "ISTIO_GATEWAY": "istio-system/seldon-gateway",
    "EXECUTOR_CONTAINER_IMAGE_AND_VERSION": "docker.io/seldonio/seldon-core-executor:1.17.1",
    "EXECUTOR_PROMETHEUS_PATH": "/prometheus",
    "EXECUTOR_CONTAINER_SERVICE_ACCOUNT_NAME": "default",
    "EXECUTOR_SERVER_METRICS_PORT_NAME": "metrics",
    "EXECUTOR_REQUEST_LOGGER_DEFAULT_ENDPOINT": "http://default-broker",
    "EXECUTOR_FULL_HEALTH_CHECKS": "false",
    "PREDICTIVE_UNIT_METRICS_PORT_NAME": "metrics",
}


def started(manager: Path, kubeconfig: Path, folder: Path) -> subprocess.Popen[bytes]:
    """The operator, against the cluster of that kubeconfig."""
    certificates = folder / "k8s-webhook-server" / "serving-certs"
    certificates.mkdir(parents=True, exist_ok=True)
    authority = credentials.Authority.new("seldon", rsa_keys=True, dns=["seldon"])
    authority.server("seldon", dns=["seldon"], addresses=["127.0.0.1"]).write(certificates, "tls")
    environment = {**os.environ, **_ENVIRONMENT, "KUBECONFIG": str(kubeconfig), "TMPDIR": str(folder)}
    with (folder / "manager.log").open("wb") as log:
        return subprocess.Popen(
            [str(manager), "--webhook-port=18443", "--metrics-addr=0"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def record(api: Api, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """What becomes of one SeldonDeployment."""
    version, kind = "machinelearning.seldon.io/v1", "SeldonDeployment"
    metadata = {"name": name, "namespace": NAMESPACE}
    api.create({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})

    def available() -> dict[str, Any] | None:
        found = api.get(version, kind, name, NAMESPACE)
        return found if (found.get("status") or {}).get("state") == "Available" else None

    try:
        until(available, seconds=60, what=f"availability of {name}")
    except TimeoutError as error:
        print(error, file=sys.stderr)
    time.sleep(2)
    found = api.get(version, kind, name, NAMESPACE)
    uid = found["metadata"]["uid"]
    objects = {
        of: {
            one["metadata"]["name"]: plain(one)
            for one in api.list(group, of, NAMESPACE)
            if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences") or ())
        }
        for group, of in KINDS
    }
    events = sorted(
        {one["reason"] for one in api.list("v1", "Event", NAMESPACE) if one["involvedObject"].get("uid") == uid}
    )
    api.delete(version, kind, name, NAMESPACE)
    return {"spec": spec, "objects": objects, "status": found["status"], "events": events}


def claimed(api: Api) -> None:
    """A claim that is bound, for models that lie in one."""
    size = {"storage": "1Mi"}
    both = {"accessModes": ["ReadWriteOnce"], "storageClassName": "none"}
    claim = {"name": "models", "namespace": NAMESPACE}
    volume = {**both, "capacity": size, "hostPath": {"path": "/nowhere"}, "claimRef": claim}
    api.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "models"}, "spec": volume})
    spec = {**both, "resources": {"requests": size}, "volumeName": "models"}
    api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": spec})


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """An object without what its place in a cluster gives it."""
    given = found["metadata"]
    others = ("deployment.kubernetes.io/revision", "seldon.io/last-applied")
    notes = {key: value for key, value in (given.get("annotations") or {}).items() if key not in others}
    spec = {key: value for key, value in found["spec"].items() if not key.startswith(("clusterIP", "ipFam"))}
    return {"labels": given.get("labels") or {}, "annotations": notes, "spec": spec}


def main() -> int:
    """Start a cluster and the operator, and write the record."""
    manager, crds = Path(sys.argv[1]), Path(sys.argv[2])
    os.environ["KF_PROVISION"] = "1"
    cluster = RealCluster.start("record-serving", operator="none", nodes=2, crds=str(crds))
    try:
        for name in (NAMESPACE, "seldon-system"):
            cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        claimed(cluster.api)
        data = {key: json.dumps(value) for key, value in _CONFIG.items()}
        metadata = {"name": "seldon-config", "namespace": "seldon-system"}
        cluster.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        folder = cluster.plan.folder / "tmp"
        folder.mkdir(exist_ok=True)
        process = started(manager, cluster.kubeconfig, folder)
        try:
            found = {name: record(cluster.api, name, spec) for name, spec in CASES.items()}
        except Exception:
            print((folder / "manager.log").read_text()[-6000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait()
    finally:
        cluster.stop()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    told = {"operator": "seldon-core 1.17.1", "kubernetes": KUBERNETES_VERSION, "deployments": found}
    TARGET.write_text(laid_out(told, depth=5) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
