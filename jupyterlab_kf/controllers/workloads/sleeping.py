"""Deployments that nobody asks go to zero replicas: as KEDA does it after its cool-down, and Knative after its grace.

How long nobody has asked is told by who counts requests (a :class:`Consult`). Nothing sleeps unless the activator that
holds the next request is there, nor while a pod is on its way or cannot be counted. Waking is the activator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Consult, Controller, Patch, Requeue, View, sleep
from jupyterlab_kf.controllers.support import (
    active,
    emitter,
    matches,
    name,
    namespace,
    ready,
    ready_since,
    terminating,
    uid,
)
from jupyterlab_kf.model import Obj, labels

SOURCE: Final = "activator"
ACTIVATOR: Final = ("istio-system", "activator")
"""Namespace and name of the Deployment that holds requests."""
_PERIOD: Final = 5.0
_UNCOUNTED: Final = "its pods tell nobody how many requests they had, so it is not put to sleep"


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What puts a Deployment to sleep, if it is time."""
    wish = sleep.of(obj)
    if wish is None or terminating(obj) or not _wanted(obj):
        return []
    pods = _pods(obj, view)
    if len(pods) != _wanted(obj) or not all(map(ready, pods)) or not _is_held(view):
        return [Requeue(now + _PERIOD)]

    def then(answer: Mapping[str, Any]) -> list[Action]:
        return _follow(obj, wish, pods, answer["pods"], now)

    asked = [[namespace(pod), name(pod), uid(pod)] for pod in pods]
    question = {"measure": {"pods": asked, "rates": [], "idle": True}}
    return [Consult(question, then), Requeue(now + min(wish.after, _PERIOD))]


def _follow(
    obj: Obj, wish: sleep.Sleep, pods: list[Obj], measured: Mapping[str, Mapping[str, Any]], now: float
) -> list[Action]:
    emit = emitter(kinds.DEPLOYMENT, obj, SOURCE)
    known = [(measured.get(uid(pod)) or {}).get("idle") for pod in pods]
    heard = [float(one) for one in known if one is not None]
    if len(heard) < len(pods):
        up = now - max(ready_since(pod) or now for pod in pods)
        # Said about once: it is looked at every few seconds.
        late = wish.after <= up < wish.after + 2 * _PERIOD
        return [emit.warning("NotPutToSleep", _UNCOUNTED)] if late else []
    if min(heard) < wish.after:
        return []
    said = f"No request for {wish.after:g} seconds; the next one wakes it"
    patch = {"spec": {"replicas": 0}}
    return [
        Patch(kinds.DEPLOYMENT, namespace(obj), name(obj), uid(obj), patch),
        emit.normal("Asleep", said),
    ]


def _wanted(deployment: Obj) -> int:
    replicas = (deployment.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def _pods(deployment: Obj, view: View) -> list[Obj]:
    chosen = (deployment["spec"].get("selector") or {}).get("matchLabels") or {}
    found = view.list(kinds.POD, namespace(deployment)) if chosen else []
    return [pod for pod in found if matches(chosen, labels(pod)) and active(pod)]


def _is_held(view: View) -> bool:
    """Whether the next request would be held."""
    found = view.get(kinds.DEPLOYMENT, *ACTIVATOR)
    return found is not None and int((found.get("status") or {}).get("readyReplicas") or 0) > 0


CONTROLLER: Final = Controller(name=SOURCE, kind=kinds.DEPLOYMENT, react=react, workers=4)
