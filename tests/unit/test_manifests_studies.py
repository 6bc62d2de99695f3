"""Experiments as they are written, as golden files that both clusters are tried with."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml
from test_manifests import CASES, GOLDEN

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import katib
from jupyterlab_kf.manifests import studies, training
from jupyterlab_kf.manifests.studies import StudySpec
from jupyterlab_kf.services import spaces

SPACE = {"lr": spaces.loguniform(1e-4, 0.1), "units": spaces.integer(16, 64, 16), "opt": spaces.choice("adam", "sgd")}


def spec(**more: Any) -> StudySpec:
    parameters = [one.parameter(name) for name, one in SPACE.items()]
    known: dict[str, Any] = {
        "name": "digits",
        "namespace": "team-a",
        "objective": "loss",
        "direction": "minimize",
        "parameters": parameters,
        "algorithm": "tpe",
        "submission": "0123456789ab",
    }
    return StudySpec(**known | more)


def job(case: str) -> Any:
    made = training.encode(CASES[case])
    container = training.container_of(made)
    for template in training.templates(made).values():
        for one in template["spec"]["containers"]:
            values = [{"name": k, "value": v} for k, v in studies.environment(list(SPACE)).items()]
            one["env"] = [*one["env"], *values]
    return made, container


PYTORCH, CONTAINER = job("pytorch")
STUDIES = {
    "study": studies.encode(
        spec(settings={"random_state": 1}, failed=5, goal=0.1, metrics=["accuracy"], stop_early=True),
        studies.plain_job(next(iter(training.templates(PYTORCH).values())), 600),
        studies.MAIN,
    ),
    "study-pytorch": studies.encode(spec(trials=8, provenance={"code": "abc"}), studies.unnamed(PYTORCH), CONTAINER),
}


@pytest.mark.parametrize("case", STUDIES)
def test_golden(case: str) -> None:
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("KF_UPDATE_GOLDEN") == "1":
        path.write_text(yaml.safe_dump(STUDIES[case], sort_keys=False, width=120))
    assert yaml.safe_load(path.read_text()) == STUDIES[case]


@pytest.mark.parametrize("case", STUDIES)
def test_katibs_webhook_takes_it(case: str) -> None:
    assert katib.denial(kinds.EXPERIMENT, None, katib.defaulted(STUDIES[case])) == ""
