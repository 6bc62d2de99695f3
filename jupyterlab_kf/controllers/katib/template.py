"""A trial's job from the template: substitution as Katib does it, in the template's text. Pure.

Values are put into the text between its quotes, so a value with a quote or a backslash is escaped (Katib's are not, and
break the text). What Katib's pod webhook adds (labels, ``KATIB_TRIAL_NAME``) is written into the job's pod templates,
which works on every cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.suggestions import settings

LABEL_EXPERIMENT: Final = "katib.kubeflow.org/experiment"
LABEL_TRIAL: Final = "katib.kubeflow.org/trial"
TRIAL_NAME: Final = "KATIB_TRIAL_NAME"
METRICS_VOLUME: Final = "metrics-volume"
CHECKPOINT_VOLUME: Final = "suggestion-volume"
CHECKPOINT: Final = "KF_CHECKPOINT"
"""The variable that names the checkpoint's folder to the program."""
_COPYING: Final = "/kf/copying"
PUSHED: Final = ("Push", "Custom")
"""Metrics collectors whose programs report by themselves."""
PLACEHOLDER: Final = re.compile(r"\$\{trialParameters\..+?\}")
_META: Final = re.compile(r"\$\{trialSpec\.(.+?)\}")
_KEYED: Final = re.compile(r"(Annotations|Labels)\[(.+)]")
_PLAIN: Final = ("Name", "Namespace", "Kind", "APIVersion")


class TemplateError(ValueError):
    """A template that gives no job; the message says why, in Katib's words where it has some."""


def placeholder(name: str) -> str:
    """What stands in the template for a trial parameter."""
    return f"${{trialParameters.{name}}}"


def is_meta(reference: str) -> bool:
    """Whether a reference asks for something of the trial's own, such as ``${trialSpec.Name}``."""
    match = _META.match(reference)
    return match is not None and (match[1] in _PLAIN or _KEYED.fullmatch(match[1]) is not None)


def text_of(template: Mapping[str, Any], config_maps: Mapping[tuple[str, str], Obj | None]) -> str:
    """The template's text: of its ``trialSpec``, or from the ConfigMap that it names.

    Raises:
        TemplateError: there is no such ConfigMap, or nothing at that path.
    """
    spec = template.get("trialSpec")
    if spec is not None:
        return json.dumps(spec, separators=(",", ":"), ensure_ascii=False)
    source = template.get("configMap") or {}
    namespace, name = str(source.get("configMapNamespace")), str(source.get("configMapName"))
    found = config_maps.get((namespace, name))
    if found is None:
        raise TemplateError(f"there is no ConfigMap {name} in namespace {namespace}")
    text = (found.get("data") or {}).get(source.get("templatePath"))
    if text is None:
        raise TemplateError(f"ConfigMap {namespace}/{name} has no {source.get('templatePath')}")
    return str(text)


def parsed(text: str) -> Obj:
    """The object that a template's text stands for.

    Raises:
        TemplateError: it stands for none.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = _from_yaml(text)
    if not isinstance(value, dict):
        raise TemplateError("the template is not an object")
    return value


def _from_yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TemplateError(f"the template is neither JSON nor YAML: {error}") from error


def rendered(template: Mapping[str, Any], text: str, name: str, namespace: str, values: Mapping[str, str]) -> Obj:
    """The job of a trial: name, namespace and every placeholder filled in.

    Raises:
        TemplateError: a parameter has no value, or a value has no place.
    """
    source = parsed(text)
    filled: dict[str, str] = {}
    used = 0
    for parameter in template.get("trialParameters") or ():
        reference = str(parameter.get("reference"))
        if is_meta(reference):
            filled[parameter["name"]] = _meta_value(reference, source, name, namespace)
        elif reference in values:
            filled[parameter["name"]] = values[reference]
            used += 1
        else:
            raise TemplateError(f"parameter {reference} has no value in the assignments {dict(values)}")
    if used != len(values):
        unused = sorted(set(values) - {str(one.get("reference")) for one in template.get("trialParameters") or ()})
        raise TemplateError(f"parameters {', '.join(unused)} are not among spec.trialTemplate.trialParameters")
    quoted = template.get("trialSpec") is not None
    for parameter, value in filled.items():
        text = text.replace(placeholder(parameter), json.dumps(value, ensure_ascii=False)[1:-1] if quoted else value)
    job = parsed(text)
    return {**job, "metadata": {**meta(job), "name": name, "namespace": namespace}}


def _meta_value(reference: str, source: Obj, name: str, namespace: str) -> str:
    match = _META.match(reference)
    key = match[1] if match else ""
    simple = {"Name": name, "Namespace": namespace, "Kind": source.get("kind"), "APIVersion": source.get("apiVersion")}
    if key in simple:
        return str(simple[key])
    keyed = _KEYED.fullmatch(key)
    if keyed is None:
        raise TemplateError(f"illegal reference of trial metadata: {reference}")
    found = (meta(source).get(keyed[1].lower()) or {}).get(keyed[2])
    if found is None:
        raise TemplateError(f"illegal reference of trial metadata: {reference}; failed to fetch {keyed[1]}: {keyed[2]}")
    return str(found)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a trial keeps what it has learnt: a folder of its own on its study's volume.

    Attributes:
        claim: the volume's claim.
        path: where the primary container has the folder.
        own: the folder, within the volume.
        parent: the folder that it begins as a copy of; empty for none.
    """

    claim: str
    path: str
    own: str
    parent: str = ""


