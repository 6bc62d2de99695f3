"""Katib's own SDK, unchanged, drives a study on the embedded cluster to its end.

On the embedded cluster alone: no Katib can be built for the real one from package registries.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import provision
import pytest
from needs import tool

from jupyterlab_kf.settings import Settings

SCRIPT = """
import sys
import kubeflow.katib as katib

client = katib.KatibClient(config_file=sys.argv[1], namespace="default")

def objective(parameters):
    import time
    for step in range(3):
        time.sleep(0.05)
        print(f"loss={(float(parameters['lr']) - 0.1) ** 2 + 0.1 / (step + 1)}")
    assert parameters["units"] in "12345678"

client.tune(
    name="sdk",
    objective=objective,
    base_image="plain-python",
    parameters={"lr": katib.search.double(min=0.01, max=0.2), "units": katib.search.int(min=1, max=8)},
    algorithm_name="tpe",
    algorithm_settings={"random_state": "3"},
    objective_metric_name="loss",
    objective_type="minimize",
    max_trial_count=4,
    parallel_trial_count=2,
    retain_trials=True,
)
client.wait_for_experiment_condition("sdk", timeout=120, polling_interval=1)
assert client.is_experiment_succeeded("sdk")
best = client.get_optimal_hyperparameters("sdk")
print("best", best.best_trial_name, [a.name for a in best.parameter_assignments])
print("metrics", [m.name for m in best.observation.metrics])
print("trials", len(client.list_trials("sdk")), len(client.get_success_trial_details("sdk")))
print("suggested", client.get_suggestion("sdk").status.suggestion_count)
print("conditions", [c.type for c in client.get_experiment_conditions("sdk")])
try:
    client.edit_experiment_budget("sdk", max_trial_count=5)
except Exception as error:
    print("refused", "Experiment can be restarted if" in str(error.__cause__ or error.__context__ or error))
client.delete_experiment("sdk")

long = client.tune(
    name="budget",
    objective=objective,
    base_image="plain-python",
    parameters={"lr": katib.search.double(min=0.01, max=0.2), "units": katib.search.int(min=1, max=8)},
    objective_metric_name="loss",
    objective_type="minimize",
    max_trial_count=30,
    parallel_trial_count=1,
)
for attempt in range(10):
    try:
        client.edit_experiment_budget("budget", max_trial_count=20, parallel_trial_count=2)
        break
    except RuntimeError as error:  # the SDK sends what it has read, and the study's status changes meanwhile
        assert "Conflict" in str(error.__context__), error
experiment = client.get_experiment("budget")
print("budget", experiment.spec.max_trial_count, experiment.spec.parallel_trial_count)
client.delete_experiment("budget")
"""


@pytest.fixture(scope="module")
def sdk() -> Path:
    return tool(provision.katib_sdk)


def said(script: Path, cluster: Settings, sdk: Path, home: Path) -> dict[str, str]:
    """What a script prints, by the first word of each line."""
    done = subprocess.run(
        [str(sdk), str(script), str(cluster.embedded_kubeconfig)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_it_tunes_waits_reads_the_best_edits_and_deletes(cluster: Settings, sdk: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    lines = said(script, cluster, sdk, tmp_path)
    assert lines["best"].startswith("sdk-")
    assert lines["best"].endswith("['lr', 'units']")
    assert lines["metrics"] == "['loss']"
    assert lines["trials"] == "4 4"
    assert lines["suggested"] == "4"
    assert lines["conditions"] == "['Created', 'Running', 'Succeeded']"
    assert lines["refused"] == "True"
    assert lines["budget"] == "20 2"


PUSHES = """
import sys
from pathlib import Path
import grpc
import kubeflow.katib as katib

client = katib.KatibClient(config_file=sys.argv[1], namespace="default")

def objective(parameters):
    import kubeflow.katib as katib
    for step in range(1, 4):
        katib.report_metrics({"loss": (float(parameters["lr"]) - 0.1) ** 2 + 0.1 / step, "step": step, "other": 1})
    print("reported")

client.tune(
    name="pushes",
    objective=objective,
    base_image="plain-python",
    parameters={"lr": katib.search.double(min=0.01, max=0.2)},
    env_per_trial={"PYTHONPATH": str(Path(grpc.__file__).parents[1])},
    metrics_collector_config={"kind": "Push"},
    objective_metric_name="loss",
    additional_metric_names=["step"],
    objective_type="minimize",
    max_trial_count=3,
    parallel_trial_count=2,
    retain_trials=True,
)
client.wait_for_experiment_condition("pushes", timeout=120, polling_interval=1)
best = client.get_optimal_hyperparameters("pushes")
lr = float(best.parameter_assignments[0].value)
seen = {m.name: m for m in best.observation.metrics}
print("loss", abs(float(seen["loss"].min) - (lr - 0.1) ** 2 - 0.1 / 3) < 1e-9, seen["loss"].latest == seen["loss"].min)
print("step", seen["step"].min, seen["step"].max, seen["step"].latest)
print("trials", len(client.get_success_trial_details("pushes")))
client.delete_experiment("pushes")
"""


def test_its_report_metrics_works_in_a_trial_as_it_is(cluster: Settings, sdk: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PUSHES)
    lines = said(script, cluster, sdk, tmp_path)
    assert lines["loss"] == "True True"
    assert lines["step"] == "1 3 3"
    assert lines["trials"] == "3"
