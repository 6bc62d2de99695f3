"""What Katib's validating webhook says about an Experiment, and what this cluster cannot run. Pure.

The rules and sentences are Katib 0.19's. Stricter than Katib, and said so in docs/differences.md: ranges that are
empty or no numbers, settings of algorithms (which Katib checks when the study has begun), strategies of metrics that
there are not, a Custom collector that nothing would run, and expressions and filters that mean something else outside
Go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf.controllers.katib import expressions, template
from jupyterlab_kf.controllers.katib import status as conditions
from jupyterlab_kf.controllers.katib.experiment import restartable
from jupyterlab_kf.controllers.training.problems import Problem, forbidden, invalid, required
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.suggestions import settings
from jupyterlab_kf.suggestions.space import TYPES, Parameter, SpaceError, parameter

_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST_NAME: Final = 40
_NAME_RULE: Final = (
    "name must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with "
    "an alphanumeric character (e.g. 'my-name', or 'abc-123', regex used for validation is "
    "'^[a-z]([-a-z0-9]*[a-z0-9])?)') and may not be longer than 40 characters. "
)
_EDITABLE: Final = ("parallelTrialCount", "maxTrialCount", "maxFailedTrialCount")
_DISTRIBUTIONS: Final = ("uniform", "logUniform", "normal", "logNormal", "unknown")
_COLLECTORS: Final = ("StdOut", "File", "TensorFlowEvent", "PrometheusMetric", "Push", "Custom")
_NOT_HERE: Final[Mapping[str, str]] = {
    "None": "there is no such kind any more; who reports metrics by itself prints them instead (StdOut)",
}
"""Kinds that are not served: why, and what to do."""
_STRATEGIES: Final = ("min", "max", "latest")
_GO_ONLY: Final = re.compile(r"\\[zpPQEC]|\(\?[^:PimsUx]|\(\?P=|\\[1-9]")
"""What Go's regular expressions read otherwise than Python's, or not at all (look-around, back references)."""
_SHAPES: Final[Mapping[str, type]] = {
    "objective": dict,
    "algorithm": dict,
    "earlyStopping": dict,
    "trialTemplate": dict,
    "metricsCollectorSpec": dict,
    "nasConfig": dict,
    "parameters": list,
    "parallelTrialCount": int,
    "maxTrialCount": int,
    "maxFailedTrialCount": int,
    "resumePolicy": str,
}
_GO_NAMES: Final = {dict: "object", list: "array", int: "int32", str: "string"}


def validate(new: Obj, old: Obj | None = None) -> list[Problem]:
    """What is wrong with an Experiment that has its defaults; ``old`` is what it was when it is changed."""
    given = new.get("spec")
    spec: Mapping[str, Any] = given if isinstance(given, dict) else {}
    found = _shapes(spec)
    if found:
        return found
    found = [*_name(new), *_budget(spec)]
    if old is not None:
        found += _edit(new, old)
    objective = _objective(spec)
    found += objective
    if objective and not spec.get("objective"):
        return found
    parameters, wrong = _parameters(spec)
    found += _algorithm(spec, parameters if not wrong else None)
    found += _stopping(spec)
    if spec.get("resumePolicy") not in (None, "", "Never", "LongRunning", "FromVolume"):
        found.append(invalid("spec.resumePolicy", spec.get("resumePolicy"), "invalid ResumePolicyType"))
    found += _template(spec)
    if spec.get("nasConfig") is not None:
        found.append(forbidden("spec.nasConfig", "neural architecture search is not available on this cluster"))
    elif not spec.get("parameters"):
        found.append(required("spec", "spec.parameters or spec.nasConfig must be specified"))
    return [*found, *wrong, *_collector(spec)]


def _shapes(spec: Mapping[str, Any]) -> list[Problem]:
    """Values that Go could not even read."""
    found = []
    for field, kind in _SHAPES.items():
        value = spec.get(field)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            text = f"json: cannot unmarshal {type(value).__name__} into Go struct field of type {_GO_NAMES[kind]}"
            found.append((f"spec.{field}", text))
    for number, one in enumerate(spec.get("parameters") or () if not found else ()):
        if not isinstance(one, dict) or not isinstance(one.get("feasibleSpace") or {}, dict):
            found.append((f"spec.parameters[{number}]", "must be an object with an object feasibleSpace"))
            continue
        for field, value in (one.get("feasibleSpace") or {}).items():
            fits = isinstance(value, list) if field == "list" else isinstance(value, str)
            if not fits:
                hint = "an array of strings" if field == "list" else f'a string: write "{value}"'
                found.append((f"spec.parameters[{number}].feasibleSpace.{field}", f"must be {hint}"))
    return found


def _name(obj: Obj) -> list[Problem]:
    name = str(meta(obj).get("name") or "")
    if _NAME.fullmatch(name) and len(name) <= _LONGEST_NAME:
        return []
    return [invalid("metadata.name", name, _NAME_RULE)]


def _budget(spec: Mapping[str, Any]) -> list[Problem]:
    found = []
    failed, most, parallel = (spec.get(key) for key in ("maxFailedTrialCount", "maxTrialCount", "parallelTrialCount"))
    if failed is not None and failed < 0:
        found.append(invalid("spec.maxFailedTrialCount", failed, "should not be less than 0"))
    if most is not None and most <= 0:
        found.append(invalid("spec.maxTrialCount", most, "must be greater than 0"))
    if parallel is not None and parallel <= 0:
        found.append(invalid("spec.parallelTrialCount", parallel, "must be greater than 0"))
    for field, value in (("maxFailedTrialCount", failed), ("parallelTrialCount", parallel)):
        if value is not None and most is not None and value > most:
            found.append(invalid(f"spec.{field}", value, "should be less than or equal to spec.maxTrialCount"))
    return found


def _edit(new: Obj, old: Obj) -> list[Problem]:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if after == before:
        return []
    found = []
    if conditions.completed(old) and not restartable(old):
        message = (
            "Experiment can be restarted if it is in succeeded state by reaching max trials and spec.resumePolicy = "
            "LongRunning or spec.resumePolicy = FromVolume, when experiment is completed"
        )
        found.append(invalid("spec.resumePolicy", after.get("resumePolicy"), message))
    most, trials = after.get("maxTrialCount"), int((old.get("status") or {}).get("trials") or 0)
    if most is not None and most <= trials:
        found.append(invalid("spec.maxTrialCount", most, "must be greater than status.trials count"))
    if {k: v for k, v in after.items() if k not in _EDITABLE} != {
        k: v for k, v in before.items() if k not in _EDITABLE
    }:
        message = "only spec.parallelTrialCount, spec.maxTrialCount and spec.maxFailedTrialCount are editable"
        found.append(forbidden("spec", message))
    return found


def _objective(spec: Mapping[str, Any]) -> list[Problem]:
    where, objective = "spec.objective", spec.get("objective")
    if not objective:
        return [required(where, "must be specified")]
    found = []
    if objective.get("type") not in ("minimize", "maximize"):
        found.append(invalid(f"{where}.type", objective.get("type") or "", "must be minimize or maximize"))
    name = objective.get("objectiveMetricName")
    if not name:
        found.append(required(f"{where}.objectiveMetricName", "must be specified"))
    more = objective.get("additionalMetricNames") or []
    if name and name in more:
        found.append(
            invalid(f"{where}.additionalMetricNames", more, "should not contain spec.objective.objectiveMetricName")
        )
    if objective.get("goal") is not None and conditions.number(objective["goal"]) is None:
        found.append(invalid(f"{where}.goal", objective["goal"], "must be a number"))
    for number, one in enumerate(objective.get("metricStrategies") or ()):
        here = f"{where}.metricStrategies[{number}]"
        if one.get("value") not in _STRATEGIES:
            found.append(invalid(f"{here}.value", one.get("value") or "", f"there are {', '.join(_STRATEGIES)}"))
        if one.get("name") not in (name, *more):
            found.append(invalid(f"{here}.name", one.get("name") or "", "is no metric of the objective"))
    return found


def _algorithm(spec: Mapping[str, Any], parameters: Sequence[Parameter] | None) -> list[Problem]:
    where, algorithm = "spec.algorithm", spec.get("algorithm")
    if not algorithm:
        return [required(where, "must be specified")]
    name = str(algorithm.get("algorithmName") or "")
    if not name:
        return [required(f"{where}.algorithmName", "must be specified")]
    if why := settings.unknown_algorithm(name):
        text = f"unable to get Suggestion config data for algorithm {name}: {why}"
        return [invalid(f"{where}.algorithmName", name, text)]
    if parameters is None:
        return []
    given = settings.as_mapping(algorithm.get("algorithmSettings"))
    found = settings.wrong(name, given, parameters, spec.get("maxTrialCount"))
    wrong = [invalid(f"{where}.algorithmSettings", name, why) for why in found]
    if name == "pbt" and len(_primary(spec)) > 1:
        text = "more than one of the job's pods has the primary container: whose the checkpoint is cannot be told"
        wrong.append(invalid(f"{where}.algorithmName", name, text))
    return wrong


def _primary(spec: Mapping[str, Any]) -> list[list[str]]:
    """The names of the containers of each pod of the job that has the primary one."""
    trial = spec.get("trialTemplate") or {}
    source = trial.get("trialSpec") if isinstance(trial, dict) else None
    pods = [pod["spec"]["containers"] for pod in template.pod_templates(source or {})]
    names = [[str(one.get("name")) for one in pod if isinstance(one, dict)] for pod in pods]
    return [pod for pod in names if trial.get("primaryContainerName") in pod]


def _stopping(spec: Mapping[str, Any]) -> list[Problem]:
    rule, where = spec.get("earlyStopping"), "spec.earlyStopping"
    if rule is None:
        return []
    name = str(rule.get("algorithmName") or "")
    if not name:
        return [required(f"{where}.algorithmName", "must be specified")]
    if name not in settings.STOPPING:
        why = settings.nearest(name, tuple(settings.STOPPING))
        text = f"unable to get EarlyStopping config data for algorithm {name}: {why}"
        return [invalid(f"{where}.algorithmName", name, text)]
    given = settings.as_mapping(rule.get("algorithmSettings"))
    found = settings.wrong_settings(settings.STOPPING[name], given)
    return [invalid(f"{where}.algorithmSettings", name, why) for why in found]


def _parameters(spec: Mapping[str, Any]) -> tuple[list[Parameter], list[Problem]]:
    made: list[Parameter] = []
    found: list[Problem] = []
    seen: set[str] = set()
    for number, one in enumerate(spec.get("parameters") or ()):
        where = f"spec.parameters[{number}]"
        name = str(one.get("name") or "")
        if not name:
            found.append(required(f"{where}.name", "must be specified"))
        elif name in seen:
            found.append((where, f"Duplicate value: {json.dumps({'name': name})}"))
        seen.add(name)
        wrong = _parameter(where, one)
        if not wrong:
            try:
                made.append(parameter(one))
            except SpaceError as error:
                wrong = [invalid(f"{where}.feasibleSpace.{error.field}", error.value, error.message)]
        found += wrong
    return made, found


def _parameter(where: str, one: Mapping[str, Any]) -> list[Problem]:
    kind, space = one.get("parameterType"), one.get("feasibleSpace") or {}
    found = []
    if kind not in TYPES:
        found.append(invalid(f"{where}.parameterType", kind or "", f"parameterType: {kind} is not supported"))
    distribution = space.get("distribution") or "uniform"
    if distribution not in _DISTRIBUTIONS:
        text = f"distribution: {distribution} is not supported"
        found.append(invalid(f"{where}.feasibleSpace.distribution", distribution, text))
    if not {key: value for key, value in space.items() if value not in ("", [], None)}:
        return [*found, required(f"{where}.feasibleSpace", "feasibleSpace must be specified")]
    if kind in ("double", "int"):
        if space.get("list"):
            text = f"feasibleSpace.list is not supported for parameterType: {kind}"
            found.append(invalid(f"{where}.feasibleSpace.list", space["list"], text))
        if not space.get("max") or not space.get("min"):
            text = f"feasibleSpace.max or feasibleSpace.min must be specified for parameterType: {kind}"
            found.append(required(f"{where}.feasibleSpace.max", text))
    elif any(space.get(key) for key in ("min", "max", "step")):
        text = f"feasibleSpace .max, .min and .step is not supported for parameterType: {kind}"
        found.append(invalid(f"{where}.feasibleSpace", space, text))
    return found


def _template(spec: Mapping[str, Any]) -> list[Problem]:
    where, given = "spec.trialTemplate", spec.get("trialTemplate")
    if given is None:
        return [required(where, "must be specified")]
    found = []
    if not given.get("primaryContainerName"):
        found.append(required(f"{where}.primaryContainerName", "must be specified"))
    if not given.get("successCondition") or not given.get("failureCondition"):
        found.append(required(where, "successCondition and failureCondition must be specified"))
    for field in ("successCondition", "failureCondition"):
        try:
            expressions.parse(str(given.get(field) or "status"))
        except ValueError as error:
            found.append(invalid(f"{where}.{field}", given[field], str(error)))
    if given.get("trialParameters") is None:
        return [*found, required(f"{where}.trialParameters", "must be specified")]
    source = given.get("trialSpec")
    wrong = _source(where, source, given.get("configMap"))
    if wrong or source is None:
        return [*found, *wrong]  # the text of a ConfigMap is read when the study begins
    return [*found, *_substitutions(spec, given), *_job(source, str(given.get("primaryContainerName") or ""))]


def _source(where: str, source: Any, config_map: Any) -> list[Problem]:
    if source is None and config_map is None:
        text = "spec.trialTemplate.trialSpec or spec.trialTemplate.configMap must be specified"
        return [required(f"{where}.TrialSource", text)]
    if source is not None and config_map is not None:
        text = "only one of spec.trialTemplate.trialSpec or spec.trialTemplate.configMap can be specified"
        return [required(where, text)]
    fields = ("configMapName", "configMapNamespace", "templatePath")
    if config_map is not None and not all(config_map.get(key) for key in fields):
        text = "configMapName, configMapNamespace and templatePath must be specified"
        return [required(f"{where}.configMap", text)]
    if source is not None and not isinstance(source, dict):
        return [invalid(where, "", "unable to parse spec.trialTemplate: trialSpec is not an object")]
    return []


def _substitutions(spec: Mapping[str, Any], given: Mapping[str, Any]) -> list[Problem]:
    where = "spec.trialTemplate.trialParameters"
    text = template.text_of(given, {})
    known = {str(one.get("name")) for one in spec.get("parameters") or ()}
    names: set[str] = set()
    references: set[str] = set()
    found: list[Problem] = []
    for number, one in enumerate(given["trialParameters"]):
        name, reference = str(one.get("name") or ""), str(one.get("reference") or "")
        here = f"{where}[{number}]"
        if not name or not reference or "{" in name or "}" in name:
            found.append(invalid(here, "", "name and reference must be specified and name must not contain '{' or '}'"))
            continue
        if name in names:
            text_ = f"parameter name {name} can't be duplicated in spec.trialTemplate.trialParameters"
            found.append(invalid(f"{here}.name", name, text_))
            continue
        if reference in references:
            text_ = f"parameter reference {reference} can't be duplicated in spec.trialTemplate.trialParameters"
            found.append(invalid(f"{here}.reference", reference, text_))
            continue
        names.add(name)
        references.add(reference)
        if known and not template.is_meta(reference) and reference not in known:
            text_ = f"parameter reference {reference} does not exist in spec.parameters: {', '.join(sorted(known))}"
            found.append(invalid(f"{here}.reference", reference, text_))
        if template.placeholder(name) not in text:
            text_ = f"parameter name: {name} in spec.trialParameters not found in spec.trialTemplate: {text}"
            return [*found, invalid(f"{here}.name", name, text_)]
        text = text.replace(template.placeholder(name), "test-value")
    left = template.PLACEHOLDER.findall(text)
    if left:
        text_ = f"parameters: [{' '.join(left)}] in spec.trialTemplate not found in spec.trialParameters"
        found.append(invalid("spec.trialTemplate", "", f"{text_}: {', '.join(sorted(names))}"))
    unused = sorted(known - references)
    if unused and not found:
        text_ = f"parameters {', '.join(unused)} of spec.parameters are used by none: no trial could be created"
        found.append(invalid(where, "", text_))
    return found


def _job(source: Mapping[str, Any], container: str) -> list[Problem]:
    where = "spec.trialTemplate"
    found = []
    head = source.get("metadata") or {}
    if head.get("name") or head.get("namespace"):
        text = "metadata.name and metadata.namespace in spec.trialTemplate must be omitted"
        found.append(invalid(where, "", text))
    if not source.get("apiVersion") or not source.get("kind"):
        found.append(required(where, "APIVersion and Kind in spec.trialTemplate must be specified"))
    names = [
        str(one.get("name"))
        for pod in template.pod_templates(source)
        for one in pod["spec"]["containers"]
        if isinstance(one, dict)
    ]
    if names and container and container not in names:
        text = f"there is no container {container}; there are {', '.join(dict.fromkeys(names))}"
        found.append(invalid(f"{where}.primaryContainerName", container, text))
    return found


def _collector(spec: Mapping[str, Any]) -> list[Problem]:
    where = "spec.metricsCollectorSpec"
    given = spec.get("metricsCollectorSpec") or {}
    kind = (given.get("collector") or {}).get("kind")
    source: Mapping[str, Any] = given.get("source") or {}
    if kind not in _COLLECTORS:
        why = _NOT_HERE.get(str(kind)) or settings.nearest(str(kind), _COLLECTORS)
        return [invalid(f"{where}.collector.kind", kind, f"invalid metrics collector kind: {kind}: {why}")]
    found = []
    if kind == "PrometheusMetric":
        found = _prometheus(f"{where}.source.httpGet", source.get("httpGet") or {}, kind)
    elif kind == "Custom":
        found = _custom(where, spec, given)
    elif kind not in ("StdOut", "Push"):
        found = _paths(f"{where}.source", kind, source)
    return [*found, *_filters(f"{where}.source.filter.metricsFormat", source)]


def _paths(where: str, kind: str, source: Mapping[str, Any]) -> list[Problem]:
    found = []
    path: Mapping[str, Any] = source.get("fileSystemPath") or {}
    absolute = str(path.get("path") or "").startswith("/")
    if kind == "File":
        if path.get("kind") != "File" or not absolute:
            found.append(required(f"{where}.fileSystemPath.path", "file path where metrics file exists is required"))
        if path.get("format") not in ("TEXT", "JSON"):
            text = "format of metrics file is required for metrics collector"
            found.append(required(f"{where}.fileSystemPath.format", text))
        if path.get("format") == "JSON" and source.get("filter") is not None:
            found.append(invalid(f"{where}.filter", "", "filter must be nil when format of metrics file is json"))
        return found
    if path.get("kind") != "Directory" or not absolute:
        text = "directory path where tensorflow event files exist is required by "
        found.append(required(where, f"{text}.{where}.fileSystemPath.path"))
    if path.get("format"):
        found.append(invalid(f"{where}.fileSystemPath.format", path["format"], "must be empty"))
    return found


def _custom(where: str, spec: Mapping[str, Any], given: Mapping[str, Any]) -> list[Problem]:
    here, found = f"{where}.collector.customCollector", []
    container = given["collector"].get("customCollector")
    if not isinstance(container, dict):
        return [required(here, "metrics collector kind: Custom is required")]
    if not container.get("name") or not container.get("command"):
        text = "name and command must be specified: an image is a name here, and brings no program"
        found.append(required(here, text))
    path = (given.get("source") or {}).get("fileSystemPath")
    if path and (path.get("kind") not in ("File", "Directory") or not str(path.get("path")).startswith("/")):
        text = ".spec.metricsCollectorSpec.source is invalid"
        found.append(invalid(f"{where}.source.fileSystemPath", "", text))
    primary = _primary(spec)
    if len(primary) > 1:
        text = "more than one of the job's pods has the primary container: whose this collector is cannot be told"
        found.append(invalid(here, "", text))
    if any(str(container.get("name")) in pod for pod in primary):
        found.append(invalid(f"{here}.name", container["name"], "is the name of a container of the job"))
    return found


def _prometheus(where: str, get: Mapping[str, Any], kind: str) -> list[Problem]:
    found = []
    if not str(get.get("port")).isdecimal() or int(get["port"]) <= 0:
        text = f"must be a positive integer value for metrics collector kind: {kind}"
        found.append(invalid(f"{where}.port", str(get.get("port")), text))
    if not str(get.get("path")).startswith("/"):
        text = f"path is invalid for metrics collector kind: {kind}"
        found.append(invalid(f"{where}.path", str(get.get("path")), text))
    return found


def _filters(where: str, source: Mapping[str, Any]) -> list[Problem]:
    found = []
    for text in (source.get("filter") or {}).get("metricsFormat") or ():
        try:
            compiled = re.compile(text)
        except (re.error, TypeError) as error:
            found.append(invalid(where, text, f"invalid filter: {error}"))
            continue
        if _GO_ONLY.search(text):
            found.append(invalid(where, text, "invalid filter: Go's regular expressions have no such thing"))
        elif compiled.groups < 2:  # noqa: PLR2004  the name and the value
            found.append(invalid(where, text, "two top subexpressions are required"))
    return found
