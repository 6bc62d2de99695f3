"""What an installation of the operator decides: images, ports, Istio's gateway. Pure data.

The defaults are those of Seldon's chart 1.17.1 with Istio switched on, but for the user id 8888, which the chart sets
and many images cannot live with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_SIZE: Final = {"cpu": "500m", "memory": "512Mi"}
_MLSERVER: Final = "seldonio/mlserver:1.3.5"
SERVERS: Final[Mapping[str, Mapping[str, str]]] = {
    "SKLEARN_SERVER": {"seldon": "seldonio/sklearnserver:1.17.1", "v2": f"{_MLSERVER}-sklearn"},
    "XGBOOST_SERVER": {"seldon": "seldonio/xgboostserver:1.17.1", "v2": f"{_MLSERVER}-xgboost"},
    "MLFLOW_SERVER": {"seldon": "seldonio/mlflowserver:1.17.1", "v2": f"{_MLSERVER}-mlflow"},
    "TENSORFLOW_SERVER": {"seldon": "seldonio/tfserving-proxy:1.17.1", "tensorflow": "tensorflow/serving:2.1.0"},
    "TRITON_SERVER": {"v2": "nvcr.io/nvidia/tritonserver:21.08-py3"},
    "HUGGINGFACE_SERVER": {"v2": f"{_MLSERVER}-huggingface"},
    "TEMPO_SERVER": {"v2": f"{_MLSERVER}-slim"},
}
"""Ready-made servers: the image for each protocol."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the operator is installed.

    Attributes:
        executor: image of the engine.
        initializer: image that fetches a model before its server starts.
        explainer, explainer_v2: images of explainers.
        servers: images of the ready-made servers.
        size: resources of the engine, unless a predictor says otherwise.
        secret: Secret whose values every initializer gets, unless a unit names another one.
        user: user id of pods and engine; None leaves it to the image.
        istio: whether routes are made.
        gateway: the Istio Gateway of those routes.
        pod_address: containers are told their pod's address in ``POD_IP``. Where pods share one machine's network, a
            server must listen there: two replicas have the same port.
        sleeps: whether somebody holds requests for what has no replicas, and wakes it.
        patience: seconds before the first readiness probe, where the operator sets the probe.
        period: seconds between two of them.
    """

    executor: str = "docker.io/seldonio/seldon-core-executor:1.17.1"
    initializer: str = "seldonio/rclone-storage-initializer:1.17.1"
    explainer: str = "seldonio/alibiexplainer:1.17.1"
    explainer_v2: str = f"{_MLSERVER}-alibi-explain"
    servers: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: SERVERS)
    size: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"requests": _SIZE, "limits": _SIZE})
    secret: str = ""
    user: int | None = None
    istio: bool = True
    gateway: str = "istio-system/seldon-gateway"
    pod_address: bool = False
    sleeps: bool = False
    patience: int = 20
    period: int = 5


HTTP_PORT: Final = 8000
GRPC_PORT: Final = 5001
METRICS_PORT_NAME: Final = "metrics"
PROMETHEUS_PATH: Final = "/prometheus"


def server_image(options: Options, implementation: str, protocol: str) -> str:
    """The image of a ready-made server for a protocol; empty when there is none."""
    images = options.servers.get(implementation) or {}
    same = {"v2": "kfserving", "kfserving": "v2"}
    protocol = protocol or "seldon"
    return images.get(protocol) or images.get(same.get(protocol, ""), "")