def checkpoint_of(experiment: Mapping[str, Any], trial: str, parent: str) -> Checkpoint | None:
    """The checkpoint of an Experiment's trial; None where the algorithm uses none."""
    algorithm = (experiment.get("spec") or {}).get("algorithm") or {}
    if algorithm.get("algorithmName") != "pbt":
        return None
    study = str(meta(experiment).get("name"))
    path = settings.as_mapping(algorithm.get("algorithmSettings")).get("suggestion_trial_dir", "")
    return Checkpoint(f"{study}-pbt", path.rstrip("/"), f"{study}/{trial}", f"{study}/{parent}" if parent else "")


def marked(
    job: Obj,
    labels: Mapping[str, str],
    trial: str,
    *,
    container: str,
    collector: Mapping[str, Any],
    checkpoint: Checkpoint | None = None,
) -> Obj:
    """The job with the trial's labels on its pods, its name in their environment, and what its study needs.

    Args:
        job: the job as the template gives it.
        labels: the trial's labels.
        trial: its name.
        container: the primary container.
        collector: ``spec.metricsCollector``. Where it reads files, an empty volume is mounted at their folder, unless
            one is already; a container of its own is put beside the primary one.
        checkpoint: is mounted in the primary container, after an init container has copied the parent's into it.
    """
    out = copied(job)
    folder = metrics_folder(collector)
    beside = custom_container(collector)
    for template in pod_templates(out):
        head = template.setdefault("metadata", {}) or {}
        head["labels"] = {**(head.get("labels") or {}), **labels, LABEL_TRIAL: trial}
        template["metadata"] = head
        containers = template["spec"]["containers"]
        primary = any(one.get("name") == container for one in containers)
        if beside and primary:
            containers.append(copied(beside))
        for one in containers:
            env = [entry for entry in one.get("env") or () if entry.get("name") != TRIAL_NAME]
            one["env"] = [*env, {"name": TRIAL_NAME, "value": trial}]
            if folder and primary and one.get("name") in (container, beside.get("name")):
                _mount(template["spec"], one, folder)
            if checkpoint and one.get("name") == container:
                _keep(template["spec"], one, checkpoint)
    return out


def _keep(spec: dict[str, Any], container: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Give the container its checkpoint's folder."""
    claim = {"persistentVolumeClaim": {"claimName": checkpoint.claim}}
    others = [one for one in spec.get("volumes") or () if one.get("name") != CHECKPOINT_VOLUME]
    spec["volumes"] = [*others, {"name": CHECKPOINT_VOLUME, **claim}]
    own = {"name": CHECKPOINT_VOLUME, "mountPath": checkpoint.path, "subPath": checkpoint.own}
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), own]
    env = [one for one in container["env"] if one.get("name") != CHECKPOINT]
    container["env"] = [*env, {"name": CHECKPOINT, "value": checkpoint.path}]
    if not checkpoint.parent:
        return
    # By the pod itself, so that a pod that is tried again begins where the first one did.
    there, here = f"{_COPYING}/from", f"{_COPYING}/to"
    copying = {
        "name": "kf-checkpoint",
        "image": container.get("image"),
        "command": ["sh", "-c", 'rm -rf "$1"/* && cp -a "$0"/. "$1"/', there, here],
        "volumeMounts": [{**own, "mountPath": here}, {**own, "mountPath": there, "subPath": checkpoint.parent}],
    }
    for field in ("imagePullPolicy", "securityContext", "resources"):
        if container.get(field):
            copying[field] = copied(container[field])
    spec["initContainers"] = [*(spec.get("initContainers") or ()), copying]


def pushes(trial: Mapping[str, Any]) -> bool:
    """Whether a Trial's metrics are reported by a program of its own, over Katib's protocol."""
    kind = (((trial.get("spec") or {}).get("metricsCollector") or {}).get("collector") or {}).get("kind")
    return kind in PUSHED


def custom_container(collector: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container of a Custom collector; empty for all others."""
    given = collector.get("collector") or {}
    return (given.get("customCollector") or {}) if given.get("kind") == "Custom" else {}


def _mount(spec: dict[str, Any], container: dict[str, Any], folder: str) -> None:
    mounts = container.get("volumeMounts") or []
    if any(f"{folder}/".startswith(f"{str(one.get('mountPath')).rstrip('/')}/") for one in mounts):
        return
    container["volumeMounts"] = [*mounts, {"name": METRICS_VOLUME, "mountPath": folder}]
    volumes = [one for one in spec.get("volumes") or () if one.get("name") != METRICS_VOLUME]
    spec["volumes"] = [*volumes, {"name": METRICS_VOLUME, "emptyDir": {}}]


def metrics_folder(collector: Mapping[str, Any]) -> str:
    """The folder that a metrics collector reads in the primary container; empty when it reads no files."""
    place = (collector.get("source") or {}).get("fileSystemPath") or {}
    path = str(place.get("path") or "").rstrip("/")
    kind = (collector.get("collector") or {}).get("kind")
    what = {"TensorFlowEvent": "Directory", "File": "File", "Custom": place.get("kind")}.get(str(kind))
    return path if what == "Directory" else path.rpartition("/")[0] if what == "File" else ""


def pod_templates(value: Any) -> Iterator[dict[str, Any]]:
    """Every pod template within an object, whatever its kind."""
    if isinstance(value, list):
        for item in value:
            yield from pod_templates(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if (
                name == "template"
                and isinstance(item, dict)
                and isinstance((item.get("spec") or {}).get("containers"), list)
            ):
                yield item
            else:
                yield from pod_templates(item)
