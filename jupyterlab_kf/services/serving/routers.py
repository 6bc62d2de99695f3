"""A router that learns: several versions of an endpoint as the branches of one graph, and a bandit that chooses.

The versions' own containers go into one pod behind the router, so that no request leaves it. Everything is copied as it
is; only the volumes get names of their own, since each version has its code in one of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import endpoints, frameworks, pods, scaling, training
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.services.serving import plans, shipping
from jupyterlab_kf.services.serving.graphs import BANDITS
from jupyterlab_kf.services.serving.models import Model
from jupyterlab_kf.services.serving.plans import ServePlan, ServeRequest

ALGORITHMS: Final = BANDITS
_POD_INFO: Final = "seldon-podinfo"
"""A volume that the operator puts into every pod by itself."""
_OWN: Final = frozenset({"containers", "initContainers", "volumes", "securityContext", "terminationGracePeriodSeconds"})


def make(
    before: Obj,
    branches: Sequence[str],
    *,
    algorithm: str,
    version: str,
    settings: Mapping[str, Any],
    submission: str,
    runtime: bytes,
    volume: str | None = None,
    image: str | None = None,
    root: Path | None = None,
) -> ServePlan:
    """The plan of a new version that divides its requests between existing ones, as it learns.

    Raises:
        UsageError: there are not two versions of these names, or no such algorithm.
    """
    name, space = str(meta(before)["name"]), str(meta(before)["namespace"])
    there = endpoints.versions(before)
    _check(before, branches, algorithm)
    endpoints.check_version(version)
    plans.refuse_taken(name, version, there)
    class_name = ALGORITHMS[algorithm]
    model = Model("python", class_name, f"{shipping.PACKAGE}.routers:{class_name}")
    (kept,) = pods.mounts([volume]) if volume else (None,)
    env = {scaling.STATE: kept.path if kept else training.WORK_PATH}
    volumes = (volume,) if volume else ()
    request = ServeRequest(model=None, name=name, version=version, image=image, env=env, volumes=volumes, root=root)
    inner = plans.inner_plan(
        request, model, f"{name}-{version}", namespace=space, submission=submission, runtime=runtime
    )
    node = f"{name}-{version}"
    code_maps, pod = plans.parts(inner, name, node)
    given = {"n_branches": len(branches), "branch_names": ":".join(branches), **settings}
    graph: Obj = {
        "name": node,
        "type": "ROUTER",
        "parameters": endpoints.parameters(given),
        "children": [_plain(there[one].get("graph") or {}) for one in branches],
    }
    told: dict[str, Any] = {"model": model.digest, "kind": "router", "called": class_name, "branches": list(branches)}
    # Their units keep the names that they have there, and what they are made of is to be found when they are gone.
    told["borrowed"] = {unit: one for each in branches for unit, one in endpoints.made_of(name, there[each]).items()}
    fresh = endpoints.predictor(
        version,
        graph,
        [merged(pod, [there[one] for one in branches])],
        provenance={**inner.spec.provenance, **told},
    )
    made = plans.added(before, fresh, name=name, namespace=space, protocol="seldon", submission=submission)
    traffic = {**dict.fromkeys(endpoints.weights(before), 0), version: endpoints.ALL}
    return ServePlan(request, model, version, code_maps, before, made, traffic, inner)


def _check(before: Obj, branches: Sequence[str], algorithm: str) -> None:
    there = endpoints.versions(before)
    if algorithm not in ALGORITHMS:
        hint = frameworks.nearest(algorithm, ALGORITHMS, "there are")
        raise UsageError(f"{algorithm!r} is not a bandit's algorithm", hint=hint)
    if endpoints.protocol(before) != "seldon":
        raise UsageError("a bandit learns from feedback, which only Seldon's protocol knows")
    if len(set(branches)) != len(branches) or len(branches) < 2:  # noqa: PLR2004  one is no choice
        raise UsageError("a bandit chooses between at least two versions, each named once")
    for one in branches:
        if one not in there:
            hint = frameworks.nearest(one, sorted(there), "the versions are")
            raise UsageError(f"there is no version {one!r} to choose", hint=hint)


def _plain(node: Mapping[str, Any]) -> Obj:
    """A graph without what the operator filled in: in another pod units have other ports."""
    made = {key: deepcopy(value) for key, value in node.items() if key not in ("endpoint", "children")}
    return {**made, "children": [_plain(one) for one in node.get("children") or ()]}


def merged(pod: Obj, versions: Sequence[Mapping[str, Any]]) -> Obj:
    """One pod with the containers of all of these.

    Raises:
        UsageError: they are to be placed on different machines.
    """
    spec = deepcopy(pod["spec"])
    for one in spec["containers"]:
        one.pop("ports", None)  # the operator gives all in this pod theirs
    places: dict[str, tuple[str, Any]] = {}
    for version in versions:
        name = str(version["name"])
        for part in _components(version):
            other = part.get("spec") or {}
            renamed = {
                str(one["name"]): names.with_suffix(str(one["name"]), name)
                for one in other.get("volumes") or ()
                if one["name"] != _POD_INFO
            }
            spec["volumes"] += [
                {**deepcopy(one), "name": renamed[one["name"]]}
                for one in other.get("volumes") or ()
                if one["name"] in renamed
            ]
            spec["containers"] += [_moved(one, renamed) for one in other.get("containers") or ()]
            for key, value in other.items():
                if key in _OWN:
                    continue
                first = places.setdefault(key, (name, value))
                if first[1] != value:
                    raise UsageError(
                        f"{first[0]} and {name} cannot share a pod: they differ in {key}",
                        hint="serve both with the same hardware profile",
                    )
                spec[key] = deepcopy(value)
    made: Obj = {"spec": spec}
    if all(_may_move(one) for one in (pod, *(part for version in versions for part in _components(version)))):
        made["metadata"] = {"annotations": {names.ANNOTATION_MOVABLE: "true"}}
    return made


def _components(version: Mapping[str, Any]) -> list[Obj]:
    return list(version.get("componentSpecs") or ())


def _may_move(component: Mapping[str, Any]) -> bool:
    """Whether its programs listen where they are told."""
    said = (component.get("metadata") or {}).get("annotations") or {}
    return bool(said.get(names.ANNOTATION_MOVABLE) == "true")


def _moved(container: Mapping[str, Any], renamed: Mapping[str, str]) -> Obj:
    """A container with its volumes' new names, and without the ports that the operator gave it."""
    made = {key: deepcopy(value) for key, value in container.items() if key != "ports"}
    mounts = [one for one in made.get("volumeMounts") or () if one["name"] != _POD_INFO]
    made["volumeMounts"] = [{**one, "name": renamed[one["name"]]} for one in mounts]
    return made
