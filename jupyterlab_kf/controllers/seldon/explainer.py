"""An explainer of a predictor: its Deployment, its Service, and its own routes. Pure."""

from __future__ import annotations

from typing import Final

from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import graph, names, pods
from jupyterlab_kf.controllers.seldon.initializer import inject
from jupyterlab_kf.controllers.seldon.options import Options
from jupyterlab_kf.controllers.seldon.services import named_port
from jupyterlab_kf.controllers.support import name
from jupyterlab_kf.model import Obj

_PORT: Final = 9000
_TYPES: Final = {
    "AnchorTabular": "anchor_tabular",
    "AnchorImages": "anchor_image",
    "AnchorText": "anchor_text",
    "Counterfactuals": "counterfactuals",
    "Contrastive": "contrastive",
    "KernelShap": "kernel_shap",
    "IntegratedGradients": "integrated_gradients",
    "ALE": "ALE",
    "TreeShap": "tree_shap",
}


def port(explainer: Obj) -> int:
    """The port of an explainer's Service."""
    return int((explainer.get("endpoint") or {}).get("service_port") or _PORT)


def deployment(obj: Obj, predictor: Obj, asked: str, options: Options) -> Obj:
    """The explainer's Deployment.

    Args:
        obj: the SeldonDeployment.
        predictor: whose predictions are explained.
        asked: host and port of that predictor.
        options: the installation.
    """
    explainer = predictor["explainer"]
    title = names.explainer(obj, predictor)
    container = _container(obj, predictor, title, asked, options)
    made = pods.deployment(obj, predictor, {"spec": {"containers": [container]}}, title, options, scraped=False)
    replicas = _replicas(obj, predictor)
    if replicas is not None:
        made["spec"]["replicas"] = replicas
    inject(
        made,
        str(container["name"]),
        str(explainer.get("modelUri") or ""),
        options=options,
        secret=str(explainer.get("envSecretRefName") or ""),
        image=str(explainer.get("storageInitializerImage") or ""),
    )
    if explainer.get("serviceAccountName"):
        pods.pod_of(made)["serviceAccountName"] = explainer["serviceAccountName"]
    pods.label(made, pods.roles(None, predictor))
    pods.label(made, {names.LABEL_APP: title})
    return made


def _replicas(obj: Obj, predictor: Obj) -> int | None:
    own, common = predictor.get("replicas"), obj["spec"].get("replicas")
    if own == 0 or (own is None and common == 0):
        return 0
    replicas = predictor["explainer"].get("replicas")
    return None if replicas is None else int(replicas)


def _container(obj: Obj, predictor: Obj, title: str, asked: str, options: Options) -> Obj:
    explainer = predictor["explainer"]
    container: Obj = copied(explainer.get("containerSpec") or {})
    container["name"] = container.get("name") or title
    container["imagePullPolicy"] = container.get("imagePullPolicy") or "IfNotPresent"
    v2 = graph.spoken(obj) == "v2"
    container["image"] = container.get("image") or (options.explainer_v2 if v2 else options.explainer)
    number = named_port(container, "http")
    if number is None:
        number = port(explainer)
        container.setdefault("ports", []).append(pods.container_port(number, "http"))
    action = {"tcpSocket": {"port": "http"}}
    container["livenessProbe"] = container.get("livenessProbe") or pods.probe(action, delay=60, failures=5)
    container["readinessProbe"] = container.get("readinessProbe") or pods.probe(
        action, delay=options.patience, period=options.period, failures=7
    )
    container["lifecycle"] = container.get("lifecycle") or pods.PRE_STOP
    if v2:
        container["env"] = _environment(predictor, container, number, asked)
    else:
        container["args"] = _arguments(obj, predictor, number, asked)
    return container


def _environment(predictor: Obj, container: Obj, number: int, asked: str) -> list[Obj]:
    explainer = predictor["explainer"]
    kind = _TYPES.get(str(explainer["type"]))
    if kind is None:
        raise ComponentError(f"{explainer['type']} not supported")
    extra = f'{{"explainer_type":"{kind}","infer_uri":"http://{asked}/v2/models/{predictor["graph"]["name"]}/infer"'
    if explainer.get("initParameters"):
        extra += f',"init_parameters":{explainer["initParameters"]}'
    values = {
        "MLSERVER_HTTP_PORT": number,
        "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_alibi_explain.AlibiExplainRuntime",
        "MLSERVER_MODEL_NAME": container["name"],
        "MLSERVER_MODEL_URI": names.MODEL_PATH,
        "MLSERVER_MODEL_EXTRA": extra + "}",
    }
    return [{"name": key, "value": str(value)} for key, value in values.items()]


def _arguments(obj: Obj, predictor: Obj, number: int, asked: str) -> list[str]:
    explainer = predictor["explainer"]
    model = str(explainer.get("modelUri") or "")
    transport = "grpc" if graph.speaks_grpc(obj, explainer.get("endpoint")) else "http"
    args = [
        f"--model_name={predictor['graph']['name']}",
        f"--predictor_host={asked}",
        f"--protocol={graph.spoken(obj)}.{transport}",
        f"--http_port={number}",
    ]
    if model:
        args.append(f"--storage_uri={names.MODEL_PATH}")
    args.append(str(explainer["type"]))
    if explainer["type"] == "AnchorImages":
        args.append("--tf_data_type=float32")
    for key, value in sorted((explainer.get("config") or {}).items()):
        args.append(f"--{key}={str(value).replace(model, names.MODEL_PATH, 1) if model else value}")
    return args


def path(obj: Obj, predictor: Obj, namespace: str) -> str:
    """The prefix under which an explainer is reached from outside."""
    return f"/seldon/{namespace}/{name(obj)}-explainer/{predictor['name']}/"
